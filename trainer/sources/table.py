"""Tables of interactions: one row for each track of a playlist, as delimited text, JSON lines or Parquet."""

from collections.abc import Mapping

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import ZIP_MAGIC, Head, bare_suffix, chunks, rows_in
from trainer.sources.delimited import delimited_frames, find_form
from trainer.sources.interactions import table_source
from trainer.sources.json_lines import find_keys, is_json_lines, json_frames
from trainer.sources.parquet import PARQUET_MAGIC, find_parquet_columns, parquet_frames
from trainer.sources.source import Source

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
LINES_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet", ".pq")


def find_tables(head: Head, columns: Mapping[str, str] | None) -> list[Source]:
    """
    Return the table in a file; nothing if the file is not a table.

    Its header is checked now, so that a run fails before it reads another table for long.

    Args:
        head: the beginning of the file.
        columns: the column for a role, as in `find_roles`.

    Raises:
        NotData: the file is named like a table, but is empty or lacks the columns of one.
        BadInput: the file is damaged, or its columns are ambiguous.
    """
    suffix = bare_suffix(head.path)
    text = head.text.lstrip()
    if text.startswith(PARQUET_MAGIC) or suffix in PARQUET_SUFFIXES:
        return [_parquet_source(head, columns)]
    if text.startswith(b"{"):
        return [_json_source(head, columns)] if is_json_lines(text, suffix in LINES_SUFFIXES) else []
    if text.startswith(ZIP_MAGIC):
        return []
    if suffix in LINES_SUFFIXES:
        return [_json_source(head, columns)]
    if suffix in TEXT_SUFFIXES or _reads_as_table(head, columns):
        return [_text_source(head, columns)]
    return []


def _parquet_source(head: Head, columns: Mapping[str, str] | None) -> Source:
    roles = find_parquet_columns(head, columns)
    path = head.path  # a source that kept its head would keep a MiB of each file
    return table_source(path, lambda size: parquet_frames(path, roles, rows_in(size)), Account("table (Parquet)"))


def _json_source(head: Head, columns: Mapping[str, str] | None) -> Source:
    keys = find_keys(head, columns)
    path = head.path
    return table_source(
        path, lambda size: json_frames(chunks(path, size), keys, str(path)), Account("table (JSON lines)")
    )


def _text_source(head: Head, columns: Mapping[str, str] | None) -> Source:
    form = find_form(head, columns)
    path = head.path
    return table_source(
        path, lambda size: delimited_frames(chunks(path, size), form, str(path)), Account("table (text)")
    )


def _reads_as_table(head: Head, columns: Mapping[str, str] | None) -> bool:
    """Return True if the file begins with the header of a table."""
    if b"\0" in head.text or head.text.lstrip().startswith(b"["):
        return False
    try:
        find_form(head, columns)
    except BadInput:
        return False
    return True
