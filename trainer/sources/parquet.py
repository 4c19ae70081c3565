"""Tables as Parquet."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import polars.selectors as cs

from trainer.errors import BadInput
from trainer.sources.blocks import BATCH_ROWS, POLARS_ERRORS, Frames, first_line, starts_with
from trainer.sources.roles import NUMBERS, find_roles

PARQUET_MAGIC = b"PAR1"


def find_columns(path: Path, columns: Mapping[str, str] | None) -> dict[str, str]:
    """
    The columns of use for each role.

    Raises:
        BadInput: it is no Parquet file, or does not have the columns that a table needs, or has lists in one of them.
    """
    if not starts_with(path, PARQUET_MAGIC):
        raise BadInput(f"{path} is not a Parquet file, which begins with PAR1; write it as one, or name it otherwise")
    try:
        schema = pl.scan_parquet(path, glob=False).collect_schema()
    except POLARS_ERRORS as error:
        raise BadInput(_damaged(path, error)) from None
    found = schema.names()
    roles = {role: found[place] for role, place in find_roles(found, columns, str(path)).items()}
    for role, column in roles.items():
        dtype = schema[column]
        if dtype.is_nested() or (role in NUMBERS and not (dtype.is_numeric() or dtype in (pl.String, pl.Null))):
            wanted = "numbers" if role in NUMBERS else "text or numbers"
            raise BadInput(f"{path} has {dtype} in its column {column!r}; {wanted} were expected for the {role}")
    return roles


def parquet_frames(path: Path, roles: Mapping[str, str]) -> Frames:
    """
    The rows, a batch at a time, with the columns of *roles*: all text, but for numbers where numbers are wanted.

    Raises:
        BadInput: it is damaged.
    """
    try:
        scan = pl.scan_parquet(path, glob=False)
        rows = max(1, scan.select(pl.len()).collect().item())
        wanted = scan.select(cs.by_name(column).alias(role) for role, column in roles.items())
        for frame in wanted.collect_batches(chunk_size=BATCH_ROWS):
            text = cs.all() - (cs.by_name(*NUMBERS, require_all=False) & cs.numeric())
            frame = frame.with_columns((text & cs.float()).fill_nan(None)).with_columns(text.cast(pl.String))
            yield frame.with_columns(text.fill_null("")), path.stat().st_size * frame.height // rows
    except POLARS_ERRORS as error:
        raise BadInput(_damaged(path, error)) from None


def _damaged(path: Path, error: BaseException) -> str:
    return f"{path} is not a whole Parquet file: {first_line(error)}; fetch or write it again"
