"""
Tables as delimited text: CSV, TSV and the like.

Polars parses every block whose quotes and delimiters are consistent. The rest goes to Python's csv module, which is
ten times slower but knows the number of each row and decides what is an error.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

import numpy as np
import polars as pl

from trainer.errors import BadInput
from trainer.sources.chunked_files import POLARS_ERRORS, Chunks, Frames, Head, whole_lines
from trainer.sources.columns import find_roles
from trainer.sources.source import NotData

DELIMITERS = (",", "\t", ";", "|")
CAREFUL_ROWS = 250_000


@dataclass(frozen=True)
class Delimited:
    """
    The form of delimited text.

    Attributes:
        delimiter: character between fields. With tabs, every line is a row, and quotes inside a field are literal.
        width: number of fields in a row.
        roles: the place of the field for each role.
        header_lines: number of lines before the first row.
    """

    delimiter: str
    width: int
    roles: Mapping[str, int]
    header_lines: int

    @property
    def quoted(self) -> bool:
        return self.delimiter != "\t"

    @property
    def remedy(self) -> str:
        """Advice for a row with too few or too many fields."""
        return f"Quote fields that contain {self.delimiter!r}." if self.quoted else "Remove tabs from the fields."


def find_form(head: Head, columns: Mapping[str, str] | None) -> Delimited:
    """
    Find the form of a file by its header.

    Raises:
        NotData: there is no header, or it lacks the columns of a table.
        BadInput: its columns are ambiguous, or lines do not end in newlines.
    """
    head.check_not_empty("A table with a header line")
    text = head.text.lstrip(b"\r\n")
    if b"\n" not in text and b"\r" in text.strip():
        raise BadInput(f"cannot read {head.path}: its lines end in carriage returns alone. Convert them to newlines.")
    header_lines = 1 + head.text[: len(head.text) - len(text)].count(b"\n")
    try:
        header = text.partition(b"\n")[0].decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        raise NotData(f"cannot read {head.path}: its header is not UTF-8. Convert the file to UTF-8.") from None
    delimiter, names = _sniff(header)
    return Delimited(delimiter, len(names), find_roles(names, columns, str(head.path)), header_lines)


def delimited_frames(chunks: Chunks, form: Delimited, name: str) -> Frames:
    """
    Yield the rows of delimited text, columns named after their roles.

    Raises:
        BadInput: it is not UTF-8, its quotes do not pair up, or a row and the header differ in their number of fields.
    """
    blocks = _after_header(whole_lines(chunks, name, form.quoted), form.header_lines)
    rows = 0
    for block, size in blocks:
        frame = _split(block, form)
        if frame is None:
            # After a misplaced quote, only the parser that met it can tell where a row ends.
            doubtful = form.quoted and b'"' in block
            careful = _read_carefully(chain([(block, size)], blocks if doubtful else ()), form, name, rows)
        else:
            careful = iter([(frame, size)])
        for found, found_size in careful:
            rows += found.height
            yield found, found_size


def _sniff(header: str) -> tuple[str, list[str]]:
    """Return the delimiter that splits *header* into most columns, and the columns."""
    split = {delimiter: _split_line(header, delimiter) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda candidate: len(split[candidate]))
    return delimiter, split[delimiter]


def _split_line(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def _after_header(blocks: Iterator[tuple[bytes, int]], header_lines: int) -> Iterator[tuple[bytes, int]]:
    for block, size in blocks:
        while header_lines and block:
            block = block.partition(b"\n")[2]
            header_lines -= 1
        if block:
            yield block, size


def _split(block: bytes, form: Delimited) -> pl.DataFrame | None:
    """Parse *block* with polars; return None if its quotes or delimiters are inconsistent."""
    has_quotes = b'"' in block
    delimiters = _count_delimiters(block, form.delimiter, form.quoted and has_quotes)
    if delimiters is None:
        return None
    try:
        frame = pl.read_csv(
            block,
            has_header=False,
            separator=form.delimiter,
            quote_char='"' if form.quoted and has_quotes else None,
            schema={str(place): pl.String for place in range(form.width)},
            empty_string_is_null=False,
        )
    except POLARS_ERRORS:
        return None
    # Polars refuses surplus fields but pads missing ones, which shows as missing delimiters.
    if delimiters != frame.height * (form.width - 1):
        return None
    frame = frame.select(pl.col(str(place)).alias(role) for role, place in form.roles.items())
    return _unquoted(frame) if has_quotes and not form.quoted else frame


def _count_delimiters(block: bytes, delimiter: str, quoted: bool) -> int | None:
    """Count the delimiters outside quotes; return None if a quote is not at the edge of its field."""
    if not quoted:
        return block.count(delimiter.encode())
    text = np.frombuffer(b"\n%b\n" % block, np.uint8)
    quotes = np.flatnonzero(text == ord('"'))
    if len(quotes) % 2:
        return None
    edges = np.frombuffer(delimiter.encode() + b"\r\n", np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    doubled = np.concatenate(([False], closing[:-1] + 1 == opening[1:], [False]))
    before, after = np.isin(text[opening - 1], edges), np.isin(text[closing + 1], edges)
    if not ((before | doubled[:-1]) & (after | doubled[1:])).all():
        return None
    delimiters = np.flatnonzero(text == ord(delimiter))
    return int(np.count_nonzero(np.searchsorted(quotes, delimiters) % 2 == 0))


def _unquoted(frame: pl.DataFrame) -> pl.DataFrame:
    """Unquote tab-separated fields that are quoted as a whole; others keep their quotes, as in `12" mix`."""
    whole = pl.all().str.contains(r'^"(?:[^"]|"")*"$')
    bare = pl.all().str.slice(1, pl.all().str.len_chars().cast(pl.Int64) - 2).str.replace_all('""', '"', literal=True)
    return frame.with_columns(pl.when(whole).then(bare).otherwise(pl.all()))


def _read_carefully(blocks: Chunks, form: Delimited, name: str, rows: int) -> Frames:
    """Parse *blocks* with Python's csv module; *rows* rows were read before them."""
    sizes: list[int] = []
    lines = _decoded_lines(blocks, sizes, name, rows)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=form.delimiter, quoting=quoting, strict=True)
    checked = _checked(reader, form, name, rows)
    while found := list(islice(checked, CAREFUL_ROWS)):
        frame = pl.DataFrame({role: [row[place] for row in found] for role, place in form.roles.items()})
        yield frame if form.quoted else _unquoted(frame), sum(sizes)
        sizes.clear()


