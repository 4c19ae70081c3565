"""
Listening histories as JSON, in arrays or one listen a line.

Spotify: StreamingHistory_music_0.json of the account data, and Streaming_History_Audio_2020_1.json of the extended
history. ListenBrainz: the listens of the dumps and of a user's export.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.sources.account import Account
from trainer.sources.chunked_files import FilePath, Head, chunks, size_of
from trainer.sources.entries import NO_MUSIC, Entry, OddEntry, SkippedEntry, take, text, track_of
from trainer.sources.file_names import listener_of
from trainer.sources.inputs import Inputs
from trainer.sources.records import Record, first_records, record_blocks
from trainer.sources.source import Interactions, NotData, Source, SourceTrack

PIECE_BYTES = 1 << 20
UNKNOWN = {"Unknown Artist", "Unknown Track"}  # Spotify writes these for a track that it has lost


@dataclass(frozen=True)
class Form:
    """
    A form of listening history.

    Attributes:
        format: its name, for the account.
        keys: keys of every record, dots between nested ones.
        roles: the key for each role.
        ms_played: the key of the milliseconds played; '' if it has none.
        entry: returns the entry of a record.
    """

    format: str
    keys: Sequence[str]
    roles: dict[str, str]
    ms_played: str
    entry: Callable[[Record], Entry]


def _spotify_entry(record: Record) -> Entry:
    entry = Entry(record["artistName"], record["trackName"])
    if UNKNOWN & {entry.artist, entry.name}:
        raise SkippedEntry("tracks whose names Spotify has lost")
    return entry


def _extended_entry(record: Record) -> Entry:
    uri, name = record.get("spotify_track_uri"), record["master_metadata_track_name"]
    if not uri and not name:
        raise SkippedEntry(NO_MUSIC)
    return Entry(record.get("master_metadata_album_artist_name"), name, uri)


def _listenbrainz_entry(record: Record) -> Entry:
    track = record["track_metadata"]
    mapping, info = track.get("mbid_mapping") or {}, track.get("additional_info") or {}
    mbid = mapping.get("recording_mbid") or info.get("recording_mbid")
    return Entry(track.get("artist_name"), track.get("track_name"), mbid)


FORMS = (
    Form(
        "Spotify streaming history",
        ("endTime", "artistName", "trackName", "msPlayed"),
        {"artist_name": "artistName", "track_name": "trackName"},
        "msPlayed",
        _spotify_entry,
    ),
    Form(
        "Spotify extended streaming history",
        ("ts", "ms_played", "master_metadata_track_name"),
        {
            "playlist": "username",
            "track": "spotify_track_uri",
            "track_name": "master_metadata_track_name",
            "artist_name": "master_metadata_album_artist_name",
        },
        "ms_played",
        _extended_entry,
    ),
    Form(
        "ListenBrainz listens",
        ("listened_at", "track_metadata"),
        {
            "playlist": "user_name",
            "track": "recording_mbid",
            "track_name": "track_name",
            "artist_name": "artist_name",
        },
        "",
        _listenbrainz_entry,
    ),
)
PODCASTS = Form("Spotify podcast history", ("endTime", "podcastName"), {}, "", Entry)


@dataclass(frozen=True)
class History:
    """
    The listening history in a file.

    Attributes:
        form: its form.
        listener: the listener of records that name none.
        min_played_s: seconds from which a listen counts.
    """

    form: Form
    listener: str
    min_played_s: float

    def listen(self, record: Record | None) -> tuple[str, SourceTrack]:
        """
        Return the listener and the track of *record*.

        Raises:
            OddEntry: it is no object, or it has no listener or no track.
            SkippedEntry: it is too short, or no music.
        """
        if record is None:
            raise OddEntry("no JSON object")
        if self.form.ms_played and self._seconds(record) < self.min_played_s:
            raise SkippedEntry(f"listens of less than {self.min_played_s:g} s")
        listener = text(record.get(self.form.roles.get("playlist", "")))
        return listener or self.listener, track_of(self.form.entry(record))

    def _seconds(self, record: Record) -> float:
        played = float(record[self.form.ms_played]) / 1000
        if not 0 <= played < math.inf:
            raise OddEntry("a broken number of milliseconds")
        return played


def find_listens(head: Head, inputs: Inputs) -> list[Source]:
    """
    Return the listening history in a file; nothing if the file holds none.

    Args:
        head: the beginning of the file.
        inputs: the inputs of the run, with the seconds from which a listen counts, if the file tells how long it was.

    Raises:
        NotData: it is a history of podcasts.
    """
    if not head.text.lstrip().startswith((b"{", b"[")):
        return []
    form = next(filter(None, map(_form, first_records(head.text))), None)
    if form is PODCASTS:
        raise NotData(f"cannot read {head.path}: it is a history of podcasts. Histories of music are read.")
    return [_source(head.path, form, inputs)] if form else []


def _form(record: Record) -> Form | None:
    return next((form for form in (*FORMS, PODCASTS) if record.keys() >= set(form.keys)), None)


def _source(path: FilePath, form: Form, inputs: Inputs) -> Source:
    account = Account(form.format, dict(form.roles), unit="listens")
    history = History(form, listener_of(str(path)), inputs.options.min_played_s)
    account.notes += inputs.remarks_on_listener(path) if "playlist" not in form.roles else []
    return Source(str(path), size_of(path), lambda _: _batches(path, history, account), account)


def _batches(path: FilePath, history: History, account: Account) -> Iterator[Interactions]:
    for records, size in record_blocks(chunks(path, PIECE_BYTES)):
        counts = Counter(_listens(records, history, account))
        if counts:
            yield _interactions(counts, size)


def _listens(records: Sequence[Record | None], history: History, account: Account) -> Iterator[tuple[str, SourceTrack]]:
    for record in records:
        account.records += 1
        listen = take(record, history.listen, account)
        if listen:
            yield listen


def _interactions(counts: Counter[tuple[str, SourceTrack]], size: int) -> Interactions:
    listeners = {listener: row for row, listener in enumerate(dict.fromkeys(listener for listener, _ in counts))}
    tracks = {track: row for row, track in enumerate(dict.fromkeys(track for _, track in counts))}
    return Interactions(
        playlist_ids=list(listeners),
        titles=[""] * len(listeners),
        tracks=list(tracks),
        artists=[],
        owners=np.array([listeners[listener] for listener, _ in counts], np.int32),
        rows=np.array([tracks[track] for _, track in counts], np.int32),
        counts=np.array(list(counts.values()), np.float32),
        positions=None,
        size=size,
    )
