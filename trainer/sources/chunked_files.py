"""Files read in chunks, never whole: plain, gzip or Zstandard."""

import gzip
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trainer.errors import BadInput
from trainer.sources.source import NotData

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC = b"PK\x03\x04"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

HEAD_BYTES = 1 << 20
BLOCK_BYTES = 16 << 20
ROW_BYTES = 64  # a usual row of a table
LONGEST_LINE_CHUNKS = 8

# Errors of the standard library for damaged archives.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)

# Errors of polars for damaged files.
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)

# Bytes, or rows of a table with columns named after their roles, and the bytes of the file that they took.
Chunks = Iterable[tuple[bytes, int]]
Frames = Iterator[tuple[pl.DataFrame, int]]


@dataclass(frozen=True)
class Head:
    """
    The first MiB of a file.

    Attributes:
        path: the file.
        raw: its bytes as they are stored.
        text: the same unpacked, without a byte order mark.
    """

    path: Path
    raw: bytes
    text: bytes

    def check_not_empty(self, expected: str) -> None:
        """Raise NotData if the file has only blanks."""
        if not self.text.strip():
            raise NotData(f"cannot read {self.path}: it is empty. {expected} is expected.")


def read_head(path: Path) -> Head:
    """
    Read and unpack the first MiB of a file.

    Raises:
        BadInput: it is packed and damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(HEAD_BYTES)
    packed = raw.startswith((GZIP_MAGIC, ZSTD_MAGIC))
    text = next(chunks(path, HEAD_BYTES), (b"", 0))[0] if packed else raw
    return Head(path, raw, text.removeprefix(BYTE_ORDER_MARK))


def chunks(path: Path, size: int) -> Iterator[tuple[bytes, int]]:
    """
    Yield the unpacked content of a file in chunks of *size* bytes, each with the bytes of the file that it took.

    Raises:
        BadInput: the file is damaged or cannot be read.
    """
    with unpacking(str(path)), path.open("rb") as raw:
        magic = raw.peek(len(ZSTD_MAGIC))
        if magic.startswith(GZIP_MAGIC):
            yield from pieces(gzip.GzipFile(fileobj=raw), raw.tell, size)
        elif magic.startswith(ZSTD_MAGIC):
            yield from pieces(zstd.ZstdFile(raw), raw.tell, size)
        else:
            yield from pieces(raw, raw.tell, size)


def pieces(file: Any, tell: Callable[[], int], size: int) -> Iterator[tuple[bytes, int]]:
    """Yield the content of *file* in pieces of *size* bytes, each with the advance of *tell*."""
    before = tell()
    while piece := file.read(size):
        yield piece, tell() - before
        before = tell()


@contextmanager
def unpacking(name: str) -> Iterator[None]:
    """Raise BadInput for the errors of the unpackers: the file *name* is damaged or cannot be read."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError) as error:
        raise BadInput(f"cannot read {name}: it is damaged or cut short ({error}). Fetch it again.") from error
    except OSError as error:
        raise BadInput(f"cannot read {name}: {error.strerror or error}.") from error


def zip_members(path: Path) -> dict[str, int]:
    """Return the unpacked size in bytes of each file in a zip file; raise BadInput if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename: info.file_size for info in archive.infolist()}
    except DAMAGED as error:
        raise BadInput(f"cannot read {path}: it is not a whole zip file ({error}). Fetch it again.") from error


def read_member(path: Path, member: str) -> bytes:
    """Unpack a file in a zip file; raise BadInput if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except DAMAGED as error:
        raise BadInput(f"cannot read {path}:{member}: it is damaged ({error}). Fetch the zip file again.") from error


def whole_lines(chunks_: Chunks, name: str, quoted: bool = False) -> Iterator[tuple[bytes, int]]:
    """
    Regroup chunks into blocks of whole lines, without a byte order mark.

    If *quoted*, a block ends outside quotes, unless its quotes do not pair up.

    Raises:
        BadInput: a line is longer than several chunks.
    """
    rest, taken, waiting, first = b"", 0, 0, True
    for chunk, size in chunks_:
        block = (rest + chunk).removeprefix(BYTE_ORDER_MARK if first else b"")
        first, taken, waiting = False, taken + size, waiting + 1
        end = _end_of_lines(block, quoted)
        if end:
            yield block[:end], taken
            taken = waiting = 0
        rest = block[end:]
        if waiting > LONGEST_LINE_CHUNKS:
            raise BadInput(f"cannot read {name}: a line has more than {len(rest):,} bytes. Write one row a line.")
    if rest:
        yield rest, taken


def rows_in(block_bytes: int) -> int:
    """Return about how many rows of a table take *block_bytes*, at least 1."""
    return max(1, block_bytes // ROW_BYTES)


def first_line(error: BaseException) -> str:
    """Return the first line of the text of *error*; polars writes more."""
    return str(error).strip().partition("\n")[0]


def _end_of_lines(block: bytes, quoted: bool) -> int:
    """Return the end of the last whole line of *block*; if *quoted*, of the last that ends outside quotes, if any."""
    last = end = block.rfind(b"\n") + 1
    inside = quoted and block.count(b'"', 0, end) % 2
    while inside and end:
        start = block.rfind(b"\n", 0, end - 1) + 1
        inside ^= block.count(b'"', start, end) % 2
        end = start
    return end or last
