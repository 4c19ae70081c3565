"""
Tables of interactions, one row for each track of a playlist: delimited text, JSON lines or Parquet.

Which files are tables, and of which format. They are read in blocks, never whole.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from trainer.errors import BadInput
from trainer.sources.batches import table_slice
from trainer.sources.blocks import ZIP_MAGIC, chunks, head
from trainer.sources.delimited import delimited_frames, find_form
from trainer.sources.jsonlines import find_keys, is_json_lines, json_frames
from trainer.sources.mpd import SLICE_PREFIX
from trainer.sources.parquet import PARQUET_MAGIC, find_columns, parquet_frames
from trainer.sources.records import Slice

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
LINES_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet", ".pq")
PACKED_SUFFIXES = (".gz", ".zst")
NO_TABLE = re.compile(r"readme|licen[cs]e|[._]", re.IGNORECASE)  # what lies beside tables and is none


def slices(path: Path, columns: Mapping[str, str] | None = None) -> list[Slice]:
    """
    The tables in *path*, a file or a directory, in the order of their names; none where it holds something else.

    Args:
        path: where to look.
        columns: the names of the columns for some of the roles, for all tables.

    Raises:
        BadInput: a table does not have the columns it needs, or it cannot be told which they are.
    """
    if path.is_dir():
        return [_slice(file, columns) for file in _files(path)]
    if _format(path) or _reads_as_table(path, columns):
        return [_slice(path, columns)]
    return []


def _files(path: Path) -> list[Path]:
    """The tables of a directory; none where it holds slices of the Million Playlist Dataset."""
    found = []
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        if any(NO_TABLE.match(part) for part in file.relative_to(path).parts):
            continue
        if file.name.lower().startswith(SLICE_PREFIX):
            return []
        if _format(file):
            found.append(file)
        elif _bare_suffix(file) == ".json":
            return []
    return found


def _format(path: Path) -> str | None:
    """What kind of table a file is, by its first bytes, or by its name where these say nothing; None if it is none."""
    suffix = _bare_suffix(path)
    start = head(path)
    if start.startswith(PARQUET_MAGIC) or suffix in PARQUET_SUFFIXES:
        return "parquet"
    if start.startswith(ZIP_MAGIC):
        return None
    if start.lstrip().startswith(b"{"):
        return "lines" if is_json_lines(start, suffix in LINES_SUFFIXES) else None
    if suffix in LINES_SUFFIXES:
        return "lines"
    return "text" if suffix in TEXT_SUFFIXES else None


def _reads_as_table(path: Path, columns: Mapping[str, str] | None) -> bool:
    """Whether a file whose name says nothing begins with a header that would do."""
    start = head(path)
    if b"\0" in start or start.lstrip()[:1] in (b"", b"[", b"{") or start.startswith(ZIP_MAGIC):
        return False
    try:
        find_form(path, columns)
    except BadInput:
        return False
    return True


def _bare_suffix(path: Path) -> str:
    """The suffix without that of the packing: .csv of a.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in PACKED_SUFFIXES), "")


def _slice(path: Path, columns: Mapping[str, str] | None) -> Slice:
    """The table in *path*; its header is looked at now, so that a run fails before it has read another for long."""
    match _format(path):
        case "parquet":
            found = find_columns(path, columns)
            return table_slice(path, lambda _: parquet_frames(path, found))
        case "lines":
            keys = find_keys(path, columns)
            return table_slice(path, lambda _: json_frames(path, keys))
        case _:
            form = find_form(path, columns)
            return table_slice(path, lambda _: delimited_frames(chunks(path), form, str(path)))
