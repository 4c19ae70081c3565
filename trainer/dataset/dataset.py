"""Playlists in memory, with the vocabulary of their tracks and artists."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.engine import Kind, Ragged
from trainer.sources import Group, PassedOver, SourceArtist, SourceTrack

CHUNK_PLAYLISTS = 20_000

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Vocabulary:
    """
    The tracks and artists of a dataset; row i of either is its i-th entry.

    Attributes:
        track_ids, track_names: one for each track.
        track_artists: int32, shape (n_tracks,). The row of each track's artist, -1 if the track has no artist.
        artist_ids, artist_names: one for each artist.
    """

    track_ids: Sequence[str]
    track_names: Sequence[str]
    track_artists: Ints
    artist_ids: Sequence[str]
    artist_names: Sequence[str]

    def track(self, row: int) -> SourceTrack:
        """Return the track in *row*."""
        artist = int(self.track_artists[row])
        artist_id = self.artist_ids[artist] if artist >= 0 else ""
        return SourceTrack(self.track_ids[row], self.track_names[row], artist_id, self.artist_name(row))

    def artist(self, row: int) -> SourceArtist:
        """Return the artist in *row*."""
        return SourceArtist(self.artist_ids[row], self.artist_names[row])

    def artist_name(self, track: int) -> str:
        """Return the artist's name for the track in row *track*, '' if it has no artist."""
        artist = int(self.track_artists[track])
        return self.artist_names[artist] if artist >= 0 else ""

    def artists_by_track(self) -> dict[str, str]:
        """Map the id of each track to its artist's name; tracks without an artist are left out."""
        names = ((id_, self.artist_name(row)) for row, id_ in enumerate(self.track_ids))
        return {id_: name for id_, name in names if name}


@dataclass(frozen=True)
class Dataset:
    """
    Playlists in memory; a listener is a playlist whose tracks or artists have play counts.

    Attributes:
        playlist_ids, titles: one for each playlist.
        tracks: int32 rows of the vocabulary: the distinct tracks of each playlist by position.
        artists: int32 rows of the vocabulary: the distinct artists that each playlist names besides its tracks.
        vocabulary: the tracks and artists.
        fingerprint: a digest of all data that were read.
        empty_playlists: the number of playlists that were skipped because they have no tracks.
        repeated_ids: the number of playlists that have the id of an earlier one.
        repeated_playlists: the number of playlists that were skipped as they repeat an earlier one in all respects.
        joined_tracks: the number of tracks without an id that are the one of the same artist and name with an id.
        joined_artists: the number of artists without an id that are the one of the same name with an id.
        inputs: how the inputs were understood.
        passed_over: the files that were not read.
        catalogue: what is known of tracks beside the playlists, from `read_catalogue`; None for nothing.
    """

    playlist_ids: Sequence[str]
    titles: Sequence[str]
    tracks: Ragged
    artists: Ragged
    vocabulary: Vocabulary
    fingerprint: str
    empty_playlists: int = 0
    repeated_ids: int = 0
    repeated_playlists: int = 0
    joined_tracks: int = 0
    joined_artists: int = 0
    inputs: Sequence[Group] = ()
    passed_over: Sequence[PassedOver] = ()
    catalogue: pl.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.playlist_ids)

    @property
    def kind(self) -> Kind:
        """The kind of item to recommend: tracks if there are any, artists otherwise."""
        return "tracks" if self.vocabulary.track_ids else "artists"

    @property
    def items(self) -> Ragged:
        """The items of each playlist: its tracks or its artists, as `kind` says."""
        return self.tracks if self.kind == "tracks" else self.artists

    @property
    def item_ids(self) -> Sequence[str]:
        """The ids of all items, by row."""
        return self.vocabulary.track_ids if self.kind == "tracks" else self.vocabulary.artist_ids

    @property
    def listening(self) -> bool:
        """True for listening histories: data with play counts, or without tracks."""
        return self.tracks.counts is not None or self.artists.counts is not None or self.kind == "artists"

    @property
    def entries(self) -> int:
        """The number of distinct tracks and artists, summed over all playlists."""
        return len(self.tracks.rows) + len(self.artists.rows)

    @cached_property
    def hashes(self) -> Hashes:
        """The `playlist_hash` of each playlist: uint64, shape (n_playlists,)."""
        return np.fromiter(map(playlist_hash, self.playlist_ids), np.uint64, len(self))

    def popularity(self) -> Ints:
        """Count the playlists of each track: int32, shape (n_tracks,)."""
        return np.bincount(self.tracks.rows, minlength=len(self.vocabulary.track_ids)).astype(np.int32)

    def artist_popularity(self, chunk_playlists: int = CHUNK_PLAYLISTS) -> Ints:
        """Count the playlists of each artist, named or as the artist of a track: int32, shape (n_artists,)."""
        n_artists = len(self.vocabulary.artist_ids)
        popularity = np.zeros(n_artists, np.int64)
        for start, stop in chunks(len(self), chunk_playlists):
            tracks, named = self.tracks.slice(start, stop), self.artists.slice(start, stop)
            owners = np.concatenate((tracks.owners(), named.owners()))
            artists = np.concatenate((self.vocabulary.track_artists[tracks.rows], named.rows))
            pairs = np.unique((owners * n_artists + artists)[artists >= 0])
            popularity += np.bincount(pairs % n_artists, minlength=n_artists) if n_artists else 0
        return popularity.astype(np.int32)

    def item_popularity(self) -> Ints:
        """Count the playlists of each item: int32, shape (n_items,)."""
        return self.popularity() if self.kind == "tracks" else self.artist_popularity()

    def count_statistics(self, cap: float) -> dict[str, float]:
        """
        Return the statistics of the counts that the manifest needs: mean playlist length and default counts.

        Args:
            cap: larger counts are lowered to this value.
        """
        counted = self.tracks if len(self.tracks.rows) else self.artists
        total = len(counted.rows) if counted.counts is None else np.minimum(counted.counts, cap).sum(dtype=np.float64)
        return {
            "mean_length": float(total / len(self)),
            "track_count": _median(self.tracks.counts),
            "artist_count": _median(self.artists.counts if len(self.artists.rows) else self.tracks.counts),
        }

    def understood(self) -> dict[str, Any]:
        """Return how the inputs were understood, as values that JSON can hold."""
        return {
            "understood": [group.content() for group in self.inputs],
            "passed_over": [asdict(files) for files in self.passed_over],
            "joined_tracks": self.joined_tracks,
            "joined_artists": self.joined_artists,
        }

    def select(self, chosen: Bools) -> "Dataset":
        """Return the *chosen* playlists, with a vocabulary of their own tracks and artists."""
        indexes = np.flatnonzero(chosen).tolist()
        tracks, artists = self.tracks.select(chosen), self.artists.select(chosen)
        vocabulary, new_tracks, new_artists = compact(self.vocabulary, tracks.rows, artists.rows)
        return Dataset(
            [self.playlist_ids[index] for index in indexes],
            [self.titles[index] for index in indexes],
            replace(tracks, rows=new_tracks[tracks.rows]),
            replace(artists, rows=new_artists[artists.rows]),
            vocabulary,
            self.fingerprint,
            catalogue=self.catalogue,
        )


