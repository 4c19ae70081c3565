"""
Tables as delimited text: CSV, TSV and the like.

Polars parses every block whose quotes and delimiters are consistent. The rest goes to Python's csv module, which is
ten times slower but knows the number of each row and decides which rows are odd.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, takewhile
from typing import Literal

import numpy as np
import polars as pl

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import POLARS_ERRORS, Chunks, Frames, Head, whole_lines
from trainer.sources.columns import Columns, find_columns
from trainer.sources.headers import DATA, NAME, NAMES, NEARLY_ALL, SHAPES, TITLE, plain
from trainer.sources.source import NotData

DELIMITERS = (",", "\t", ";", "|")
CAREFUL_ROWS = 250_000
SAMPLE_LINES = 100
LONE_RETURN = "a carriage return within a row"
NOT_UTF8 = "not UTF-8, convert the file"
KNOWN_NAMES = frozenset((*NAME, *TITLE, *(name for names in NAMES.values() for name in names)))

# The first line of a file that a spreadsheet program wrote for its own sake.
SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


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


def find_form(head: Head, given: Mapping[str, str]) -> tuple[Delimited, Columns]:
    """
    Find the form and the columns of a file by its first lines.

    Raises:
        NotData: there is no header, or it lacks the columns of a table.
        BadInput: its columns are ambiguous, or lines do not end in newlines.
    """
    head.check_not_empty("A table with a header line")
    text = head.text.lstrip(b"\r\n")
    if b"\n" not in text and b"\r" in text.strip():
        raise BadInput(f"cannot read {head.path}: its lines end in carriage returns alone. Convert them to newlines.")
    if not _is_utf8(text.partition(b"\n")[0].decode("utf-8", errors="surrogateescape")):
        raise NotData(f"cannot read {head.path}: its header is not UTF-8. Convert the file to UTF-8.")
    lines = text.decode("utf-8", errors="replace").split("\n", SAMPLE_LINES)
    said = SEPARATOR.fullmatch(lines[0])
    above = [line for line in lines[:1] if said]
    above += takewhile(lambda line: not line.strip(), lines[len(above) :])
    lines = [line.rstrip("\r") for line in lines[len(above) : SAMPLE_LINES] if line.rstrip("\r")]
    delimiter = said[1] if said else _sniff(lines[0]) if lines else DELIMITERS[0]
    fields = [_split_line(line, delimiter) for line in lines]
    columns, has_header = _find_columns(fields, given, str(head.path))
    skipped = head.text[: len(head.text) - len(text)].count(b"\n") + len(above) + has_header
    return Delimited(delimiter, len(columns.names), columns.read, skipped), columns


def delimited_frames(chunks: Chunks, form: Delimited, name: str, account: Account) -> Frames:
    """
    Yield the rows of delimited text, columns named after their roles; pass over the odd rows.

    Rows that were read one by one have their number in a column `row`.
    """
    blocks = _after_header(whole_lines(chunks, name, quoted=True), form.header_lines)
    for block, size in blocks:
        frame = _split(block, form)
        if frame is None and b'\\"' in block:  # some programs write \" for a quote in quotes
            frame = _split(block.replace(b'\\"', b'""'), form)
        if frame is not None:
            yield frame, size
            continue
        # After a misplaced quote, only the parser that met it can tell where a row ends.
        doubtful = form.quoted and b'"' in block
        yield from _read_carefully(chain([(block, size)], blocks if doubtful else ()), form, account)


def _find_columns(fields: list[list[str]], given: Mapping[str, str], file: str) -> tuple[Columns, bool]:
    """Return the columns of a file that begins with the *fields*, and whether it has a header."""
    header = fields[0] if fields else []
    is_known = bool(KNOWN_NAMES & set(map(plain, header)))
    by_number = any(column.isdecimal() and column not in header for column in given.values())
    if by_number and not is_known:
        return _numbered(fields, given, file)
    for shape in SHAPES:
        if not is_known and shape.fits(fields):
            return Columns(shape.name, _numbers(len(shape.fields)), shape.roles), False
    try:
        return find_columns(header, given, file), True
    except NotData:
        if any(DATA.fullmatch(name.strip()) for name in header):
            raise _no_header(header, file) from None
        raise


def _numbered(fields: list[list[str]], given: Mapping[str, str], file: str) -> tuple[Columns, bool]:
    """Return the columns given by number, and whether the first line is a header, as it resembles no other line."""
    header, *rows = fields
    columns = find_columns(_numbers(len(header)), given, file)
    is_data = [bool(DATA.fullmatch(header[place].strip())) for place in columns.places.values()]
    has_header = any(
        not said and _are_data(rows, place) for said, place in zip(is_data, columns.places.values(), strict=True)
    )
    if all(is_data):
        return columns, False
    kind = "a header" if has_header else "data, as the columns are given by number"
    return replace(columns, remarks=[f"the first line is taken for {kind}: {_shown(header)}"]), has_header


def _are_data(rows: list[list[str]], place: int) -> bool:
    """Return True if nearly all *rows* have numbers, hashes and the like at *place*."""
    texts = [row[place].strip() for row in rows if len(row) > place]
    return len(texts) > 0 and sum(bool(DATA.fullmatch(text)) for text in texts) >= NEARLY_ALL * len(texts)


def _numbers(width: int) -> list[str]:
    return [str(number) for number in range(1, width + 1)]


def _no_header(header: list[str], file: str) -> NotData:
    return NotData(
        f"cannot read {file}: its first line looks like data, not like a header: {_shown(header)}. Add a header, "
        f"or give the columns by number, as in --columns user=NUMBER,track=NUMBER."
    )


def _shown(header: list[str]) -> str:
    return ", ".join(f"{number} {name.strip()[:40]!r}" for number, name in enumerate(header[:10], 1))


def _sniff(header: str) -> str:
    """Return the delimiter that splits *header* into most columns."""
    return max(DELIMITERS, key=lambda delimiter: len(_split_line(header, delimiter)))


def _split_line(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return line.split(delimiter)


def _after_header(blocks: Iterator[tuple[bytes, int]], header_lines: int) -> Iterator[tuple[bytes, int]]:
    for block, size in blocks:
        while header_lines and block:
            block = block.partition(b"\n")[2]
            header_lines -= 1
        if block:
            has_returns = b"\r" in block and b"\r\r\n" in block  # the search for one byte is ten times as fast
            yield re.sub(rb"\r\r+\n", b"\n", block) if has_returns else block, size


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
    text = pl.col(pl.String)
    whole = text.str.contains(r'^"(?:[^"]|"")*"$')
    bare = text.str.slice(1, text.str.len_chars().cast(pl.Int64) - 2).str.replace_all('""', '"', literal=True)
    return frame.with_columns(pl.when(whole).then(bare).otherwise(text))


def _read_carefully(blocks: Chunks, form: Delimited, account: Account) -> Frames:
    """Parse *blocks* with Python's csv module."""
    sizes: list[int] = []
    rows = _sound_rows(_Lines(blocks, sizes), form, account)
    while found := list(islice(rows, CAREFUL_ROWS)):
        numbers = pl.Series([number for number, _ in found], dtype=pl.Int64)
        texts = {role: [row[place] for _, row in found] for role, place in form.roles.items()}
        frame = pl.DataFrame({**texts, "row": numbers})
        yield frame if form.quoted else _unquoted(frame), sum(sizes)
        sizes.clear()


