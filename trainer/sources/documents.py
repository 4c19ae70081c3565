"""
Playlists of documents that are read whole: players' playlist files, libraries and exports.

Each format is a function from the content of a file to its playlists.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from trainer.sources.account import Account
from trainer.sources.chunked_files import FilePath, Head, first_line, read_whole, size_of
from trainer.sources.encodings import HALF_A_CHARACTER, HALF_ESCAPED, REPLACEMENT_ESCAPED
from trainer.sources.entries import MALFORMED, Entry, take, track_of
from trainer.sources.file_names import playlist_id
from trainer.sources.inputs import Inputs
from trainer.sources.source import Source, SourcePlaylist, SourceTrack


class Listing(NamedTuple):
    """
    A playlist as a document lists it.

    Attributes:
        id: id of the playlist.
        title: '' if it has none.
        items: the entries in the form of the document.
        entry: converts one of them.
    """

    id: str
    title: str
    items: Iterable[Any]
    entry: Callable[[Any], Entry]


class File(NamedTuple):
    """
    The file of a document.

    Attributes:
        name: its path.
        id: id of the playlist if the file is one.
    """

    name: str
    id: str


# The marks of tracks in libraries and exports. Their number tells how many a damaged one has lost, perhaps of all data.
MARKS = re.compile(rb'<key>Track ID</key>|"(?:trackName|uri)"\s*:')

Parse = Callable[[bytes, File, Account], Iterable[Listing]]


def document_source(head: Head, format_: str, parse: Parse, inputs: Inputs) -> Source:
    """
    Return the playlists in a document as a source.

    Args:
        head: the beginning of the file.
        format_: name of the format, for the account.
        parse: yields the playlists in the content of the file; may add to the account.
        inputs: the inputs of the run.
    """
    path, account = head.path, Account(format_, unit="tracks")
    file = File(str(path), playlist_id(str(path), inputs.place(str(path))))
    return Source(str(path), size_of(path), lambda _: _playlists(path, file, parse, account), account, is_playlist=True)


def listings(playlists: Iterable[Any], read: Callable[[Any], Listing], account: Account) -> Iterator[Listing]:
    """Yield *playlists* as *read* converts them. An odd one counts as one track in *account*."""
    for playlist in playlists:
        account.records += 1
        listing = take(playlist, read, account)
        if listing:
            account.records -= 1
            yield listing


def load_json(content: bytes, account: Account) -> Any:
    """
    Decode JSON; replace half a character, and count it.

    Bytes that are not UTF-8 become lone surrogates, which `text` refuses.
    """
    halves = [half.start() for half in HALF_ESCAPED.finditer(content)]
    if halves:
        account.mend(HALF_A_CHARACTER, f"byte {halves[0]:,}", len(halves))
        content = HALF_ESCAPED.sub(REPLACEMENT_ESCAPED, content)
    return json.loads(content.decode("utf-8-sig", "surrogateescape"))


def _playlists(path: FilePath, file: File, parse: Parse, account: Account) -> Iterator[SourcePlaylist]:
    content = read_whole(path)
    try:
        for listing in parse(content, file, account):
            yield SourcePlaylist(listing.id, listing.title, list(_tracks(listing, account)))
    except MALFORMED as error:
        lost = max(1, len(MARKS.findall(content)) - account.records)
        account.records += lost
        account.pass_over(f"a damaged file, or no {account.format}", first_line(error)[:80], lost)


def _tracks(listing: Listing, account: Account) -> Iterator[SourceTrack]:
    for item in listing.items:
        account.records += 1
        track = take(item, lambda item: track_of(listing.entry(item)), account)
        if track:
            yield track
