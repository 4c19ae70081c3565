"""Controls: the choice of an answer among scored candidates where a caller wants more than the highest scores."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import Artifacts
from service.engine.exact import RankingVectors, unit
from service.engine.items import Kind
from service.engine.order import falling
from service.engine.records import Records, fields_of
from service.engine.text import song_name

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.int64]

# In deviations of the scores of a shortlist: the weight of popularity, of likeness, and of chance.
POPULARITY, LIKENESS, CHANCE = 1.0, 2.0, 0.3


@dataclass(frozen=True)
class Controls:
    """
    Wishes for an answer beside its scores. Each is off by default.

    Attributes:
        max_per_artist: the largest number of tracks by one artist.
        distinct: whether only one recording of each song is chosen, and none of a song of the playlist.
        discover: whether tracks by artists of the playlist are left out.
        popularity: from -1, which prefers little known items, to 1, which prefers well known ones.
        diversity: from 0 to 1: the weight against items that are like those before them.
        vary: the seed of a draw from near the top; None for the best items.
    """

    max_per_artist: int | None = None
    distinct: bool = False
    discover: bool = False
    popularity: float = 0.0
    diversity: float = 0.0
    vary: int | None = None

    @property
    def choose(self) -> bool:
        """True if an answer is more than the allowed items with the highest scores."""
        return any((self.max_per_artist, self.distinct, self.popularity, self.diversity, self.vary is not None))


@dataclass(frozen=True)
class Facts:
    """
    Facts on all items of one kind that controls need.

    Attributes:
        ranking: the vectors that rank them.
        popular_ranks: int32, shape (n_items,). The place of each by popularity, which decides between equal scores.
        artists: int32, shape (n_items,). The artist's row of each track, -1 if it has none; None for artists.
        records: their records.
    """

    ranking: RankingVectors
    popular_ranks: Ints
    artists: Ints | None
    records: Records

    @classmethod
    def of(cls, artifacts: Artifacts, kind: Kind) -> "Facts":
        """Return the facts on the items of *kind* of a version."""
        candidates, space = artifacts.candidates[kind], artifacts.space
        artists = space.track_artists if kind == "tracks" else None
        return cls(candidates.ranking, candidates.popular_ranks, artists, artifacts.records[kind])

    def popularity(self, rows: Rows) -> Floats:
        """Return the number of playlists with each of *rows*, float32, shape (n,)."""
        return np.array(self.records.read(rows.tolist())[1], np.float32)

    def song(self, row: int) -> tuple[int, str]:
        """Return the artist and the name of the song that a track is a recording of."""
        assert self.artists is not None
        (record,), _ = self.records.read([row])
        return int(self.artists[row]), song_name(fields_of(record)["name"])


NO_CONTROLS = Controls()


class Choice:
    """
    An answer that is being chosen.

    Attributes:
        rows: the chosen rows, in their order.
        scores: their scores.
    """

    def __init__(self, controls: Controls, facts: Facts, k: int, seeds: Sequence[int]):
        self.rows: list[int] = []
        self.scores: list[float] = []
        self._controls, self._facts, self._k = controls, facts, k
        self._by_artist: Counter[int] = Counter()
        self._songs = {facts.song(row) for row in seeds} if self._has_songs else set()

    @property
    def is_full(self) -> bool:
        """True if it has as many items as are wanted."""
        return len(self.rows) >= self._k

    @property
    def exhausted_artists(self) -> list[int]:
        """The artists of whom no further track may be chosen."""
        most = self._controls.max_per_artist
        return [] if most is None else [artist for artist, n in self._by_artist.items() if n >= most and artist >= 0]

    def take(self, rows: Rows, scores: Floats) -> None:
        """
        Choose among further items until the answer is full.

        Args:
            rows: int64, shape (n,).
            scores: float32, shape (n,). Higher ones are better.
        """
        wanted = self._wanted(rows, scores)
        order = self._spread(rows, wanted) if self._controls.diversity else self._falling(rows, wanted)
        for place in order:
            if self.is_full:
                return
            row = int(rows[place])
            if self._admits(row):
                self.rows.append(row)
                self.scores.append(float(scores[place]))

    @property
    def _has_songs(self) -> bool:
        return self._controls.distinct and self._facts.artists is not None

    def _wanted(self, rows: Rows, scores: Floats) -> Floats:
        """Return *scores* as popularity and chance change them."""
        controls, wanted = self._controls, scores
        if not len(scores):
            return scores
        deviation = np.float32(scores.std())
        if controls.popularity:
            logs = np.log1p(self._facts.popularity(rows))
            logs = (logs - logs.mean()) / max(logs.std(), np.float32(1e-6))
            wanted = wanted + np.float32(POPULARITY * controls.popularity) * deviation * logs
        if controls.vary is not None:
            wanted = wanted + np.float32(CHANCE) * deviation * _chance(rows, controls.vary)
        return wanted

    def _falling(self, rows: Rows, wanted: Floats) -> Iterable[int]:
        places: list[int] = falling(wanted, self._facts.popular_ranks[rows]).tolist()
        return places

    def _spread(self, rows: Rows, wanted: Floats) -> Iterable[int]:
        """
        Yield places of *rows*, each the best of the rest that is least like those that were chosen.

        Maximal marginal relevance (Carbonell and Goldstein, "The Use of MMR", 1998): the score against the highest
        cosine with a chosen item.
        """
        vectors, like = unit(self._facts.ranking.take(rows)), np.full(len(rows), -1, np.float32)
        for row in self.rows:
            like = np.maximum(like, vectors @ unit(self._facts.ranking.take(np.array([row]))[0]))
        weight = np.float32(LIKENESS * self._controls.diversity * float(wanted.std() if len(wanted) else 0))
        left, ties = wanted.copy(), self._facts.popular_ranks[rows]
        for _ in range(len(rows)):
            values = left - weight * like
            best = np.flatnonzero(values == values.max())
            place = int(best[ties[best].argmin()])
            n_before = len(self.rows)
            yield place
            left[place] = -np.inf
            if len(self.rows) > n_before:
                like = np.maximum(like, vectors @ vectors[place])

    def _admits(self, row: int) -> bool:
        """Return whether *row* may be chosen beside the others, and count it if so."""
        controls, artists = self._controls, self._facts.artists
        if artists is None:
            return True
        artist = int(artists[row])
        if controls.max_per_artist is not None and artist >= 0 and self._by_artist[artist] >= controls.max_per_artist:
            return False
        if self._has_songs:
            song = self._facts.song(row)
            if song in self._songs:
                return False
            self._songs.add(song)
        self._by_artist[artist] += 1
        return True


def _chance(rows: Rows, seed: int) -> Floats:
    """
    Return a number for each of *rows*, drawn from Gumbel's distribution by *seed*.

    Each depends on its row and the seed alone (by the mixer of SplitMix64), so that another candidate changes none.
    The highest of scores with such numbers are a draw without replacement by the softmax of the scores.
    """
    mixed = rows.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    uniform = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / (1 << 53)
    return np.asarray(-np.log(-np.log(uniform.clip(1e-12, 1 - 1e-12))), np.float32)
