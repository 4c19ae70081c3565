"""Tables of interactions: one row for each track of a playlist, as delimited text, JSON lines or Parquet."""

from dataclasses import replace

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import Chunks, FilePath, Frames, Head, bare_suffix, chunks, rows_in
from trainer.sources.columns import Columns
from trainer.sources.delimited import delimited_frames, find_form
from trainer.sources.encodings import to_utf8, wide_encoding
from trainer.sources.inputs import Inputs
from trainer.sources.interactions import table_source
from trainer.sources.json_lines import find_keys, is_json_lines, json_frames
from trainer.sources.parquet import PARQUET_MAGIC, find_parquet_columns, parquet_frames
from trainer.sources.source import Source

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
LINES_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet", ".pq")


def find_tables(head: Head, inputs: Inputs) -> list[Source]:
    """
    Return the table in a file; nothing if the file is not a table.

    Its header is checked now, so that a run fails before it reads another table for long.

    Args:
        head: the beginning of the file.
        inputs: the inputs of the run, with the columns for roles.

    Raises:
        NotData: the file is named like a table, but is empty or lacks the columns of one.
        BadInput: the file is damaged, or its columns are ambiguous.
    """
    suffix = bare_suffix(head.path)
    if head.text.startswith(PARQUET_MAGIC) or suffix in PARQUET_SUFFIXES:
        return [_parquet_source(head, inputs)]
    encoding = wide_encoding(head.text)
    if encoding:
        head = replace(head, text=next(to_utf8([(head.text, 0)], encoding, Account("")))[0])
    text = head.text.lstrip()
    if text.startswith(b"{"):
        return [_json_source(head, inputs, encoding)] if is_json_lines(text, suffix in LINES_SUFFIXES) else []
    if suffix in LINES_SUFFIXES:
        return [_json_source(head, inputs, encoding)]
    if suffix in TEXT_SUFFIXES or _reads_as_table(head, inputs):
        return [_text_source(head, inputs, encoding)]
    return []


def _parquet_source(head: Head, inputs: Inputs) -> Source:
    columns = find_parquet_columns(head, inputs.options.columns)
    path = head.path  # a source that kept its head would keep a MiB

    def frames(size: int, account: Account) -> Frames:
        return parquet_frames(path, columns, rows_in(size), account)

    return table_source(path, frames, columns, _account(columns, "table (Parquet)"), inputs)


def _json_source(head: Head, inputs: Inputs, encoding: str) -> Source:
    columns = find_keys(head, inputs.options.columns)
    path = head.path
    keys = {role: columns.names[place] for role, place in columns.read.items()}

    def frames(size: int, account: Account) -> Frames:
        return json_frames(_chunks(path, size, encoding, account), keys, str(path), account)

    return table_source(path, frames, columns, _account(columns, "table (JSON lines)"), inputs)


def _text_source(head: Head, inputs: Inputs, encoding: str) -> Source:
    form, columns = find_form(head, inputs.options.columns)
    path = head.path

    def frames(size: int, account: Account) -> Frames:
        return delimited_frames(_chunks(path, size, encoding, account), form, str(path), account)

    return table_source(path, frames, columns, _account(columns, "table (text)"), inputs)


def _account(columns: Columns, kind: str) -> Account:
    return Account(columns.format or kind, columns.roles, columns.unused, notes=[*columns.remarks])


def _chunks(path: FilePath, size: int, encoding: str, account: Account) -> Chunks:
    return to_utf8(chunks(path, size), encoding, account) if encoding else chunks(path, size)


def _reads_as_table(head: Head, inputs: Inputs) -> bool:
    """Return True if the file begins with the header of a table, or with lines of a known shape."""
    if b"\0" in head.text or head.text.lstrip().startswith(b"["):
        return False
    try:
        find_form(head, inputs.options.columns)
    except BadInput:
        return False
    return True
