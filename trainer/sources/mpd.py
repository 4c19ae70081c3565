"""
Spotify's Million Playlist Dataset: its zip file, or a slice, plain or gzipped.

A slice (1,000 playlists, some 35 MB of JSON) is decoded whole, one at a time. Only the fields of use are decoded.
"""

import gzip
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated

import msgspec

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import (
    BYTE_ORDER_MARK,
    GZIP_MAGIC,
    ZIP_MAGIC,
    Head,
    read_member,
    unpacking,
    zip_members,
)
from trainer.sources.source import NotData, Source, SourcePlaylist, SourceTrack

FORMAT = "Million Playlist Dataset"
SUFFIXES = (".json", ".json.gz")
SLICE_PREFIX = "mpd.slice."


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


def find_slices(head: Head) -> list[Source]:
    """
    Return the slices in a file, in the order of their numbers; nothing if it is neither JSON nor a zip file.

    Raises:
        NotData: it holds no playlists.
        BadInput: it is a damaged zip file.
    """
    path, name = head.path, head.path.name.lower()
    if head.raw.startswith(ZIP_MAGIC) or name.endswith(".zip"):
        return _zip_slices(path)
    if not name.endswith(SUFFIXES) and not head.text.lstrip().startswith((b"{", b"[")):
        return []
    head.check_not_empty("The JSON of playlists")
    if b'"playlists"' not in head.text:
        raise NotData(
            f"cannot read {path}: it is JSON without `playlists`. A slice like mpd.slice.0-999.json has them."
        )
    return [_source(str(path), path.stat().st_size, path.read_bytes)]


def slices_or_all(paths: Iterable[str]) -> list[str]:
    """
    Return those of *paths* that are named like slices, or all if none is, in the order of their numbers.

    A challenge set, or its answers, may lie beside slices; nothing may be learned from them.
    """
    ordered = sorted(paths, key=_by_number)
    return [path for path in ordered if _is_slice(PurePath(path).name.lower())] or ordered


def decode(raw: bytes, name: str) -> list[SourcePlaylist]:
    """
    Decode one slice, or a published challenge set, which has the same fields.

    Args:
        raw: its JSON, gzipped or not.
        name: its path, for messages.

    Raises:
        BadInput: it is not the JSON of playlists.
    """
    with unpacking(name):
        text = (gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw).removeprefix(BYTE_ORDER_MARK)
    if not text.strip():
        raise BadInput(f"cannot read {name}: it is empty. The JSON of playlists is expected.")
    try:
        text.decode("utf-8")  # the decoder skips the fields that are not of use
        return [_playlist(playlist) for playlist in _DECODER.decode(text).playlists]
    except UnicodeDecodeError as error:
        bad = f"byte {error.start} (0x{text[error.start]:02x})"
        raise BadInput(f"cannot read {name}: {bad} is not UTF-8. Convert the file to UTF-8.") from None
    except msgspec.DecodeError as error:
        reason = f"broken off at its end, byte {len(text)}" if "truncated" in str(error) else str(error)
        raise BadInput(f"cannot read {name}: it is not the JSON of playlists ({reason}). Correct the file.") from error
    except RecursionError:
        raise BadInput(f"cannot read {name}: its JSON is nested too deeply. Fetch it again.") from None


def _playlist(playlist: _Playlist) -> SourcePlaylist:
    tracks = []
    for track in playlist.tracks:
        artist_name = track.artist_name or ""
        tracks.append(
            SourceTrack(track.track_uri, track.track_name or "", track.artist_uri or artist_name, artist_name)
        )
    return SourcePlaylist(str(playlist.pid), playlist.name or "", tracks)


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which slice 2000 comes before slice 10000."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _is_slice(name: str) -> bool:
    return name.startswith(SLICE_PREFIX) and name.endswith(SUFFIXES)


def _zip_slices(path: Path) -> list[Source]:
    sizes = zip_members(path)
    members = slices_or_all(_json_members(sizes))
    if not members:
        raise NotData(f"cannot read {path}: it holds no slices. Files like mpd.slice.0-999.json are expected in it.")
    return [_source(f"{path}:{member}", sizes[member], partial(read_member, path, member)) for member in members]


def _source(name: str, size: int, read: Callable[[], bytes]) -> Source:
    account = Account(FORMAT, unit="tracks")
    return Source(name, size, lambda _: _counted(decode(read(), name), account), account)


def _counted(playlists: list[SourcePlaylist], account: Account) -> list[SourcePlaylist]:
    account.records = sum(len(playlist.tracks) for playlist in playlists)
    return playlists


def _json_members(members: Iterable[str]) -> Iterator[str]:
    """Yield the JSON files among *members*, without the shadow files of a Mac."""
    for member in members:
        name = PurePath(member).name.lower()
        if name.endswith(SUFFIXES) and not name.startswith("._"):
            yield member