class _Lines:
    """
    The lines of blocks, which can be read again from a line on.

    Attributes:
        taken: the lines since the last call of `mark`.
    """

    def __init__(self, blocks: Chunks, sizes: list[int]):
        """Read *blocks*, and append the size of each to *sizes*."""
        self._blocks, self._sizes = blocks, sizes
        self._lines: deque[str] = deque()
        self._source = self._decoded()
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._lines.popleft() if self._lines else next(self._source)
        self.taken.append(line)
        return line

    def mark(self) -> None:
        self.taken = []

    def go_back(self, n: int) -> None:
        """Read the lines after the first *n* taken ones again."""
        self._lines.extendleft(reversed(self.taken[n:]))
        self.taken = self.taken[:n]

    def _decoded(self) -> Iterator[str]:
        for block, size in self._blocks:
            self._sizes.append(size)
            text = block.decode("utf-8", errors="surrogateescape")  # a bad byte spoils its row alone
            yield from (f"{line}\n" for line in text.removesuffix("\n").split("\n"))


def _sound_rows(lines: _Lines, form: Delimited, account: Account) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of the right form with their numbers; count the others as odd, except blank lines."""
    number = account.records
    for row, fault in _parsed(lines, form):
        number += 1
        if fault:
            account.pass_over(fault, f"data row {number:,}")
            account.records += 1
        else:
            yield number, row


def _parsed(lines: _Lines, form: Delimited) -> Iterator[tuple[list[str], str]]:
    """Yield each row and its fault, "" if it has none; after a fault, the next row begins in the next line."""
    readers = _readers(lines, form)
    while True:
        lines.mark()
        fault = ""
        for reader in readers:
            lines.go_back(0)
            row, found = _next(reader, form)
            if row is None:
                return
            if not found and (form.quoted or reader is readers[-1] or _has_newline(lines.taken, form)):
                break
            fault = fault or found
        else:
            lines.go_back(1)
            yield [], fault
            continue
        if row:
            yield row, ""


def _has_newline(lines: list[str], form: Delimited) -> bool:
    """Return True if *lines*, which are one row by their quotes, are not rows of their own between tabs."""
    return any(line.count(form.delimiter) + 1 != form.width for line in lines)


def _readers(lines: _Lines, form: Delimited) -> list[Iterator[list[str]]]:
    """Return the readers to try on a row, one after the other."""
    if form.quoted:
        # The csv module takes blanks before quotes, but not after.
        blanks = re.compile(rf'"[ \t]+(?=[{form.delimiter}\r\n])')
        trimmed = map(partial(blanks.sub, '"'), lines)
        escaped = (blanks.sub('"', line.replace('\\"', '""')) for line in lines)
        return [_reader(texts, form, True) for texts in (lines, trimmed, escaped)]
    return [_reader(lines, form, True), _reader(lines, form, False)]


def _reader(lines: Iterator[str], form: Delimited, quoted: bool) -> Iterator[list[str]]:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return csv.reader(lines, delimiter=form.delimiter, quoting=quoting, strict=True, skipinitialspace=quoted)


def _next(reader: Iterator[list[str]], form: Delimited) -> tuple[list[str] | None, str]:
    """Return the next row of *reader*, None after the last, and its fault."""
    try:
        row = next(reader, None)
    except csv.Error as error:
        return [], LONE_RETURN if "new-line" in str(error) else f"bad quotes, {error}"
    if row and len(row) != form.width:
        return row, f"{len(row)} fields instead of {form.width}"
    return row, "" if not row or _is_utf8("".join(row)) else NOT_UTF8


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
