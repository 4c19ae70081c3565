"""
Spotify's Million Playlist Dataset: a zip as downloaded, a directory of slices, or a slice, plain or gzipped.

A slice is read and decoded whole (1,000 playlists, some 35 MB of JSON), one at a time, so that memory does not grow
with the number of slices. Only the fields of use are decoded; others may be there or not.
"""

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from trainer.errors import BadInput
from trainer.sources.records import Playlist, Slice, Track

SUFFIXES = (".json", ".json.gz")
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Track(msgspec.Struct):
    track_uri: str
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

    Raises:
        BadInput: there are none, or *path* is not what its name says.
    """
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file() and _is_slice(file.name)]
        found = [_file_slice(file) for file in files]
    elif path.suffix.lower() == ".zip" or _starts_with(path, ZIP_MAGIC):
        found = list(_zip_slices(path))
    else:
        found = [_file_slice(path)]
    if not found:
        raise BadInput(f"{path} holds no slices; files named like mpd.slice.0-999.json or .json.gz were expected")
    return sorted(found, key=lambda slice_: _natural(slice_.name))


def decode(raw: bytes, name: str) -> list[Playlist]:
    """
    Decode one slice.

    Args:
        raw: its JSON, gzipped or not.
        name: where it lies, for a person.

    Raises:
        BadInput: it is not the JSON of a slice; the message says where.
    """
    try:
        text = (gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw).removeprefix(BYTE_ORDER_MARK)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{name} is a damaged gzip file: {error}; fetch it again") from error
    if not text.strip():
        raise BadInput(f"{name} is empty; the JSON of a slice was expected")
    try:
        playlists = _DECODER.decode(text).playlists
    except UnicodeDecodeError:
        raise BadInput(f"{name} is not UTF-8 {_where_not_utf8(text)}; convert it to UTF-8") from None
    except msgspec.DecodeError as error:
        raise BadInput(f"{name} is not a slice of playlists: {_explain(error, text)}") from error
    return [_playlist(playlist) for playlist in playlists]


def _playlist(playlist: _Playlist) -> Playlist:
    tracks = []
    for track in playlist.tracks:
        artist_name = track.artist_name or ""
        tracks.append(Track(track.track_uri, track.track_name or "", track.artist_uri or artist_name, artist_name))
    return Playlist(str(playlist.pid), playlist.name or "", tracks)


def _explain(error: msgspec.DecodeError, text: bytes) -> str:
    reason = str(error)
    if "truncated" in reason:
        return f"its JSON is broken off at its end, byte {len(text)}"
    invalid = _where_not_utf8(text)
    return f"{reason}; it is not UTF-8 {invalid}" if invalid else reason


def _where_not_utf8(text: bytes) -> str:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"at byte {error.start} (0x{text[error.start]:02x})"
    return ""


def _is_slice(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key by which slice 2000 comes before slice 10000."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _file_slice(path: Path) -> Slice:
    return Slice(str(path), path.stat().st_size, lambda: decode(path.read_bytes(), str(path)))


def _zip_slices(path: Path) -> Iterator[Slice]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if _is_slice(Path(info.filename).name)]
    except zipfile.BadZipFile as error:
        raise BadInput(f"{path} is not a whole zip file: {error}; fetch it again") from error
    for member in members:
        yield Slice(f"{path}:{member.filename}", member.file_size, partial(_read_member, path, member.filename))


def _read_member(path: Path, member: str) -> Sequence[Playlist]:
    name = f"{path}:{member}"
    try:
        with zipfile.ZipFile(path) as archive:
            raw = archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{name} cannot be unpacked: {error}; fetch the zip file again") from error
    return decode(raw, name)
