"""Tables as Parquet."""

from collections.abc import Mapping
from typing import cast

import polars as pl
import polars.selectors as cs

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import POLARS_ERRORS, FilePath, Frames, Head, first_line, seekable, size_of
from trainer.sources.columns import ROLE_SHOWN, Columns, find_columns
from trainer.sources.delimited import NOT_UTF8
from trainer.sources.headers import NUMBERS
from trainer.sources.texts import number_texts

PARQUET_MAGIC = b"PAR1"
NOT_TEXT = "\0"


def find_parquet_columns(head: Head, given: Mapping[str, str]) -> Columns:
    """
    Find the columns of a file.

    Raises:
        BadInput: the file is not Parquet, lacks a column, or has values in one that are not usable.
    """
    if not head.text.startswith(PARQUET_MAGIC):
        raise BadInput(f"cannot read {head.path}: it is not a Parquet file. Write it as one, or rename it.")
    try:
        schema = pl.scan_parquet(seekable(head.path), glob=False).collect_schema()
    except POLARS_ERRORS as error:
        raise _damaged(head.path, error) from None
    columns = find_columns(schema.names(), given, str(head.path))
    for role, place in columns.read.items():
        name, dtype = schema.names()[place], _of_elements(schema.dtypes()[place])
        if dtype.is_nested() or (role in NUMBERS and not (dtype.is_numeric() or dtype in (pl.String, pl.Null))):
            wanted, shown = "Numbers" if role in NUMBERS else "Text or numbers", ROLE_SHOWN.get(role, role)
            raise BadInput(
                f"cannot read {head.path}: its column {name!r} holds {dtype}. {wanted} are expected for the {shown}."
            )
    return columns


def parquet_frames(path: FilePath, columns: Columns, batch_rows: int, account: Account) -> Frames:
    """
    Yield batches of *batch_rows* rows, columns named after their roles, as text or as numbers where they are wanted.

    Each element of a list is a row, with the other columns repeated. Lists of different lengths are passed over.

    Raises:
        BadInput: the file is damaged, or its ids became floats and lost digits.
    """
    try:
        scan = pl.scan_parquet(seekable(path), glob=False)
        names = scan.collect_schema().names()
        rows = max(1, scan.select(pl.len()).collect().item())
        wanted = scan.select(cs.by_name(names[place]).alias(role) for role, place in columns.read.items())
        for batch in wanted.collect_batches(chunk_size=batch_rows):
            for frame, taken in _elements(batch, batch_rows, account):
                frame = _decoded(frame, account)
                texts = [_text(column, str(path)) for column in frame if column.name not in NUMBERS]
                yield frame.with_columns(texts), size_of(path) * taken // rows
    except POLARS_ERRORS as error:
        raise _damaged(path, error) from None


def _of_elements(dtype: pl.DataType) -> pl.DataType:
    return cast(pl.DataType, dtype.inner) if isinstance(dtype, pl.List) else dtype


def _elements(batch: pl.DataFrame, batch_rows: int, account: Account) -> Frames:
    """Yield *batch* with a row for each element of its lists, about *batch_rows* at once, and the rows that it took."""
    lists = [column.name for column in batch if column.dtype == pl.List]
    if not lists:
        yield batch, batch.height
        return
    lengths = batch.select(pl.col(lists).list.len().fill_null(0))
    even = lengths.select(pl.all_horizontal(pl.all() == pl.first())).to_series()
    odd = batch.height - int(even.sum())
    if odd:
        account.pass_over("lists of different lengths", f"after data row {account.records:,}", odd)
        account.records += odd
    rows = max(1, batch_rows * batch.height // max(1, int(lengths.to_series().sum())))
    for part in batch.filter(even).iter_slices(rows):
        yield part.explode(lists, keep_nulls=False), part.height


def _decoded(frame: pl.DataFrame, account: Account) -> pl.DataFrame:
    """Return *frame* with text in place of bytes; rows whose bytes are not UTF-8 are passed over."""
    raw = [column.name for column in frame if column.dtype == pl.Binary]
    if not raw:
        return frame
    frame = frame.with_columns(pl.col(raw).map_elements(_utf8, pl.String)).with_row_index("row", account.records + 1)
    odd = frame.filter(pl.any_horizontal(pl.col(raw) == NOT_TEXT))
    for number in odd["row"]:
        account.pass_over(NOT_UTF8, f"data row {number:,}")
    account.records += odd.height
    return frame.filter(pl.all_horizontal(pl.col(raw).fill_null("") != NOT_TEXT))


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NOT_TEXT


def _text(column: pl.Series, name: str) -> pl.Series:
    if column.dtype.is_integer():  # needs no cleaning as text does
        return column
    if column.dtype.is_float():
        return number_texts(column.fill_nan(None), name).fill_null("")
    return column.cast(pl.String).fill_null("")


def _damaged(path: FilePath, error: BaseException) -> BadInput:
    return BadInput(
        f"cannot read {path}: it is not a whole Parquet file ({first_line(error)}). Fetch or write it again."
    )
