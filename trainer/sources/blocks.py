"""The content of files, packed or not, in blocks of some 16 MB."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from trainer.errors import BadInput

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC = b"PK\x03\x04"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

HEAD = 1 << 20
HEAD_LINES = 1000
BLOCK = 16 << 20
BATCH_ROWS = 250_000
LONGEST_LINE = 8 * BLOCK

# What polars raises on files that are damaged, in one way or another.
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)

# Bytes, or rows of a table with its columns named after their roles, and how many bytes of the file they took.
Chunks = Iterable[tuple[bytes, int]]
Frames = Iterator[tuple[pl.DataFrame, int]]


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
            raw = next(_zstd_chunks(path, HEAD_LINES), (b"", 0))[0]
        except BadInput:
            raw = b""
    return raw.removeprefix(BYTE_ORDER_MARK)


def head_with_text(path: Path, expected: str) -> bytes:
    """
    As `head`.

    Raises:
        BadInput: there is nothing in it, where *expected* was.
    """
    start = head(path)
    if not start.strip():
        for _ in chunks(path):  # an empty head may be that of a damaged file, which is told here
            break
        raise BadInput(f"{path} is empty; {expected}")
    return start


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


def first_line(error: BaseException) -> str:
    """The first line of what *error* says; polars says more."""
    return str(error).strip().partition("\n")[0]


def _end_outside_quotes(block: bytes, end: int) -> int:
    """The end of the last line of *block* up to *end* that is outside quotes, 0 if there is none."""
    inside = block.count(b'"', 0, end) % 2
    while inside and end:
        start = block.rfind(b"\n", 0, end - 1) + 1
        inside ^= block.count(b'"', start, end) % 2
        end = start
    return end


def _zstd_chunks(path: Path, lines: int | None = None) -> Iterator[tuple[bytes, int]]:
    """The first *lines* of a file, or all, by polars, as Python does not know this packing."""
    scan = pl.scan_lines(path, name="line", glob=False, n_rows=lines)
    try:
        for frame in scan.collect_batches(chunk_size=BATCH_ROWS):
            block = "".join(f"{line}\n" for line in frame["line"]).encode()
            yield block, len(block) // 4
    except POLARS_ERRORS as error:
        raise BadInput(f"{path} is damaged, cut short or not UTF-8: {first_line(error)}; fetch it again") from None
