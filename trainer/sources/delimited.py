"""
Tables as delimited text: CSV, TSV and the like.

Blocks go through polars as long as they are beyond doubt, that is, as long as quotes pair up and the delimiters are as
many as the rows call for; what is not, Python's csv module reads, which is slower, knows every number of a row, and has
the last word on what is refused.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from trainer.errors import BadInput
from trainer.sources.blocks import BATCH_ROWS, POLARS_ERRORS, Chunks, Frames, head_with_text, whole_lines
from trainer.sources.roles import find_roles

DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Delimited:
    """
    How the fields of delimited text are told apart, and which of them are of use.

    Attributes:
        delimiter: between two fields. Where it is a tab, every line is a row and quotes inside a field are quotes.
        width: how many fields a row has.
        roles: the places of the fields of use.
        header_lines: how many lines stand before the first row.
    """

    delimiter: str
    width: int
    roles: Mapping[str, int]
    header_lines: int

    @property
    def quoted(self) -> bool:
        return self.delimiter != "\t"


def find_form(path: Path, columns: Mapping[str, str] | None) -> Delimited:
    """
    How a file is to be read, by its header.

    Raises:
        BadInput: it has none, or one without the columns that a table needs.
    """
    start = head_with_text(path, "a table with a header line was expected")
    if b"\n" not in start and b"\r" in start.strip():
        raise BadInput(f"{path} has lines that end in carriage returns alone; convert them to newlines")
    header_lines = 1 + start[: len(start) - len(start.lstrip(b"\r\n"))].count(b"\n")
    try:
        header = start.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 in its header; convert it to UTF-8") from None
    delimiter, names = _sniff(header)
    return Delimited(delimiter, len(names), find_roles(names, columns, str(path)), header_lines)


def delimited_frames(some: Chunks, form: Delimited, name: str) -> Frames:
    """
    The rows of delimited text, columns named after their roles.

    Raises:
        BadInput: it is not UTF-8, or a row does not have as many fields as the header.
    """
    blocks = _after_header(whole_lines(some, name, form.quoted), form.header_lines)
    rows = 0
    for block, size in blocks:
        frame = _split(block, form)
        if frame is None:
            # From a quote out of place on nobody knows where a row ends but who reads on from here.
            doubtful = form.quoted and b'"' in block
            careful = _read_carefully(chain([(block, size)], blocks if doubtful else ()), form, name, rows)
        else:
            careful = iter([(frame, size)])
        for found, found_size in careful:
            rows += found.height
            yield found, found_size


def _sniff(header: str) -> tuple[str, list[str]]:
    """The delimiter by which the header falls into most columns, and these."""
    split = {delimiter: _split_line(header, delimiter) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda candidate: len(split[candidate]))
    return delimiter, split[delimiter]


def _split_line(line: str, delimiter: str) -> list[str]:
    try:
        fields = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        fields = line.split(delimiter)
    return fields


def _after_header(blocks: Iterator[tuple[bytes, int]], header_lines: int) -> Iterator[tuple[bytes, int]]:
    for block, size in blocks:
        while header_lines and block:
            block = block.partition(b"\n")[2]
            header_lines -= 1
        if block:
            yield block, size


def _split(block: bytes, form: Delimited) -> pl.DataFrame | None:
    """The rows of *block*; None where it is in doubt what they are."""
    has_quotes = b'"' in block
    delimiters = block.count(form.delimiter.encode())
    if form.quoted and has_quotes:
        outside = _delimiters_outside_quotes(block, form.delimiter)
        if outside is None:
            return None
        delimiters = outside
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
    # More fields than the header's are an error to polars, fewer are not: they show as delimiters that are missing.
    if delimiters != frame.height * (form.width - 1):
        return None
    frame = frame.select(pl.col(str(place)).alias(role) for role, place in form.roles.items())
    return _unquoted(frame) if has_quotes and not form.quoted else frame


def _delimiters_outside_quotes(block: bytes, delimiter: str) -> int | None:
    """How many delimiters are between fields; None unless every field with a quote is quoted by the book."""
    text = np.frombuffer(block, dtype=np.uint8)
    quotes = np.flatnonzero(text == ord('"'))
    if len(quotes) % 2:
        return None
    opening, closing = quotes[::2], quotes[1::2]
    doubled = closing[:-1] + 1 == opening[1:]
    edges = np.array([ord(delimiter), *b"\r\n"], dtype=np.uint8)
    before = np.isin(text[opening - 1], edges) | (opening == 0)
    after = np.isin(text[np.minimum(closing + 1, len(text) - 1)], edges) | (closing == len(text) - 1)
    if not ((before[1:] | doubled).all() and before[0] and (after[:-1] | doubled).all() and after[-1]):
        return None
    delimiters = np.flatnonzero(text == ord(delimiter))
    return int(np.count_nonzero(np.searchsorted(quotes, delimiters) % 2 == 0))


def _unquoted(frame: pl.DataFrame) -> pl.DataFrame:
    """
    Fields between tabs that are quoted as a whole, with quotes inside doubled, without these quotes.

    Others keep their quotes: `12" mix` is what it is.
    """
    whole = pl.all().str.contains(r'^"(?:[^"]|"")*"$')
    bare = pl.all().str.slice(1, pl.all().str.len_chars().cast(pl.Int64) - 2).str.replace_all('""', '"', literal=True)
    return frame.with_columns(pl.when(whole).then(bare).otherwise(pl.all()))


def _read_carefully(blocks: Chunks, form: Delimited, name: str, rows: int) -> Frames:
    """As `_split`, by Python's csv module, which knows where it is; *rows* were read before."""
    sizes: list[int] = []
    lines = _decoded_lines(blocks, sizes, name, rows)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=form.delimiter, quoting=quoting, strict=True)
    while found := list(islice(_checked(reader, form, name, rows), BATCH_ROWS)):
        frame = pl.DataFrame({role: [row[place] for row in found] for role, place in form.roles.items()})
        yield frame if form.quoted else _unquoted(frame), sum(sizes)
        rows += len(found)
        sizes.clear()


def _checked(reader: Iterator[list[str]], form: Delimited, name: str, rows: int) -> Iterator[list[str]]:
    """The rows of *reader* that are not blank lines."""
    try:
        for row in reader:
            if row:
                rows += 1
                if len(row) != form.width:
                    raise BadInput(
                        f"{name} has {len(row)} fields in data row {rows:,} where its header has {form.width}; "
                        f"correct the row, or quote what holds a delimiter"
                    )
                yield row
    except csv.Error as error:
        raise BadInput(
            f"{name} cannot be told into fields at data row {rows + 1:,}: {error}; "
            f"quote the whole of a field that holds a quote, and double the quote inside"
        ) from None


def _decoded_lines(blocks: Chunks, sizes: list[int], name: str, rows: int) -> Iterator[str]:
    """The lines of *blocks*, which are whole ones; puts down the size of each block."""
    for block, size in blocks:
        sizes.append(size)
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            row = rows + block.count(b"\n", 0, error.start) + 1
            bad = f"0x{block[error.start]:02x}"
            raise BadInput(f"{name} is not UTF-8 (byte {bad} near data row {row:,}); convert it to UTF-8") from None
        rows += block.count(b"\n")
        yield from (f"{line}\n" for line in text.removesuffix("\n").split("\n"))
