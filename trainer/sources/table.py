"""
Tables of interactions, one row for each track of a playlist: delimited text, JSON lines or Parquet.

A table is read in blocks of some 16 MB. Ids are text in all of them, as they stand in the file: a column of numbers is
never taken for numbers, so that 007 stays 007. Delimited text goes through polars as long as it is beyond doubt, that
is, as long as quotes pair up and the delimiters are as many as the rows call for; what is not, Python's csv module
reads, which is slower, knows every number of a row, and has the last word on what is refused.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from trainer.errors import BadInput
from trainer.progress import say
from trainer.sources.mpd import BYTE_ORDER_MARK, GZIP_MAGIC, SLICE_PREFIX, ZIP_MAGIC
from trainer.sources.records import Artist, Interactions, Slice, Track

# What a column may be called, in small letters and without spaces, dashes and underscores.
NAMES: dict[str, tuple[str, ...]] = {
    "playlist": tuple(
        "playlist playlistid playlisturi pid user userid username listener listenerid session sessionid".split()
    ),
    "track": tuple(
        "track trackid trackuri trackmbid song songid songuri item itemid itemuri recording recordingid "
        "recordingmbid".split()
    ),
    "track_name": ("trackname", "tracktitle", "songname", "songtitle", "itemname", "recordingname"),
    "artist": ("artist", "artistid", "artisturi", "artistmbid", "artmbid"),
    "artist_name": ("artistname", "artname"),
    "title": ("title", "playlistname", "playlisttitle"),
    "count": tuple("count counts plays playcount listens listencount scrobbles timesplayed weight".split()),
    "position": ("position", "pos", "trackposition", "trackpos", "trackno", "tracknumber"),
}
NUMBERS = ("count", "position")
ITEMS = {"track", "artist", "artist_name"}
LARGEST_COUNT = 1e9

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
LINES_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet", ".pq")
PACKED_SUFFIXES = (".gz", ".zst")
DELIMITERS = (",", "\t", ";", "|")
PARQUET_MAGIC = b"PAR1"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
NO_TABLE = re.compile(r"readme|licen[cs]e|[._]", re.IGNORECASE)  # what lies beside tables and is none

HEAD = 1 << 20
BLOCK = 16 << 20
BATCH_ROWS = 250_000
LONGEST_LINE = 8 * BLOCK
LINES_FOR_COLUMNS = 1000
MOST_SHOWN = 40

# What polars raises on files that are damaged, in one way or another.
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)

Chunks = Iterable[tuple[bytes, int]]
Frames = Iterator[tuple[pl.DataFrame, int]]
Cell = str | int | float | None


@dataclass
class Tally:
    """
    How far a table has been read.

    Attributes:
        name: where the table lies, for a person.
        rows: how many of its rows have been read.
        zeros: how many of them were passed over because their count is 0.
    """

    name: str
    rows: int = 0
    zeros: int = 0


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


def check_roles(columns: Mapping[str, str] | None) -> None:
    """
    Raises:
        BadInput: *columns* names a role that there is not.
    """
    for role in columns or ():
        if role not in NAMES:
            raise BadInput(f"--columns knows no {role!r}; it takes {', '.join(NAMES)}, as in playlist=user,track=song")


def interactions(frame: pl.DataFrame, size: int, tally: Tally) -> Interactions | None:
    """
    The rows of *frame* as a batch; None where nothing is left of them.

    Args:
        frame: columns named after their roles: text, but for count and position, which may be numbers.
        size: bytes of the input that they took.
        tally: is told of the rows.

    Raises:
        BadInput: a row without an id, or with a count or a position that is none.
    """
    start, tally.rows = tally.rows, tally.rows + frame.height
    of_tracks = "track" in frame.columns
    frame = _with_artists(frame)
    for role in ("playlist", "track" if of_tracks else "artist"):
        _refuse_empty(frame[role], start, tally)
    counts, positions = (_numbers(frame, role, start, tally) for role in NUMBERS)
    if counts is not None:
        played = counts > 0
        tally.zeros += int(frame.height - played.sum())
        frame, counts = frame.filter(pl.Series(played)), np.minimum(counts, LARGEST_COUNT)[played]
        positions = positions[played] if positions is not None else None
    if frame.is_empty():
        return None

    attributes = ("track_name", "artist", "artist_name") if of_tracks else ("artist_name",)
    playlists, owners = _factorise(frame, "playlist", ("title",))
    items, rows = _factorise(frame, "track" if of_tracks else "artist", attributes)
    named = items.with_columns(_or("artist_name", "artist")).rows()
    return Interactions(
        playlist_ids=playlists["playlist"].to_list(),
        titles=playlists["title"].to_list(),
        tracks=[Track(*row) for row in named] if of_tracks else [],
        artists=[] if of_tracks else [Artist(*row) for row in named],
        owners=owners,
        rows=rows,
        counts=None if counts is None else counts.astype(np.float32),
        positions=positions,
        size=size,
    )


def batches(frames: Frames, tally: Tally) -> Iterator[Interactions]:
    """The batches of all *frames*; says at the end how many rows were passed over."""
    for frame, size in frames:
        batch = interactions(frame, size, tally)
        if batch:
            yield batch
    if tally.zeros:
        say(f"{tally.name}: passed over {tally.zeros:,} row{'s' * (tally.zeros > 1)} with a count of 0")


def chunks(path: Path) -> Iterator[tuple[bytes, int]]:
    """The content of a file, unpacked, in pieces that end anywhere, and how many bytes of the file each took."""
    with unpacking(str(path)):
        if starts_with(path, ZSTD_MAGIC):
            yield from _zstd_chunks(path)
            return
        with path.open("rb") as raw:
            packed = starts_with(path, GZIP_MAGIC)
            yield from pieces(gzip.GzipFile(fileobj=raw) if packed else raw, raw.tell)


def pieces(file: Any, tell: Callable[[], int]) -> Iterator[tuple[bytes, int]]:
    """What *file* holds, and how far *tell*, a file below it, went for each piece."""
    before = tell()
    while piece := file.read(BLOCK):
        yield piece, tell() - before
        before = tell()


@contextmanager
def unpacking(name: str) -> Iterator[None]:
    """
    Tell damage to a packed file as such.

    Raises:
        BadInput: instead of what the unpackers raise.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{name} is damaged or cut short: {error}; fetch it again") from error
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {error.strerror or error}") from error


