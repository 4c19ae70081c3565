"""Files and members of zip files, read in chunks: plain, or packed with gzip, Zstandard, xz or bzip2."""

import bz2
import gzip
import hashlib
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader, BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias, cast

import polars as pl

from trainer.errors import BadInput
from trainer.sources.source import NotData

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNPACKERS: dict[tuple[bytes, ...], Callable[[Any], Any]] = {
    (b"\x1f\x8b",): gzip.open,
    (b"\x28\xb5\x2f\xfd",): zstd.open,
    (b"\xfd7zXZ\0",): lzma.open,
    tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)): bz2.open,
}
PACKED_SUFFIXES = (".gz", ".zst", ".xz", ".bz2")
LONGEST_MAGIC = 10
ZIP_MAGIC = b"PK\x03\x04"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

HEAD_BYTES = 1 << 20
BLOCK_BYTES = 16 << 20
ROW_BYTES = 128  # a usual row of a table in memory
LONGEST_LINE_CHUNKS = 8
LARGEST_WHOLE = 1 << 30
MOST_OPEN_ZIPS = 8

# The errors of the unpackers for damaged content. An OSError without a number is one of them: bz2 raises it.
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile, OSError, ValueError)

# Errors of polars for damaged files.
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)


class ZipMember(zipfile.Path):
    """
    A file in a zip file.

    Attributes:
        info: its entry in the zip file, which may have several of one name; None if there is no such file.
    """

    def __init__(self, root: Any, at: str = "", info: zipfile.ZipInfo | None = None) -> None:
        super().__init__(root, at)
        self.info = info or self.root.NameToInfo.get(at)

    def open(self, *_: Any, **__: Any) -> IO[bytes]:  # type: ignore[override]
        """Open the file to read its bytes, the only mode."""
        archive = Path(str(self.root.filename))
        return _opened(archive, archive.stat().st_mtime_ns).open(self.info or self.at)


@lru_cache(maxsize=MOST_OPEN_ZIPS)
def _opened(archive: Path, _: int) -> zipfile.ZipFile:
    """Return a zip file of the given age, open: to open it is to read the list of all its files."""
    return zipfile.ZipFile(archive)


FilePath: TypeAlias = Path | ZipMember

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

    path: FilePath
    raw: bytes
    text: bytes

    @property
    def is_whole(self) -> bool:
        """True if the file has no more text."""
        return len(self.text) + len(BYTE_ORDER_MARK) < HEAD_BYTES

    def check_not_empty(self, expected: str) -> None:
        """Raise NotData if the file has only blanks."""
        if not self.text.strip():
            raise NotData(f"cannot read {self.path}: it is empty. {expected} is expected.")


def read_head(path: FilePath) -> Head:
    """
    Read and unpack the first MiB of a file.

    Raises:
        BadInput: it is damaged or cannot be read.
    """
    with unpacking(str(path)), path.open("rb") as file:
        raw = file.read(HEAD_BYTES)
    text = next(chunks(path, HEAD_BYTES), (b"", 0))[0] if _unpacker(raw) else raw
    return Head(path, raw, text.removeprefix(BYTE_ORDER_MARK))


def chunks(path: FilePath, size: int) -> Iterator[tuple[bytes, int]]:
    """
    Yield the unpacked content of a file in chunks of *size* bytes, each with the bytes of the file that it took.

    Raises:
        BadInput: the file is damaged or cannot be read.
    """
    with unpacking(str(path)), path.open("rb") as raw:
        unpacker = _unpacker(cast(BufferedReader, raw).peek(LONGEST_MAGIC))
        yield from pieces(unpacker(raw) if unpacker else raw, raw.tell, size)


def read_whole(path: FilePath, most: int = LARGEST_WHOLE) -> bytes:
    """
    Return the unpacked content of a file.

    Raises:
        BadInput: it is damaged, cannot be read, or has more than *most* bytes.
    """
    content = BytesIO()
    for chunk, _ in chunks(path, BLOCK_BYTES):
        content.write(chunk)
        if content.tell() > most:
            raise BadInput(
                f"cannot read {path}: it has more than {most:,} bytes, too many to read at once. "
                f"Unpack it if it is packed, or split it into several files."
            )
    return content.getvalue()


def digest(path: FilePath) -> bytes:
    """Return a digest of the unpacked content of a file; raise BadInput if it is damaged or cannot be read."""
    content = hashlib.blake2b()
    for chunk, _ in chunks(path, HEAD_BYTES):
        content.update(chunk)
    return content.digest()


def size_of(path: FilePath) -> int:
    """Return the size of a file in bytes, packed as it is; of a member of a zip file, its unpacked size."""
    if isinstance(path, Path):
        return path.stat().st_size
    return path.info.file_size if path.info else 0


def with_name(path: FilePath, name: str) -> FilePath:
    """Return the file called *name* beside *path*."""
    if isinstance(path, ZipMember):
        return ZipMember(path.root, str(PurePosixPath(path.at).with_name(name)))
    return path.with_name(name)


def seekable(path: FilePath) -> Path | BytesIO:
    """Return the file if it is plain, for readers that seek; otherwise its unpacked content, in memory."""
    if isinstance(path, Path):
        with path.open("rb") as raw:
            if not _unpacker(raw.peek(LONGEST_MAGIC)):
                return path
    return BytesIO(read_whole(path))


def bare_suffix(path: FilePath) -> str:
    """Return the suffix without that of the packing, in lower case: .csv for a.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in PACKED_SUFFIXES), "")


def _unpacker(raw: bytes) -> Callable[[Any], Any] | None:
    return next((unpacker for magics, unpacker in UNPACKERS.items() if raw.startswith(magics)), None)


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
    except NotImplementedError as error:
        raise BadInput(f"cannot read {name}: {error}. Unpack the zip file into a directory.") from error
    except RuntimeError as error:  # zipfile's error for a password
        raise BadInput(f"cannot read {name}: it is encrypted. Unpack the zip file into a directory.") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BadInput(f"cannot read {name}: {error.strerror or error}.") from error
        raise BadInput(f"cannot read {name}: it is damaged or cut short ({error}). Fetch it again.") from error


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
