"""Tables as Parquet."""

from collections.abc import Mapping

import polars as pl
import polars.selectors as cs

from trainer.errors import BadInput
from trainer.sources.chunked_files import POLARS_ERRORS, FilePath, Frames, Head, first_line, seekable, size_of
from trainer.sources.columns import NUMBERS, find_roles

PARQUET_MAGIC = b"PAR1"


def find_parquet_columns(head: Head, columns: Mapping[str, str] | None) -> dict[str, str]:
    """
    Find the column for each role.

    Raises:
        BadInput: the file is not Parquet, lacks a column, or has lists or other values in one that are not usable.
    """
    if not head.text.startswith(PARQUET_MAGIC):
        raise BadInput(f"cannot read {head.path}: it is not a Parquet file. Write it as one, or rename it.")
    try:
        schema = pl.scan_parquet(seekable(head.path), glob=False).collect_schema()
    except POLARS_ERRORS as error:
        raise _damaged(head.path, error) from None
    names = schema.names()
    roles = {role: names[place] for role, place in find_roles(names, columns, str(head.path)).items()}
    for role, column in roles.items():
        dtype = schema[column]
        if dtype.is_nested() or (role in NUMBERS and not (dtype.is_numeric() or dtype in (pl.String, pl.Null))):
            wanted = "Numbers" if role in NUMBERS else "Text or numbers"
            raise BadInput(
                f"cannot read {head.path}: its column {column!r} holds {dtype}. {wanted} are expected for the {role}."
            )
    return roles


def parquet_frames(path: FilePath, roles: Mapping[str, str], batch_rows: int) -> Frames:
    """
    Yield batches of *batch_rows* rows with the columns of *roles*, as text except for numbers where numbers are wanted.

    Raises:
        BadInput: the file is damaged.
    """
    text = cs.all() - (cs.by_name(*NUMBERS, require_all=False) & cs.numeric())
    try:
        scan = pl.scan_parquet(seekable(path), glob=False)
        rows = max(1, scan.select(pl.len()).collect().item())
        wanted = scan.select(cs.by_name(column).alias(role) for role, column in roles.items())
        for frame in wanted.collect_batches(chunk_size=batch_rows):
            frame = frame.with_columns((text & cs.float()).fill_nan(None)).with_columns(text.cast(pl.String))
            yield frame.with_columns(text.fill_null("")), size_of(path) * frame.height // rows
    except POLARS_ERRORS as error:
        raise _damaged(path, error) from None


def _damaged(path: FilePath, error: BaseException) -> BadInput:
    return BadInput(
        f"cannot read {path}: it is not a whole Parquet file ({first_line(error)}). Fetch or write it again."
    )