def starts_with(path: Path, magic: bytes) -> bool:
    """Whether a file begins with *magic*."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def head(path: Path) -> bytes:
    """The first bytes of a file, unpacked, as far as they can be; without a byte order mark."""
    with path.open("rb") as file:
        raw = file.read(HEAD)
    if raw.startswith(GZIP_MAGIC):
        try:
            raw = zlib.decompressobj(wbits=31).decompress(raw, HEAD)
        except zlib.error:
            raw = b""
    elif raw.startswith(ZSTD_MAGIC):
        try:
            raw = next(_zstd_chunks(path, LINES_FOR_COLUMNS), (b"", 0))[0]
        except BadInput:
            raw = b""
    return raw.removeprefix(BYTE_ORDER_MARK)


def whole_lines(some: Chunks, name: str, quoted: bool = False) -> Iterator[tuple[bytes, int]]:
    """
    Blocks of whole lines, without a byte order mark; where *quoted*, no block ends inside quotes.

    A block in which quotes do not pair up may come as it is.

    Raises:
        BadInput: a line has no end.
    """
    rest, taken, first = b"", 0, True
    for chunk, size in some:
        block = rest + chunk
        if first:
            block, first = block.removeprefix(BYTE_ORDER_MARK), False
        taken += size
        end = block.rfind(b"\n") + 1
        end = (_end_outside_quotes(block, end) or end) if quoted else end
        if end:
            yield block[:end], taken
            taken = 0
        rest = block[end:]
        if len(rest) > LONGEST_LINE:
            raise BadInput(
                f"{name} has a line of more than {len(rest):,} bytes; a table with one row a line was expected"
            )
    if rest:
        yield rest, taken


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
        return "lines" if _is_json_lines(start, suffix in LINES_SUFFIXES) else None
    if suffix in LINES_SUFFIXES:
        return "lines"
    return "text" if suffix in TEXT_SUFFIXES else None


def _is_json_lines(start: bytes, named_so: bool) -> bool:
    """One object a line, unlike a slice of the Million Playlist Dataset, which is one object with playlists."""
    lines = [line for line in start.splitlines() if line.strip()]
    try:
        first = msgspec.json.decode(lines[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return named_so and lines[0].strip() != b"{"
    several = len(lines) > 1 and lines[1].lstrip().startswith(b"{")
    return isinstance(first, dict) and "playlists" not in first and (several or named_so)


def _reads_as_table(path: Path, columns: Mapping[str, str] | None) -> bool:
    """Whether a file whose name says nothing begins with a header that would do."""
    start = head(path)
    if b"\0" in start or start.lstrip()[:1] in (b"", b"[", b"{") or start.startswith(ZIP_MAGIC):
        return False
    try:
        _delimited(path, columns)
    except BadInput:
        return False
    return True


def _bare_suffix(path: Path) -> str:
    """The suffix without that of the packing: .csv of a.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in PACKED_SUFFIXES), "")


