"""Playlists and saved tracks of Spotify's account data: Playlist1.json and YourLibrary.json."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from trainer.sources.account import Account
from trainer.sources.chunked_files import Head
from trainer.sources.documents import File, Listing, Parse, document_source, listings, load_json
from trainer.sources.entries import NO_MUSIC, Entry, SkippedEntry, text
from trainer.sources.file_names import listener_of
from trainer.sources.inputs import Inputs
from trainer.sources.source import Source

LIBRARY = re.compile(rb'\{\s*"tracks"\s*:\s*\[\s*\{\s*"(?:artist|album|track|uri)"\s*:')
LOCAL_FIELDS = 6


def find_export(head: Head, inputs: Inputs) -> list[Source]:
    """Return the playlists, or the saved tracks, in a file of Spotify's account data; nothing if it is another file."""
    start = head.text.lstrip()
    if LIBRARY.match(start):
        return [_source(head, "Spotify library", _library, inputs)]
    if start.startswith(b"{") and b'"playlists"' in start and b'"items"' in start and b'"pid"' not in start:
        return [_source(head, "Spotify playlists", _playlists, inputs)]
    return []


def _source(head: Head, format_: str, parse: Parse, inputs: Inputs) -> Source:
    source = document_source(head, format_, parse, inputs)
    source.account.notes += inputs.remarks_on_listener(head.path)
    return source


def _playlists(content: bytes, file: File, account: Account) -> Iterable[Listing]:
    return listings(load_json(content, account)["playlists"], partial(_playlist, listener_of(file.name)), account)


def _playlist(listener: str, playlist: dict[str, Any]) -> Listing:
    title = text(playlist.get("name"))
    return Listing(f"{listener}/{title}", title, playlist.get("items") or [], _item)


def _item(item: dict[str, Any]) -> Entry:
    track, local = item.get("track"), item.get("localTrack")
    if track:
        return Entry(track.get("artistName"), track.get("trackName"), track.get("trackUri"))
    if local:
        return _local(local["uri"])
    raise SkippedEntry(NO_MUSIC)


def _local(uri: str) -> Entry:
    """Return the track of `spotify:local:ARTIST:ALBUM:NAME:SECONDS`."""
    fields = [unquote_plus(field) for field in uri.split(":")]
    return Entry(fields[2], fields[4]) if len(fields) == LOCAL_FIELDS else Entry()


def _library(content: bytes, file: File, account: Account) -> Iterable[Listing]:
    return [Listing(f"{listener_of(file.name)}/YourLibrary", "", load_json(content, account)["tracks"], _saved)]


def _saved(track: dict[str, Any]) -> Entry:
    return Entry(track.get("artist"), track.get("track"), track.get("uri"))
