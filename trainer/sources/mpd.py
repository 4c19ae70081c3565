"""
Spotify's Million Playlist Dataset: a zip as downloaded, a directory of slices, or a slice, plain or gzipped.

A slice is read and decoded whole (1,000 playlists, some 35 MB of JSON), one at a time, so that memory does not grow
with the number of slices. Only the fields of use are decoded; others may be there or not.
"""

import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated

import msgspec

from trainer.errors import BadInput
from trainer.sources.blocks import BYTE_ORDER_MARK, GZIP_MAGIC, ZIP_MAGIC, starts_with
from trainer.sources.records import Playlist, Slice, Track

SUFFIXES = (".json", ".json.gz")
SLICE_PREFIX = "mpd.slice."

# What the standard library raises on archives that are damaged, in one way or another.
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


class _Track(msgspec.Struct):
    track_uri: Annotated[str, msgspec.Meta(min_length=1)]
    track_name: str | None = None
    artist_uri: str | None = None
    artist_name: str | None = None


class _Playlist(msgspec.Struct, kw_only=True):
    pid: int
    name: str | None = None
    tracks: list[_Track]


class _Slice(msgspec.Struct):
    playlists: list[_Playlist]


_DECODER = msgspec.json.Decoder(_Slice)


def slices(path: Path) -> list[Slice]:
    """
    The slices of the dataset in *path*, in the order of their numbers.

    Where any file of a directory or a zip is named as slices are, only those are slices: a challenge set, or answers,
    that lie beside them hold playlists that nothing may be learned from.

    Raises:
        BadInput: there are none, or *path* is not what its name says.
    """
    if path.is_dir():
        names = _slice_names(str(file) for file in path.rglob("*") if file.is_file())
        found = [_file_slice(Path(name)) for name in names]
    elif path.suffix.lower() == ".zip" or starts_with(path, ZIP_MAGIC):
        found = list(_zip_slices(path))
    else:
        found = [_file_slice(path)]
    if not found:
        raise BadInput(f"{path} holds no slices; files named like mpd.slice.0-999.json or .json.gz were expected")
    return sorted(found, key=lambda slice_: _natural(slice_.name))


def decode(raw: bytes, name: str) -> list[Playlist]:
    """
    Decode one slice, or a published challenge set, which has the same fields.

    Args:
        raw: its JSON, gzipped or not.
        name: where it lies, for a person.

    Raises:
        BadInput: it is not the JSON of playlists; the message says where.
    """
    try:
        text = (gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw).removeprefix(BYTE_ORDER_MARK)
    except DAMAGED as error:
        raise BadInput(f"{name} is a damaged gzip file: {error}; fetch it again") from error
    if not text.strip():
        raise BadInput(f"{name} is empty; the JSON of playlists was expected")
    try:
        text.decode("utf-8")  # all of it: the fields that are of no use are not looked at below
        return [_playlist(playlist) for playlist in _DECODER.decode(text).playlists]
    except UnicodeDecodeError as error:
        where = f"byte {error.start} (0x{text[error.start]:02x})"
        raise BadInput(f"{name} is not UTF-8 at {where}; convert it to UTF-8") from None
    except msgspec.DecodeError as error:
        reason = f"its JSON is broken off at its end, byte {len(text)}" if "truncated" in str(error) else str(error)
        raise BadInput(f"{name} is not the JSON of playlists: {reason}") from error
    except RecursionError:
        raise BadInput(f"{name} is not the JSON of playlists: it is nested too deeply") from None


def _playlist(playlist: _Playlist) -> Playlist:
    tracks = []
    for track in playlist.tracks:
        artist_name = track.artist_name or ""
        tracks.append(Track(track.track_uri, track.track_name or "", track.artist_uri or artist_name, artist_name))
    return Playlist(str(playlist.pid), playlist.name or "", tracks)


def _slice_names(paths: Iterable[str]) -> list[str]:
    named = [(PurePath(path).name.lower(), path) for path in paths]
    json = [(name, path) for name, path in named if name.endswith(SUFFIXES) and not name.startswith("._")]
    slices_ = [path for name, path in json if name.startswith(SLICE_PREFIX)]
    return slices_ or [path for _, path in json]


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key by which slice 2000 comes before slice 10000."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _file_slice(path: Path) -> Slice:
    return Slice(str(path), path.stat().st_size, lambda: decode(path.read_bytes(), str(path)))


def _zip_slices(path: Path) -> Iterator[Slice]:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except DAMAGED as error:
        raise BadInput(f"{path} is not a whole zip file: {error}; fetch it again") from error
    for member in _slice_names(sizes):
        yield Slice(f"{path}:{member}", sizes[member], partial(_read_member, path, member))


def _read_member(path: Path, member: str) -> Sequence[Playlist]:
    name = f"{path}:{member}"
    try:
        with zipfile.ZipFile(path) as archive:
            raw = archive.read(member)
    except DAMAGED as error:
        raise BadInput(f"{name} cannot be unpacked: {error}; fetch the zip file again") from error
    return decode(raw, name)