def _slice(path: Path, columns: Mapping[str, str] | None) -> Slice:
    """The table in *path*; its header is looked at now, so that a run fails before it has read another for long."""
    name = str(path)
    size = path.stat().st_size
    match _format(path):
        case "parquet":
            frames = partial(_parquet_frames, path, _parquet_roles(path, columns))
        case "lines":
            frames = partial(_json_frames, path, _json_roles(path, columns))
        case _:
            form = _delimited(path, columns)
            frames = partial(lambda: delimited_frames(chunks(path), form, name))
    return Slice(name, size, lambda: batches(frames(), Tally(name)))


# Which column is what.


def find_roles(found: Sequence[str], columns: Mapping[str, str] | None, name: str) -> dict[str, int]:
    """
    The places of the columns of use among those *found*.

    Args:
        found: the names of the columns of a table.
        columns: the names of the columns for some of the roles, which are not guessed then.
        name: where the table lies, for a person.

    Raises:
        BadInput: one of *columns* is not there, two fit one role, or none does that has to be there.
    """
    check_roles(columns)
    names = [column.strip() for column in found]
    listed = _listed(names)
    repeated = sorted({column for column in names if column and names.count(column) > 1})
    if repeated:
        raise BadInput(f"{name} has more than one column {repeated[0]!r}; rename one of them ({listed})")
    roles = {}
    for role, column in (columns or {}).items():
        if column.strip() not in names:
            raise BadInput(f"{name} has no column {column!r} for the {role}; {listed}; correct --columns {role}=...")
        roles[role] = names.index(column.strip())
    free = {place: _plain(column) for place, column in enumerate(names) if place not in roles.values()}
    for role, known in NAMES.items():
        fitting = [place for place, column in free.items() if column in known]
        if role == "track_name" and "track" in roles and not fitting:
            fitting = [place for place, column in free.items() if column == "name"]
        if role in roles or not fitting:
            continue
        if len(fitting) > 1:
            both = " and ".join(repr(names[place]) for place in fitting)
            raise BadInput(
                f"{name} has {len(fitting)} columns for the {role}, {both}; "
                f"say which, as in --columns {role}={names[fitting[0]]} ({listed})"
            )
        roles[role] = fitting[0]
    if "playlist" not in roles or not ITEMS & set(roles):
        raise BadInput(f"{name} {_what_is_missing(names, roles)}")
    return roles


def _plain(column: str) -> str:
    return re.sub(r"[\s_-]", "", column).lower()


def _listed(names: Sequence[str]) -> str:
    shown = [" ".join(column.split()) or "(no name)" for column in names[:MOST_SHOWN]]
    return f"its columns are {', '.join(shown)}" + (", ..." if len(names) > MOST_SHOWN else "")


def _what_is_missing(names: Sequence[str], roles: Mapping[str, int]) -> str:
    """The columns that are missing, and a --columns that would do, of columns that nothing else is read from."""
    wanted = [role for role in ("playlist", "track") if role == "playlist" or not ITEMS & set(roles)]
    missing = [role for role in wanted if role not in roles]
    free = [column for place, column in enumerate(names) if column and place not in roles.values()]
    fix = ",".join(f"{role}={column}" for role, column in zip_longest(missing, free[: len(missing)], fillvalue="..."))
    what = " and none for the ".join("track or the artist" if role == "track" else role for role in missing)
    return f"has no column for the {what}; {_listed(names)}; say which it is, as in --columns {fix}"