def playlist_hash(playlist_id: str) -> int:
    """Hash *playlist_id* to 64 bits, the same in every run."""
    digest = hashlib.blake2b(playlist_id.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def chunks(n_playlists: int, chunk_playlists: int) -> list[tuple[int, int]]:
    """Return the bounds of chunks of playlists, so that temporary arrays stay small."""
    return list(pairwise([*range(0, n_playlists, chunk_playlists), n_playlists]))


def _median(counts: NDArray[np.float32] | None) -> float:
    return 1.0 if counts is None or not len(counts) else float(np.median(counts))


def compact(
    vocabulary: Vocabulary, tracks: NDArray[np.integer[Any]], artists: NDArray[np.integer[Any]]
) -> tuple[Vocabulary, Ints, Ints]:
    """Reduce *vocabulary* to the given rows of *tracks* and *artists*; also return the new row of each old one."""
    kept_tracks = np.unique(tracks)
    kept_artists = np.unique(np.concatenate((vocabulary.track_artists[kept_tracks], artists)))
    kept_artists = kept_artists[kept_artists >= 0]
    new_tracks = _renumber(kept_tracks, len(vocabulary.track_ids))
    new_artists = _renumber(kept_artists, len(vocabulary.artist_ids) + 1)  # the last one stands for row -1, no artist
    compacted = Vocabulary(
        [vocabulary.track_ids[row] for row in kept_tracks],
        [vocabulary.track_names[row] for row in kept_tracks],
        new_artists[vocabulary.track_artists[kept_tracks]],
        [vocabulary.artist_ids[row] for row in kept_artists],
        [vocabulary.artist_names[row] for row in kept_artists],
    )
    return compacted, new_tracks, new_artists


def _renumber(kept: NDArray[np.integer[Any]], n_rows: int) -> Ints:
    """Return the position of each row among those *kept*, -1 for the others: int32, shape (n_rows,)."""
    rows = np.full(n_rows, -1, np.int32)
    rows[kept] = np.arange(len(kept), dtype=np.int32)
    return rows
