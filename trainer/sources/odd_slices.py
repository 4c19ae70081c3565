"""Slices of the Million Playlist Dataset with odd records, which are passed over. Reading takes up to twice as long."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from service.engine import bare_id
from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.encodings import HALF, HALF_A_CHARACTER, REPLACEMENT
from trainer.sources.names import track_id
from trainer.sources.source import SourcePlaylist, SourceTrack
from trainer.sources.texts import LostDigits, number_text

START = re.compile(r'"playlists"\s*:\s*\[')
GAP = re.compile(r"[\s,]*")
SLICE_NUMBERS = re.compile(r"mpd\.slice\.(\d+)-(\d+)", re.IGNORECASE)
NOT_UTF8 = re.compile(r"[\udc80-\udcff]")  # such a byte, after decoding with surrogateescape

TRACK_FIELDS = ("track_uri", "track_name", "artist_uri", "artist_name")


def read_carefully(text: bytes, name: str, account: Account) -> list[SourcePlaylist]:
    """
    Decode a slice and count its odd records.

    Args:
        text: its JSON.
        name: its path, for messages.
        account: counts the odd records.

    Raises:
        BadInput: it is not the JSON of playlists.
    """
    content = text.decode("utf-8", "surrogateescape")
    playlists, end = _load(content, name)
    found = [one for place, record in enumerate(playlists) for one in _playlist(record, f"playlists[{place}]", account)]
    if end < len(content):
        lost = max(_expected(name) - len(playlists), len(playlists) * (len(content) - end) // end)
        tracks = sum(len(playlist.tracks) for playlist in found) * lost // max(1, len(found))
        account.pass_over("the JSON is broken from here on", f"byte {_bytes(content[:end]):,}", max(1, tracks))
    return found


def _load(text: str, name: str) -> tuple[list[Any], int]:
    """Return the playlists in a slice, and the length of the text up to the place where its JSON is broken."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise BadInput(f"cannot read {name}: its JSON is nested too deeply. Fetch it again.") from None
    except ValueError as error:
        playlists, end = _whole_playlists(text)
        if not playlists:
            place = f", byte {_bytes(text[: error.pos]):,}" if isinstance(error, json.JSONDecodeError) else ""
            reason = f"it is not the JSON of playlists ({error.args[0].partition(':')[0]}{place})"
            raise BadInput(f"cannot read {name}: {reason}. Correct the file, or fetch it again.") from None
        return playlists, end
    found = content.get("playlists") if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise BadInput(f"cannot read {name}: it is JSON without a list of `playlists`. Correct the file.")
    return found, len(text)


def _whole_playlists(text: str) -> tuple[list[Any], int]:
    """Return the playlists before the place where the JSON is broken, and that place."""
    decoder, playlists = json.JSONDecoder(), list[Any]()
    start = START.search(text)
    end = start.end() if start else 0
    with suppress(ValueError, RecursionError):
        while start:
            playlist, end = decoder.raw_decode(text, _after_gap(text, end))
            playlists.append(playlist)
    return playlists, end


def _after_gap(text: str, place: int) -> int:
    gap = GAP.match(text, place)
    return gap.end() if gap else place


def _expected(name: str) -> int:
    """Return the number of playlists that the name of a slice promises, 0 for other names."""
    numbers = SLICE_NUMBERS.search(name)
    return int(numbers[2]) - int(numbers[1]) + 1 if numbers else 0


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _playlist(record: Any, place: str, account: Account) -> Iterator[SourcePlaylist]:
    """Yield the playlist in *record*; nothing if it is odd."""
    tracks = record.get("tracks") if isinstance(record, dict) else None
    if not isinstance(tracks, list):
        account.pass_over("no list of tracks", place)
    elif not bare_id(_text(record, "pid")):
        account.pass_over("no playlist id", place, max(1, len(tracks)))
    else:
        found = (one for at, track in enumerate(tracks) for one in _track(track, f"{place}.tracks[{at}]", account))
        yield SourcePlaylist(bare_id(_text(record, "pid")), _title(record, place, account), list(found))


def _title(record: dict[str, Any], place: str, account: Account) -> str:
    """Return the title of a playlist, '' if it is not UTF-8: the tracks count without it."""
    title = _text(record, "name")
    if NOT_UTF8.search(title):
        account.pass_over("a title is not UTF-8", place)
        return ""
    return _whole(title, place, account)


def _track(record: Any, place: str, account: Account) -> Iterator[SourceTrack]:
    """Yield the track in *record*; nothing if it is odd."""
    fields = [_text(record, field) for field in TRACK_FIELDS] if isinstance(record, dict) else [""] * 4
    id_, artist_id = bare_id(fields[0]), bare_id(fields[2])
    name, artist = fields[1], fields[3]
    if NOT_UTF8.search("".join(fields)):
        account.pass_over("text is not UTF-8", place)
    elif HALF.search(id_ + artist_id) or not (id_ or (artist.strip() and name.strip())):
        account.pass_over("no track id", place)
    else:
        name, artist = _whole(name, place, account), _whole(artist, place, account)
        if not id_:
            account.mend("no track id, so ARTIST - NAME is the id", place)
        yield SourceTrack(id_ or track_id(artist, name), name, artist_id or artist, artist)


def _whole(text: str, place: str, account: Account) -> str:
    """Return *text* with halves of characters replaced."""
    if HALF.search(text):
        account.mend(HALF_A_CHARACTER, place)
    return HALF.sub(REPLACEMENT, text)


def _text(record: dict[str, Any], field: str) -> str:
    """Return a field as an id is written, '' if it is missing, neither text nor a number, or lost digits."""
    value = record.get(field)
    if isinstance(value, str):
        return value
    with suppress(LostDigits):
        return number_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return ""