# Delimited text.


def _delimited(path: Path, columns: Mapping[str, str] | None) -> Delimited:
    """How *path* is to be read, by its header."""
    start = head(path)
    if not start.strip():
        for _ in chunks(path):  # an empty head may be that of a damaged file, which is told here
            break
        raise BadInput(f"{path} is empty; a table with a header line was expected")
    if b"\n" not in start and b"\r" in start.strip():
        raise BadInput(f"{path} has lines that end in carriage returns alone; convert them to newlines")
    header_lines = 1 + start[: len(start) - len(start.lstrip(b"\r\n"))].count(b"\n")
    try:
        header = start.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 in its header; convert it to UTF-8") from None
    delimiter, names = _sniff(header)
    return Delimited(delimiter, len(names), find_roles(names, columns, str(path)), header_lines)


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


def _end_outside_quotes(block: bytes, end: int) -> int:
    """The end of the last line of *block* up to *end* that is outside quotes, 0 if there is none."""
    inside = block.count(b'"', 0, end) % 2
    while inside and end:
        start = block.rfind(b"\n", 0, end - 1) + 1
        inside ^= block.count(b'"', start, end) % 2
        end = start
    return end


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


def _zstd_chunks(path: Path, lines: int | None = None) -> Iterator[tuple[bytes, int]]:
    """The first *lines* of a file, or all, by polars, as Python does not know this packing."""
    scan = pl.scan_lines(path, name="line", glob=False, n_rows=lines)
    try:
        for frame in scan.collect_batches(chunk_size=BATCH_ROWS):
            block = "".join(f"{line}\n" for line in frame["line"]).encode()
            yield block, len(block) // 4
    except POLARS_ERRORS as error:
        raise BadInput(f"{path} is damaged, cut short or not UTF-8: {_first_line(error)}; fetch it again") from None


# JSON lines.


def _json_roles(path: Path, columns: Mapping[str, str] | None) -> dict[str, str]:
    """The keys of use, among those of the first lines."""
    start = head(path)
    if not start.strip():
        for _ in chunks(path):
            break
        raise BadInput(f"{path} is empty; JSON objects were expected, one a line")
    lines = [line for line in start.split(b"\n") if line.strip()][:LINES_FOR_COLUMNS]
    if len(start) >= HEAD and len(lines) > 1:
        lines.pop()  # which may be broken off
    keys: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        try:
            keys.update(dict.fromkeys(msgspec.json.decode(line, type=dict[str, msgspec.Raw])))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(_no_object(path, number, error)) from None
    found = list(keys)
    return {role: found[place] for role, place in find_roles(found, columns, str(path)).items()}


def _json_frames(path: Path, roles: Mapping[str, str]) -> Frames:
    """The rows of JSON lines; a number is the text of it, so that ids may be numbers here and text there."""
    fields: list[Any] = [(role, Cell, None) for role in roles]
    row_type: Any = msgspec.defstruct("Row", fields, rename=dict(roles))
    decoder = msgspec.json.Decoder(row_type)
    rows = 0
    for block, size in whole_lines(chunks(path), str(path)):
        try:
            found = decoder.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(_broken_line(path, block, decoder, rows, error)) from None
        rows += len(found)
        yield pl.DataFrame({role: _texts([getattr(row, role) for row in found]) for role in roles}), size


def _texts(cells: list[Cell]) -> pl.Series:
    if not set(map(type, cells)) <= {str}:
        cells = ["" if cell is None else str(cell) for cell in cells]
    return pl.Series(cells, dtype=pl.String)


def _broken_line(path: Path, block: bytes, decoder: Any, rows: int, error: Exception) -> str:
    for line in block.split(b"\n"):
        if line.strip():
            rows += 1
            try:
                decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as its:
                return _no_object(path, rows, its)
    return _no_object(path, rows, error)