def _checked(reader: Iterator[list[str]], form: Delimited, name: str, rows: int) -> Iterator[list[str]]:
    """Yield the rows of *reader* that are not blank lines."""
    try:
        for row in filter(None, reader):
            rows += 1
            if len(row) != form.width:
                raise BadInput(
                    f"cannot read {name}: data row {rows:,} has {len(row)} field{'s' * (len(row) > 1)}, "
                    f"the header has {form.width}. {form.remedy}"
                )
            yield row
    except csv.Error as error:
        raise BadInput(
            f"cannot read {name}: data row {rows + 1:,} is badly quoted ({error}). "
            f"Quote whole fields, and double the quotes inside them."
        ) from None


def _decoded_lines(blocks: Chunks, sizes: list[int], name: str, rows: int) -> Iterator[str]:
    """Yield the lines of *blocks*, and append the size of each block to *sizes*."""
    for block, size in blocks:
        sizes.append(size)
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            row, bad = rows + block.count(b"\n", 0, error.start) + 1, block[error.start]
            raise BadInput(
                f"cannot read {name}: byte 0x{bad:02x} near data row {row:,} is not UTF-8. Convert the file to UTF-8."
            ) from None
        rows += block.count(b"\n")
        yield from (f"{line}\n" for line in text.removesuffix("\n").split("\n"))
