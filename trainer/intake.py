"""A stream of records to a dataset: each id becomes a row, each playlist a list of rows."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.engine import Ragged
from trainer.dataset import Dataset, Vocabulary, to_bytes
from trainer.errors import NothingToLearn
from trainer.sources import Artist, Interactions, Playlist, Track

Ints = NDArray[np.int32]
Words = NDArray[np.uint64]


def read_dataset(records: Iterable[Playlist | Interactions]) -> Dataset:
    """
    Gather *records*.

    A track counts once in a playlist, and its name and artist are those it is first met with; where counts are given,
    those of one track or artist in one playlist are added up. Rows of tables that share a playlist id, in whatever
    table, are one playlist; whole playlists that share one are several.

    Raises:
        NothingToLearn: no playlist has a track or an artist.
    """
    intake = _Intake()
    for record in records:
        if isinstance(record, Playlist):
            intake.add_playlist(record)
        else:
            intake.add_interactions(record)
    return intake.dataset()


@dataclass
class _Entries:
    """
    Entries of tables, of tracks or of artists, in the order of reading.

    Attributes:
        owners, rows: int32, shape (n_entries,). The playlist and the track or artist of each.
        counts: float32, shape (n_entries,). None where its table has none.
        positions: float64, shape (n_entries,). None likewise.
    """

    owners: Ints
    rows: Ints
    counts: NDArray[np.float32] | None
    positions: NDArray[np.float64] | None


class _Intake:
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
        self._fingerprint = 0
        self._empty = 0

    def add_playlist(self, playlist: Playlist) -> None:
        if not playlist.tracks:
            self._empty += 1
            return
        rows = dict.fromkeys(self._track_row(track) for track in playlist.tracks)
        self._owners.extend([len(self._ids)] * len(rows))
        self._rows.extend(rows)
        self._ids.append(playlist.id)
        self._titles.append(playlist.title)
        self._fingerprint += _digest(msgspec.json.encode(playlist))

    def add_interactions(self, batch: Interactions) -> None:
        owners = [self._playlist_row(*playlist) for playlist in zip(batch.playlist_ids, batch.titles, strict=True)]
        if batch.tracks:
            items, entries = [self._track_row(track) for track in batch.tracks], self._track_entries
        else:
            items, entries = [self._artist_row(artist) for artist in batch.artists], self._artist_entries
        found = np.array(owners, np.int32)[batch.owners], np.array(items, np.int32)[batch.rows]
        entries.append(_Entries(*found, batch.counts, batch.positions))
        self._fingerprint += _fingerprint(batch)

    def dataset(self) -> Dataset:
        if not self._ids:
            passed = f" ({self._empty} without tracks were passed over)" if self._empty else ""
            raise NothingToLearn(f"the data hold no playlist with tracks{passed}")
        held = np.array(self._owners, np.int32), np.array(self._rows, np.int32)
        nothing = np.empty(0, np.int32), np.empty(0, np.int32)
        titles = ((id_, self._titles[row]) for id_, row in self._table_playlists.items())
        fingerprint = self._fingerprint + sum(_digest(msgspec.json.encode(titled)) for titled in titles if titled[1])
        return Dataset(
            self._ids,
            self._titles,
            _ragged(len(self._ids), len(self._tracks), held, self._track_entries),
            _ragged(len(self._ids), len(self._artists), nothing, self._artist_entries),
            Vocabulary(
                list(self._tracks),
                self._track_names,
                np.array(self._track_artists, np.int32),
                list(self._artists),
                self._artist_names,
            ),
            f"{fingerprint % 2**128:032x}",
            self._empty,
            len(self._ids) - len(set(self._ids)),
        )

    def _playlist_row(self, id_: str, title: str) -> int:
        row = self._table_playlists.setdefault(id_, len(self._ids))
        if row == len(self._ids):
            self._ids.append(id_)
            self._titles.append(title)
        elif title and not self._titles[row]:
            self._titles[row] = title
        return row

    def _track_row(self, track: Track) -> int:
        row = self._tracks.setdefault(track.id, len(self._tracks))
        if row == len(self._track_names):
            self._track_names.append(track.name)
            self._track_artists.append(
                self._artist_row(Artist(track.artist_id, track.artist_name)) if track.artist_id else -1
            )
        return row

    def _artist_row(self, artist: Artist) -> int:
        row = self._artists.setdefault(artist.id, len(self._artists))
        if row == len(self._artist_names):
            self._artist_names.append(artist.name or artist.id)
        return row


def _ragged(n_playlists: int, n_items: int, held: tuple[Ints, Ints], tables: Sequence[_Entries]) -> Ragged:
    """The rows *held* by whole playlists and those of *tables*, for each playlist."""
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
    """All *tables* as one, in which each playlist has each item once: its counts added up, at its first position."""
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
    del keys  # tens of millions of rows are what this is for
    summed = None if counts is None else np.add.reduceat(counts[order], firsts, dtype=np.float64)
    kept = order[firsts]
    del order
    by_place = np.argsort(kept) if positions is None else np.lexsort((kept, positions[kept]))
    found = None if summed is None else summed[by_place].astype(np.float32)
    return _Entries(owners[kept[by_place]], rows[kept[by_place]], found, None)


def _optional(
    columns: Sequence[NDArray[np.floating] | None], lengths: Sequence[int], default: float
) -> NDArray[np.floating] | None:
    """The *columns* of several tables end to end, *default* where a table has none; None where no table has."""
    if all(column is None for column in columns):
        return None
    filled = zip(columns, lengths, strict=True)
    return np.concatenate([np.full(n, default) if column is None else column for column, n in filled])


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")


def _fingerprint(batch: Interactions) -> int:
    """The sum over the rows of *batch* of a hash of each, so that neither their order nor their batches matter."""
    playlists = _hashes(to_bytes(id_) for id_ in batch.playlist_ids)
    items = _hashes(msgspec.json.encode(item) for item in batch.tracks or batch.artists)
    mixed = _mix(playlists)[batch.owners] ^ items[batch.rows]
    for column in (batch.counts, batch.positions):
        if column is not None:
            mixed = _mix(mixed) ^ column.astype(np.float64).view(np.uint64)
    high, low = (_sum(_mix(mixed ^ np.uint64(lane))) for lane in (1, 2))
    return (high << 64) + low


def _hashes(contents: Iterable[bytes]) -> Words:
    digests = b"".join(hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(digests, np.uint64)


def _sum(words: Words) -> int:
    """The sum of *words*, whatever its size."""
    high, low = words >> np.uint64(32), words & np.uint64(0xFFFFFFFF)
    return (int(high.sum(dtype=np.uint64)) << 32) + int(low.sum(dtype=np.uint64))


def _mix(words: Words) -> Words:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): each bit of a word reaches each bit of the result."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