def _no_object(path: Path, row: int, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"{path} is not UTF-8 in data row {row:,}; convert it to UTF-8"
    return f"{path} has no object of text and numbers in data row {row:,}: {_first_line(error)}; correct the line"


# Parquet.


def _parquet_roles(path: Path, columns: Mapping[str, str] | None) -> dict[str, str]:
    if not starts_with(path, PARQUET_MAGIC):
        raise BadInput(f"{path} is not a Parquet file, which begins with PAR1; write it as one, or name it otherwise")
    try:
        schema = pl.scan_parquet(path, glob=False).collect_schema()
    except POLARS_ERRORS as error:
        raise BadInput(_damaged_parquet(path, error)) from None
    found = schema.names()
    roles = {role: found[place] for role, place in find_roles(found, columns, str(path)).items()}
    for role, column in roles.items():
        dtype = schema[column]
        if dtype.is_nested() or (role in NUMBERS and not (dtype.is_numeric() or dtype in (pl.String, pl.Null))):
            wanted = "numbers" if role in NUMBERS else "text or numbers"
            raise BadInput(f"{path} has {dtype} in its column {column!r}; {wanted} were expected for the {role}")
    return roles


def _parquet_frames(path: Path, roles: Mapping[str, str]) -> Frames:
    """The rows of a Parquet file, a batch at a time."""
    try:
        scan = pl.scan_parquet(path, glob=False)
        rows = max(1, scan.select(pl.len()).collect().item())
        wanted = scan.select(cs.by_name(column).alias(role) for role, column in roles.items())
        for frame in wanted.collect_batches(chunk_size=BATCH_ROWS):
            text = cs.all() - (cs.by_name(*NUMBERS, require_all=False) & cs.numeric())
            frame = frame.with_columns((text & cs.float()).fill_nan(None)).with_columns(text.cast(pl.String))
            yield frame.with_columns(text.fill_null("")), path.stat().st_size * frame.height // rows
    except POLARS_ERRORS as error:
        raise BadInput(_damaged_parquet(path, error)) from None


def _damaged_parquet(path: Path, error: BaseException) -> str:
    return f"{path} is not a whole Parquet file: {_first_line(error)}; fetch or write it again"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


# From rows to batches.


def _with_artists(frame: pl.DataFrame) -> pl.DataFrame:
    """*frame* with all columns of text; an artist without an id has its name as its id."""
    missing = [role for role in NAMES if role not in (*NUMBERS, "playlist", "track") and role not in frame.columns]
    return frame.with_columns(pl.lit("").alias(role) for role in missing).with_columns(_or("artist", "artist_name"))


def _or(role: str, other: str) -> pl.Expr:
    return pl.when(pl.col(role) == "").then(pl.col(other)).otherwise(pl.col(role)).alias(role)


def _refuse_empty(ids: pl.Series, start: int, tally: Tally) -> None:
    """
    Raises:
        BadInput: any of *ids* is ''; names the first.
    """
    empty = ids == ""
    if empty.any():
        row = start + int(empty.arg_max() or 0) + 1
        raise BadInput(f"{tally.name} has no {ids.name} id in data row {row:,}; give it one or leave the row out")


def _numbers(frame: pl.DataFrame, role: str, start: int, tally: Tally) -> NDArray[np.float64] | None:
    """
    float64 (n_rows,), the column of *role*; None if there is none.

    Raises:
        BadInput: something in it is no finite number, or a count below 0.
    """
    if role not in frame.columns:
        return None
    given = frame[role]
    text = given.str.strip_chars() if given.dtype == pl.String else given
    numbers = text.cast(pl.Float64, strict=False).fill_null(float("nan"))
    good = numbers.is_finite() & ((numbers >= 0) if role == "count" else True)
    if not good.all():
        place = int((~good).arg_max() or 0)
        wanted = "a number from 0 up" if role == "count" else "a number"
        raise BadInput(
            f"{tally.name} has the {role} {given[place]!r} in data row {start + place + 1:,}; {wanted} was expected"
        )
    return numbers.to_numpy()


def _factorise(frame: pl.DataFrame, key: str, attributes: Sequence[str]) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """The distinct *key*s, each with the first of its *attributes* that are not empty, and the place of every row."""
    distinct = frame.select(key, *attributes).unique(maintain_order=True)
    first = pl.col(*attributes)
    distinct = distinct.group_by(key, maintain_order=True).agg(first.filter(first != "").first().fill_null(""))
    places = distinct.select(key, pl.int_range(pl.len(), dtype=pl.Int32).alias("place"))
    joined = frame.select(key).join(places, on=key, how="left", maintain_order="left")
    return distinct, joined["place"].to_numpy()
