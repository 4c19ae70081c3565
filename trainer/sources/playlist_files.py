"""Playlist files of players: M3U, PLS, XSPF and JSPF, a playlist a file, and iTunes' library."""

import plistlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from io import BytesIO
from typing import Any

from defusedxml import ElementTree

from trainer.sources.account import Account
from trainer.sources.chunked_files import Head, bare_suffix
from trainer.sources.documents import File, Listing, Parse, document_source, listings, load_json
from trainer.sources.entries import NO_MUSIC, Entry, OddEntry, SkippedEntry, named, text
from trainer.sources.file_names import stem_of
from trainer.sources.inputs import Inputs
from trainer.sources.source import NotData, Source

M3U_SUFFIXES = (".m3u", ".m3u8")
EXTINF = re.compile(r'#EXTINF:(?:[^,"]|"[^"]*")*,(.*)', re.IGNORECASE)
PLAYLIST = "#PLAYLIST:"
PLS_FIELD = re.compile(r"^[ \t]*(file|title)(\d+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
XSPF = re.compile(rb"xspf\.org/ns/0|<trackList")
JSPF = re.compile(rb'\{\s*"playlist"\s*:\s*\{')
TRACK_DEPTH = 2  # in the list of tracks of the playlist
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

# Marks of the playlists that iTunes makes, and of tracks that are no music.
MADE_BY_ITUNES = {"Master", "Distinguished Kind", "Smart Info", "Folder"}
OTHER_MEDIA = ("Podcast", "Movie", "TV Show", "Audiobook")


def find_playlist_files(head: Head, inputs: Inputs) -> list[Source]:
    """
    Return the playlists in a playlist file or in iTunes' library; nothing if the file is neither.

    Raises:
        NotData: it is a stream, or another property list.
    """
    found = _format(head)
    return [document_source(head, *found, inputs)] if found else []


def _format(head: Head) -> tuple[str, Parse] | None:
    start = head.text.lstrip()
    if start[:8].upper().startswith((b"#EXTM3U", b"#EXTINF")) or bare_suffix(head.path) in M3U_SUFFIXES:
        _check_no_stream(head)
        return "M3U", _m3u
    if start[:10].lower() == b"[playlist]":
        return "PLS", _pls
    if start.startswith(b"<") and XSPF.search(start):
        return "XSPF", _xspf
    if start.startswith((b"<", b"bplist")) and (b"<plist" in start or start.startswith(b"bplist")):
        _check_library(head)
        return "iTunes library", _itunes
    return ("JSPF", _jspf) if JSPF.match(start) else None


def _check_no_stream(head: Head) -> None:
    head.check_not_empty("A playlist with the path of a track a line")
    if b"#EXT-X-" in head.text:
        raise NotData(f"cannot read {head.path}: it is a stream (HTTP Live Streaming), not a list of tracks.")


def _check_library(head: Head) -> None:
    if b"Track" not in head.text:
        raise NotData(f"cannot read {head.path}: it is a property list without tracks. iTunes' Library.xml has them.")


def _m3u(content: bytes, file: File, _: Account) -> Iterator[Listing]:
    title, caption = "", ""
    items: list[tuple[str, str]] = []
    for line in re.split(r"\s*[\r\n]\s*", _decoded(content).strip()):
        if line.upper().startswith(PLAYLIST):
            title = line[len(PLAYLIST) :]
        elif extinf := EXTINF.match(line):
            caption = extinf[1]
        elif line and not line.startswith("#"):
            items.append((caption, line))
            caption = ""
    yield _listing(file, title, items)


def _pls(content: bytes, file: File, _: Account) -> Iterator[Listing]:
    fields: dict[int, dict[str, str]] = {}
    for field, number, value in PLS_FIELD.findall(_decoded(content)):
        fields.setdefault(int(number), {})[field.lower()] = value
    yield _listing(file, "", [(entry.get("title", ""), entry.get("file", "")) for _, entry in sorted(fields.items())])


def _listing(file: File, title: str, items: list[tuple[str, str]]) -> Listing:
    """Return the playlist of a file, which holds the caption and the location of each track."""
    return Listing(file.id, _title(title, file), items, lambda item: _captioned(*item))


def _captioned(caption: str, location: str) -> Entry:
    return named(caption)._replace(uri=location, location=location)


def _xspf(content: bytes, file: File, _: Account) -> Iterator[Listing]:
    title, tracks = "", []
    damage: SyntaxError | None = None
    try:
        for depth, element in _elements(content):
            if depth == 1 and _local_name(element) == "title":
                title = element.text or ""
            elif depth == TRACK_DEPTH and _local_name(element) == "track":
                tracks.append(element)
    except SyntaxError as error:
        damage = error
    if tracks or not damage:
        yield Listing(file.id, _title(title, file), tracks, _xspf_entry)
    if damage:
        raise damage


def _elements(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the elements of XML as they end, each with its depth, up to a place where the XML is damaged."""
    depth = 0
    for event, element in ElementTree.iterparse(BytesIO(content), ("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "end":
            yield depth, element


def _local_name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _xspf_entry(track: Any) -> Entry:
    artist, name, uri, location = (
        track.findtext(f"{{*}}{field}") or "" for field in ("creator", "title", "identifier", "location")
    )
    return _credited(artist, name)._replace(uri=uri, location=location)


def _jspf(content: bytes, file: File, account: Account) -> Iterator[Listing]:
    playlist = load_json(content, account)["playlist"]
    yield Listing(file.id, _title(playlist.get("title"), file), playlist["track"], _jspf_entry)


def _jspf_entry(track: dict[str, Any]) -> Entry:
    uri, location = (_first(track.get(field)) for field in ("identifier", "location"))
    return _credited(track.get("creator"), track.get("title"))._replace(uri=uri, location=location)


def _credited(artist: Any, name: Any) -> Entry:
    return Entry(artist, name) if artist or not isinstance(name, str) else named(name)


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else values or ""


def _itunes(content: bytes, file: File, account: Account) -> Iterable[Listing]:
    library = plistlib.loads(content)
    every = library["Playlists"]
    own = [playlist for playlist in every if len(every) == 1 or not MADE_BY_ITUNES & set(playlist)]
    if len(own) < len(every):
        account.notes.append(f"{len(every) - len(own):,} smart playlists, folders and the like are left out")
    listing = partial(_itunes_listing, file.id, library["Tracks"])
    return listings(own, listing, account)


def _itunes_listing(file: str, tracks: dict[str, Any], playlist: dict[str, Any]) -> Listing:
    title = text(playlist.get("Name"))
    id_ = text(playlist.get("Playlist Persistent ID")) or f"{file}/{title}"
    return Listing(id_, title, playlist.get("Playlist Items", []), partial(_itunes_entry, tracks))


def _itunes_entry(tracks: dict[str, dict[str, Any]], item: dict[str, int]) -> Entry:
    track = tracks.get(str(item["Track ID"]))
    if track is None:
        raise OddEntry("a track that the library does not have")
    if any(track.get(mark) for mark in OTHER_MEDIA):
        raise SkippedEntry(NO_MUSIC)
    artist = track.get("Artist") or track.get("Album Artist")
    return Entry(artist or "", track.get("Name", ""), location=track.get("Location", ""))


def _title(title: Any, file: File) -> str:
    return text(title) or stem_of(file.name)


def _decoded(content: bytes) -> str:
    """Decode text of players: UTF-8, UTF-16 with a mark, or else Windows' Latin-1."""
    if content.startswith(UTF16_MARKS):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")
