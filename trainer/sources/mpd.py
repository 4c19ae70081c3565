"""
Spotify's Million Playlist Dataset: slices, plain or packed.

A slice (1,000 playlists, some 35 MB of JSON) is decoded whole, one at a time. Only the fields of use are decoded.
"""

from typing import Annotated, TypeAlias

import msgspec

from service.engine import bare_id
from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import BYTE_ORDER_MARK, FilePath, Head, bare_suffix, read_whole, size_of
from trainer.sources.odd_slices import read_carefully
from trainer.sources.source import NotData, Source, SourcePlaylist, SourceTrack

FORMAT = "Million Playlist Dataset"
SLICE_PREFIX = "mpd.slice."


_Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _Track(msgspec.Struct, gc=False):
    track_uri: _Id
    track_name: str | None = None
    artist_uri: str | None = None
    artist_name: str | None = None


class _Playlist(msgspec.Struct, kw_only=True):
    pid: int | _Id
    name: str | None = None
    tracks: list[_Track]


class _Slice(msgspec.Struct):
    playlists: list[_Playlist]


_DECODER = msgspec.json.Decoder(_Slice)


def find_slices(head: Head) -> list[Source]:
    """
    Return the slice in a file; nothing if the file is not JSON.

    Raises:
        NotData: it holds no playlists.
    """
    path = head.path
    if bare_suffix(path) != ".json" and not head.text.lstrip().startswith((b"{", b"[")):
        return []
    head.check_not_empty("The JSON of playlists")
    if b'"playlists"' not in head.text:
        raise NotData(
            f"cannot read {path}: it is JSON without `playlists`. A slice like mpd.slice.0-999.json has them."
        )
    account = Account(FORMAT, unit="tracks")
    return [Source(str(path), size_of(path), lambda _: read_slice(path, account), account)]


def is_slice(path: FilePath) -> bool:
    """Return True if a file is named like a slice."""
    return path.name.lower().startswith(SLICE_PREFIX) and bare_suffix(path) == ".json"


def read_slice(path: FilePath, account: Account) -> list[SourcePlaylist]:
    """
    Read a slice, or a published challenge set, which has the same fields.

    Args:
        path: the file.
        account: counts the tracks, and the odd records, which are passed over.

    Raises:
        BadInput: it is damaged, or not the JSON of playlists.
    """
    text = read_whole(path).removeprefix(BYTE_ORDER_MARK)
    if not text.strip():
        raise BadInput(f"cannot read {path}: it is empty. The JSON of playlists is expected.")
    try:
        playlists = [_playlist(playlist) for playlist in _DECODER.decode(text).playlists]
    except RecursionError:
        raise BadInput(f"cannot read {path}: its JSON is nested too deeply. Fetch it again.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        playlists = read_carefully(text, str(path), account)
    account.records = sum(len(playlist.tracks) for playlist in playlists) + account.n_odd
    return playlists


def _playlist(playlist: _Playlist) -> SourcePlaylist:
    tracks = []
    for track in playlist.tracks:
        artist_name = track.artist_name or ""
        artist_id = bare_id(track.artist_uri or "") or artist_name
        tracks.append(SourceTrack(_bare(track.track_uri), track.track_name or "", artist_id, artist_name))
    return SourcePlaylist(_bare(str(playlist.pid)), playlist.name or "", tracks)


def _bare(text: str) -> str:
    id_ = bare_id(text)
    if not id_:
        raise msgspec.ValidationError("an id of blanks")
    return id_
