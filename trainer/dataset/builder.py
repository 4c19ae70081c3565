"""Builds a dataset from playlists and table rows: each id becomes a row, each playlist a list of rows."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from service.engine import Ragged
from trainer.dataset.dataset import Dataset, Vocabulary
from trainer.dataset.entries import Entries, ragged
from trainer.dataset.joining import join_named
from trainer.errors import NothingToLearn
from trainer.sources import Interactions, SourceArtist, SourcePlaylist, SourceTrack, artist_id


def build_dataset(parts: Iterable[SourcePlaylist | Interactions]) -> Dataset:
    """
    Build a dataset from whole playlists and from batches of table rows.

    A track counts once in a playlist. Its name and artist are the first ones that were read. Counts of one item in one
    playlist are added up. Rows of any table with the same playlist id form one playlist. Whole playlists with the same
    id stay separate; one that has the title and tracks of the other too is a repeat and counts once. A track without an
    id joins the one of the same artist and name that has an id.

    Raises:
        NothingToLearn: no playlist has a track or an artist.
    """
    builder = _Builder()
    for part in parts:
        if isinstance(part, SourcePlaylist):
            builder.add_playlist(part)
        else:
            builder.add_interactions(part)
    return join_named(builder.dataset())


class _Builder:
    def __init__(self) -> None:
        self._ids: list[str] = []
        self._titles: list[str] = []
        self._table_playlists: dict[str, int] = {}
        self._owners, self._rows = array("i"), array("i")  # of whole playlists
        self._track_entries: list[Entries] = []
        self._artist_entries: list[Entries] = []
        self._tracks: dict[str, int] = {}
        self._track_names: list[str] = []
        self._track_artists = array("i")
        self._artists: dict[str, int] = {}
        self._artist_names: list[str] = []
        self._empty = self._repeated = 0
        self._held: set[int] = set()  # a hash of each whole playlist

    def add_playlist(self, playlist: SourcePlaylist) -> None:
        if not playlist.tracks:
            self._empty += 1
            return
        rows = dict.fromkeys(map(self._track_row, playlist.tracks))
        held = hash((playlist.id, playlist.title, *rows))
        if held in self._held:
            self._repeated += 1
            return
        self._held.add(held)
        self._owners.extend([len(self._ids)] * len(rows))
        self._rows.extend(rows)
        self._ids.append(playlist.id)
        self._titles.append(playlist.title)

    def add_interactions(self, batch: Interactions) -> None:
        owners = [self._playlist_row(*playlist) for playlist in zip(batch.playlist_ids, batch.titles, strict=True)]
        if batch.tracks:
            items, entries = [self._track_row(track) for track in batch.tracks], self._track_entries
        else:
            items, entries = [self._artist_row(artist) for artist in batch.artists], self._artist_entries
        found = np.array(owners, np.int32)[batch.owners], np.array(items, np.int32)[batch.rows]
        entries.append(Entries(*found, batch.counts, batch.positions))

    def dataset(self) -> Dataset:
        if not self._ids:
            skipped = f"; {self._empty} without tracks were skipped" if self._empty else ""
            raise NothingToLearn(f"the data contain no playlist with tracks{skipped}")
        held = np.array(self._owners, np.int32), np.array(self._rows, np.int32)
        nothing = np.empty(0, np.int32), np.empty(0, np.int32)
        tracks = ragged(len(self._ids), len(self._tracks), held, self._track_entries)
        artists = ragged(len(self._ids), len(self._artists), nothing, self._artist_entries)
        vocabulary = Vocabulary(
            list(self._tracks),
            self._track_names,
            np.array(self._track_artists, np.int32),
            list(self._artists),
            self._artist_names,
        )
        return Dataset(
            self._ids,
            self._titles,
            tracks,
            artists,
            vocabulary,
            _fingerprint(self._ids, self._titles, vocabulary, tracks, artists),
            self._empty,
            len(self._ids) - len(set(self._ids)),
            self._repeated,
        )

    def _playlist_row(self, id_: str, title: str) -> int:
        row = self._table_playlists.setdefault(id_, len(self._ids))
        if row == len(self._ids):
            self._ids.append(id_)
            self._titles.append(title)
        elif title and not self._titles[row]:
            self._titles[row] = title
        return row

    def _track_row(self, track: SourceTrack) -> int:
        row = self._tracks.get(track.id, -1)  # most are known
        return row if row >= 0 else self._new_track_row(track)

    def _new_track_row(self, track: SourceTrack) -> int:
        row = self._tracks[track.id] = len(self._tracks)
        self._track_names.append(track.name)
        self._track_artists.append(
            self._artist_row(SourceArtist(track.artist_id, track.artist_name)) if track.artist_id else -1
        )
        return row

    def _artist_row(self, artist: SourceArtist) -> int:
        row = self._artists.get(artist.id, -1)  # most are known
        return row if row >= 0 else self._new_artist_row(artist)

    def _new_artist_row(self, artist: SourceArtist) -> int:
        if artist.id == artist.name:
            name = artist_id(artist.name)
            artist = SourceArtist(name, name)
        row = self._artists.setdefault(artist.id, len(self._artists))
        if row == len(self._artist_names):
            self._artist_names.append(artist.name or artist.id)
        return row


def _fingerprint(
    ids: Sequence[str], titles: Sequence[str], vocabulary: Vocabulary, tracks: Ragged, artists: Ragged
) -> str:
    """Digest the data in the order of reading; another order also gives another model."""
    digest = hashlib.blake2b(digest_size=16)
    for texts in (ids, titles, vocabulary.track_ids, vocabulary.artist_ids):
        digest.update(repr(texts).encode())
    for numbers in (*vars(tracks).values(), *vars(artists).values(), vocabulary.track_artists):
        digest.update(b"none" if numbers is None else np.ascontiguousarray(numbers).data)
    return digest.hexdigest()
