"""Builds a dataset from playlists and table rows: each id becomes a row, each playlist a list of rows."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Ragged
from trainer.dataset.dataset import Dataset, Vocabulary
from trainer.errors import NothingToLearn
from trainer.sources import Interactions, SourceArtist, SourcePlaylist, SourceTrack

Ints = NDArray[np.int32]


def build_dataset(parts: Iterable[SourcePlaylist | Interactions]) -> Dataset:
    """
    Build a dataset from whole playlists and from batches of table rows.

    A track counts once in a playlist. Its name and artist are the first ones that were read. Counts of one item in one
    playlist are added up. Rows of any table with the same playlist id form one playlist. Whole playlists with the same
    id stay separate; one that has the title and tracks of the other too is a repeat and counts once.

    Raises:
        NothingToLearn: no playlist has a track or an artist.
    """
    builder = _Builder()
    for part in parts:
        if isinstance(part, SourcePlaylist):
            builder.add_playlist(part)
        else:
            builder.add_interactions(part)
    return builder.dataset()


@dataclass
class _Entries:
    """
    Entries of tables, either tracks or artists, in the order of reading.

    Attributes:
        owners, rows: int32, shape (n_entries,). The playlist and the track or artist of each entry.
        counts: float32, shape (n_entries,). None if the table has no counts.
        positions: float64, shape (n_entries,). None if the table has no positions.
    """

    owners: Ints
    rows: Ints
    counts: NDArray[np.float32] | None
    positions: NDArray[np.float64] | None


class _Builder:
    def __init__(self) -> None:
        self._ids: list[str] = []
        self._titles: list[str] = []
        self._table_playlists: dict[str, int] = {}
        self._owners, self._rows = array("i"), array("i")  # of whole playlists
        self._track_entries: list[_Entries] = []
        self._artist_entries: list[_Entries] = []
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
        rows = dict.fromkeys(self._track_row(track) for track in playlist.tracks)
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
        entries.append(_Entries(*found, batch.counts, batch.positions))

    def dataset(self) -> Dataset:
        if not self._ids:
            skipped = f"; {self._empty} without tracks were skipped" if self._empty else ""
            raise NothingToLearn(f"the data contain no playlist with tracks{skipped}")
        held = np.array(self._owners, np.int32), np.array(self._rows, np.int32)
        nothing = np.empty(0, np.int32), np.empty(0, np.int32)
        tracks = _ragged(len(self._ids), len(self._tracks), held, self._track_entries)
        artists = _ragged(len(self._ids), len(self._artists), nothing, self._artist_entries)
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
        row = self._tracks.setdefault(track.id, len(self._tracks))
        if row == len(self._track_names):
            self._track_names.append(track.name)
            self._track_artists.append(
                self._artist_row(SourceArtist(track.artist_id, track.artist_name)) if track.artist_id else -1
            )
        return row

    def _artist_row(self, artist: SourceArtist) -> int:
        row = self._artists.setdefault(artist.id, len(self._artists))
        if row == len(self._artist_names):
            self._artist_names.append(artist.name or artist.id)
        return row


def _ragged(n_playlists: int, n_items: int, held: tuple[Ints, Ints], tables: Sequence[_Entries]) -> Ragged:
    """Join the rows *held* by whole playlists with those of *tables*, by playlist."""
    owners, rows = held
    counts = None
    if tables:
        merged = _merge(n_items, tables)
        if merged.counts is not None:
            counts = np.concatenate((np.ones(len(rows), np.float32), merged.counts))
        owners, rows = np.concatenate((owners, merged.owners)), np.concatenate((rows, merged.rows))
        order = np.argsort(owners, kind="stable")
        owners, rows, counts = owners[order], rows[order], None if counts is None else counts[order]
    lengths = np.bincount(owners, minlength=n_playlists)
    return Ragged(np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))), rows, counts)


def _merge(n_items: int, tables: Sequence[_Entries]) -> _Entries:
    """Join *tables* so that each playlist has each item once: at its first position, with its counts added up."""
    lengths = [len(table.rows) for table in tables]
    owners, rows = (
        np.concatenate(parts) for parts in zip(*((table.owners, table.rows) for table in tables), strict=True)
    )
    counts = _optional([table.counts for table in tables], lengths, 1)
    positions = _optional([table.positions for table in tables], lengths, np.inf)
    keys = owners.astype(np.int64) * n_items + rows
    order = np.argsort(keys, kind="stable") if positions is None else np.lexsort((positions, keys))
    keys = keys[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    del keys  # there may be tens of millions of rows
    summed = None if counts is None else np.add.reduceat(counts[order], firsts, dtype=np.float64)
    kept = order[firsts]
    del order
    by_place = np.argsort(kept) if positions is None else np.lexsort((kept, positions[kept]))
    found = None if summed is None else summed[by_place].astype(np.float32)
    return _Entries(owners[kept[by_place]], rows[kept[by_place]], found, None)


def _optional(
    columns: Sequence[NDArray[np.floating] | None], lengths: Sequence[int], default: float
) -> NDArray[np.floating] | None:
    """Concatenate the *columns* of several tables; a missing one is filled with *default*, None if all are missing."""
    if all(column is None for column in columns):
        return None
    filled = zip(columns, lengths, strict=True)
    return np.concatenate([np.full(n, default) if column is None else column for column, n in filled])


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
