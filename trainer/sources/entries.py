"""Entries of playlists and of listening histories, and the tracks that they name."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote
from xml.parsers.expat import ExpatError

from trainer.sources.account import Account
from trainer.sources.names import track_id
from trainer.sources.source import SourceTrack
from trainer.sources.texts import number_text

SPOTIFY = re.compile(r"spotify:track:\w+$|https?://open\.spotify\.com/(?:intl-\w+/)?track/(\w+)")
RECORDING = re.compile(
    r"(?:https?://musicbrainz\.org/recording/)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/?$", re.I
)
DASH = re.compile(r"\s+[-\u2013\u2014]\s+")
TRACK_NUMBER = re.compile(r"(?:\d{1,2}\s*[.)_-]|0\d\s)\s*")  # not the 50 of 50 Cent, nor the 311 of 311
EXTENSION = re.compile(r"\.\w{1,5}$")

# Errors of parsers, and of the code that takes their values for something else.
MALFORMED = (ValueError, SyntaxError, ExpatError, RecursionError, LookupError, TypeError, AttributeError)
NO_MUSIC = "podcasts, audiobooks and videos"

Item = TypeVar("Item")
Taken = TypeVar("Taken")


class OddEntry(ValueError):
    """An entry that names no track; the text is the reason."""


class SkippedEntry(Exception):
    """A sound entry that a rule leaves out; the text is the rule."""


class Entry(NamedTuple):
    """
    A track as a file names it, in unchecked values.

    Attributes:
        artist, name: '' or None if the file does not give them.
        uri: an id or an address in a catalogue.
        location: the path or the URL of the sound.
    """

    artist: Any = ""
    name: Any = ""
    uri: Any = ""
    location: Any = ""


def take(item: Item, read: Callable[[Item], Taken], account: Account) -> Taken | None:
    """Return *item*, the last record of *account*, as *read* converts it; None, and a count, if it is not used."""
    place = f"{account.unit.removesuffix('s')} {account.records:,}"
    try:
        return read(item)
    except SkippedEntry as skipped:
        account.skip(str(skipped), 1)
    except OddEntry as odd:
        account.pass_over(str(odd), place)
    except MALFORMED:
        account.pass_over("values of other types", place)
    return None


def track_of(entry: Entry) -> SourceTrack:
    """
    Return the track of *entry*. Its id is the Spotify URI or the MBID if there is one, else `ARTIST - NAME`.

    An entry without an artist is named after its file, if that is like `Artist - Name.mp3`.

    Raises:
        OddEntry: nothing names the track.
    """
    artist, name, location = text(entry.artist), text(entry.name), text(entry.location)
    id_ = _catalogue_id(text(entry.uri)) or _catalogue_id(location)
    if not id_ and not (artist and name):
        artist, name = named(_stem(location))[:2]
        if not artist:
            raise OddEntry("no artist and name")
    return SourceTrack(id_ or track_id(artist, name), name, artist, artist)


def named(title: str) -> Entry:
    """Split `Artist - Name` at its first dash between blanks; there is no artist without one."""
    artist, *name = DASH.split(title.strip(), maxsplit=1)
    return Entry(artist, name[0]) if name and artist else Entry(name=title.strip())


def text(value: Any) -> str:
    """
    Return *value* as a line of text: '' for None, digits for a number, one space for blanks, in NFC.

    Raises:
        OddEntry: it is neither text nor a number, or it holds half of a character or bytes that are not UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise OddEntry("no text where text is expected")
    written = value if isinstance(value, str) else number_text(value)
    line = unicodedata.normalize("NFC", " ".join(written.split()))
    try:
        line.encode()
    except UnicodeEncodeError:
        raise OddEntry("text that is not Unicode") from None
    return line


def _catalogue_id(uri: str) -> str:
    spotify, recording = SPOTIFY.match(uri), RECORDING.match(uri)
    if spotify:
        return f"spotify:track:{spotify[1]}" if spotify[1] else uri
    return recording[1].lower() if recording else ""


def _stem(location: str) -> str:
    """Return the name of the file at *location*, a path or a URL, without track number and extension."""
    path = unquote(location.partition("?")[0]) if "://" in location else location
    name = EXTENSION.sub("", PurePosixPath(path.replace("\\", "/")).name)
    return name[number.end() :] if (number := TRACK_NUMBER.match(name)) else name
