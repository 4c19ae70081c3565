"""
Playlists as weighted features.

The columns of the matrix are `tracks | artists | words | grams`. The trainer builds the matrix here, and the service
derives the features of a new playlist here, so that the two cannot drift apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from service.engine.seeds import Seeds

Weighting = Literal["log", "linear", "bm25"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)

# Common parameters of BM25 for plays: the speed of saturation, and the weight of the length of a playlist.
BM25_K1, BM25_B = 100.0, 0.8

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """
    The numbers that turn features into confidences. The manifest holds them.

    Attributes:
        alpha: a confidence is `1 + alpha * strength`.
        artist: the strength of an artist is `artist * f(n)`, n its tracks and mentions in the playlist, or its plays.
        title: strength of the whole title and of each of its words.
        gram: strength of each of the title's 4-grams, as a share of *title*.
        weighting: f. The strength of a track is `f(n) / f(1)`, which is 1 for a track without plays.
        cap: the largest count; a given count above it counts as much.
        mean_length: mean over the playlists of the training data of the sum of their counts; for `bm25`.
        track_count, artist_count: the count of a track and of an artist that come without one.
    """

    alpha: float
    artist: float
    title: float
    gram: float
    weighting: Weighting = "log"
    cap: float = np.inf
    mean_length: float = 1.0
    track_count: float = 1.0
    artist_count: float = 1.0

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> Self:
        """Return the weights among the *numbers* of a manifest."""
        return cls(
            alpha=numbers["alpha"],
            artist=numbers["artist_weight"],
            title=numbers["title_weight"],
            gram=numbers["gram_weight"],
            weighting=numbers["weighting"],
            cap=numbers["count_cap"],
            mean_length=numbers["mean_length"],
            track_count=numbers["track_count"],
            artist_count=numbers["artist_count"],
        )

    def weigh(self, counts: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """
        Return f of the *counts*.

        Args:
            counts: float64, shape (n,).
            lengths: float64, shape (n,). The length of the playlist of each count.

        Returns:
            float64, shape (n,): log(1 + n), n, or n (k1 + 1) / (n + k1 (1 - b + b length / mean_length)), the
            saturating part of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009).
        """
        if self.weighting == "log":
            return np.log1p(counts)
        if self.weighting == "linear":
            return counts
        norms = BM25_K1 * (1 - BM25_B + BM25_B * lengths / self.mean_length)
        return counts * (BM25_K1 + 1) / (counts + norms)

    @cached_property
    def held(self) -> float:
        """The value f(1) in a playlist of mean length."""
        return float(self.weigh(np.ones(1), np.full(1, self.mean_length))[0])


@dataclass(frozen=True)
class Ragged:
    """
    A list of rows for each playlist of a batch, end to end.

    Attributes:
        offsets: int64, shape (n_playlists + 1,). Playlist i has `rows[offsets[i]:offsets[i + 1]]`.
        rows: integers, shape (n_rows,).
        counts: float32, shape (n_rows,). The plays of each row; None if each counts once.
    """

    offsets: NDArray[np.int64]
    rows: Ints
    counts: Floats | None = None

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]], counts: Sequence[Sequence[float]] | None = None) -> Self:
        """Return *lists*, one for each playlist, end to end, with their *counts*."""
        offsets = np.fromiter(accumulate(map(len, lists), initial=0), np.int64, len(lists) + 1)
        rows = np.array(list(chain.from_iterable(lists)), np.int32)
        return cls(offsets, rows, None if counts is None else np.array(list(chain.from_iterable(counts)), np.float32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Ints:
        return self.rows[self.offsets[index] : self.offsets[index + 1]]

    def slice(self, start: int, stop: int) -> "Ragged":
        """Return the playlists from *start* up to *stop* without a copy of their rows."""
        offsets = self.offsets[start : stop + 1]
        part = slice(offsets[0], offsets[-1])
        return Ragged(offsets - offsets[0], self.rows[part], None if self.counts is None else self.counts[part])

    def select(self, chosen: NDArray[np.bool_]) -> "Ragged":
        """Return the playlists of the mask *chosen*, bool, shape (n_playlists,)."""
        lengths = np.diff(self.offsets)
        offsets = np.concatenate(([0], np.cumsum(lengths[chosen])))
        kept = np.repeat(chosen, lengths)
        return Ragged(offsets, self.rows[kept], None if self.counts is None else self.counts[kept])

    def take(self, playlists: NDArray[np.int64]) -> "Ragged":
        """Return the *playlists* with these numbers, in their order and without counts."""
        starts, lengths = self.offsets[playlists], self.offsets[playlists + 1] - self.offsets[playlists]
        return Ragged(np.concatenate(([0], np.cumsum(lengths))), self.rows[spans(starts, lengths)])

    def owners(self) -> NDArray[np.int64]:
        """Return the playlist of each row, int64, shape (n_rows,)."""
        lengths = self.offsets[1:] - self.offsets[:-1]  # `np.diff` takes ten times as long over a few
        return np.repeat(np.arange(len(lengths)), lengths)


def spans(starts: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Return the numbers from each of *starts* on, as many as its *lengths* says, end to end."""
    ends = lengths.cumsum()
    firsts = np.repeat(starts - ends + lengths, lengths)
    return np.asarray(np.arange(len(firsts)) + firsts, np.int64)


@dataclass(frozen=True)
class Features:
    """
    The weighted features of a batch of playlists: the arrays of a CSR matrix, columns ascending.

    Attributes:
        offsets: int64, shape (n_playlists + 1,).
        columns: int32, shape (n_entries,).
        strengths: float32, shape (n_entries,), each above 0.
    """

    offsets: NDArray[np.int64]
    columns: NDArray[np.int32]
    strengths: Floats

    def __getitem__(self, index: int) -> tuple[NDArray[np.int32], Floats]:
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.columns[part], self.strengths[part]


@dataclass(frozen=True)
class FeatureSpace:
    """
    The columns of features, `tracks | artists | words | grams`, and their weights.

    Attributes:
        track_artists: int32, shape (n_tracks,). The artist's row of each track, -1 if it has none.
        n_artists: number of artists.
        n_words: number of title terms of full weight (whole titles and words).
        n_grams: number of title terms of lesser weight (4-grams); their rows follow those of the words.
        weights: the weights of features.
    """

    track_artists: NDArray[np.int32]
    n_artists: int
    n_words: int
    n_grams: int
    weights: Weights

    @cached_property
    def n_tracks(self) -> int:
        """The number of tracks."""
        return len(self.track_artists)

    @cached_property
    def first_term(self) -> int:
        """The column of the first title term."""
        return self.n_tracks + self.n_artists

    @cached_property
    def n_features(self) -> int:
        """The number of columns."""
        return self.first_term + self.n_words + self.n_grams

    def features(self, *lists: Ragged) -> Features:
        """
        Return the weighted features of a batch of playlists.

        Args:
            lists: one or more lists of columns for each playlist: its tracks, the artists that it names beside them,
                and the terms of its title, each once over all lists. The artists of its tracks are added here.

        Returns:
            The strengths r of `docs/artifacts.md`, for as many playlists.
        """
        columns = np.concatenate([ragged.rows for ragged in lists])
        firsts = np.concatenate([ragged.owners() for ragged in lists]) * self.n_features
        tracks = columns < self.n_tracks
        artists = self.track_artists[columns[tracks]]
        known = artists >= 0
        of_tracks = firsts[tracks][known] + artists[known] + self.n_tracks
        counts = _counts(lists)
        if counts is None:
            keys, sums = _count(np.concatenate((firsts + columns, of_tracks)))
        else:
            counts = np.minimum(counts, self.weights.cap)
            keys, sums = _sum(
                np.concatenate((firsts + columns, of_tracks)), np.concatenate((counts, counts[tracks][known]))
            )
        offsets = keys.searchsorted(np.arange(len(lists[0]) + 1) * self.n_features)
        columns = keys % self.n_features
        strengths = self._strengths(columns, sums, self._lengths(columns, sums, offsets))
        found = Features(offsets, columns.astype(np.int32), strengths)
        return found if strengths.all() else _without_zeros(found)  # a weight of 0 switches a kind of feature off

    def weigh(self, seeds: Sequence[Seeds]) -> Features:
        """Return the weighted features of a batch of playlists."""
        columns, counts, bare = [], [], True
        for each in seeds:
            artists, terms = map(self.n_tracks.__add__, each.artists), map(self.first_term.__add__, each.terms)
            columns.append([*each.tracks, *artists, *terms])
            bare = bare and each.counts is None
            counts.append(each.counts or [1.0] * len(columns[-1]))
        found = self.features(Ragged.of(columns, None if bare else counts))
        for index, each in enumerate(seeds):
            if each.weights is not None:
                _multiply(*found[index], columns[index], each.weights)
        return found

    def dislikes(self, seeds: Seeds) -> tuple[NDArray[np.int32], Floats] | None:
        """Return the columns and confidences of the dislikes of a playlist, each as if it were alone; None for none."""
        artists = list(map(self.n_tracks.__add__, seeds.disliked_artists))
        columns = np.array([*seeds.disliked_tracks, *artists], np.int64)
        if not len(columns):
            return None
        counts = np.where(columns < self.n_tracks, self.weights.track_count, self.weights.artist_count)
        strengths = self._strengths(columns, counts, np.full(len(columns), self.weights.mean_length))
        return columns.astype(np.int32), self.confidences(strengths)

    def confidences(self, strengths: Floats) -> Floats:
        """Return the confidences `1 + alpha * r`, float32, of the same shape as *strengths*."""
        return np.float32(1) + np.float32(self.weights.alpha) * strengths

    def _lengths(
        self, columns: NDArray[np.int64], counts: NDArray[np.float64], offsets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the length of the playlist of each entry: the counts of its tracks, or else of its artists."""
        if self.weights.weighting != "bm25":
            return counts  # nobody reads them
        owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        kinds = self._first_columns.searchsorted(columns, "right")
        of_tracks, of_artists = (
            np.bincount(owners[kinds == kind], counts[kinds == kind], len(offsets) - 1) for kind in (0, 1)
        )
        return np.asarray(np.where(of_tracks > 0, of_tracks, of_artists)[owners])

    def _strengths(
        self, columns: NDArray[np.int64], counts: NDArray[np.float64], lengths: NDArray[np.float64]
    ) -> Floats:
        weights = self.weights
        by_kind = np.array([1 / weights.held, weights.artist, weights.title, weights.title * weights.gram])
        kinds = self._first_columns.searchsorted(columns, "right")
        weighed = np.where(kinds <= 1, weights.weigh(counts, lengths), 1)
        return np.asarray(weighed * by_kind[kinds], np.float32)

    @cached_property
    def _first_columns(self) -> NDArray[np.int32]:
        """The first column of artists, words and grams."""
        return np.array([self.n_tracks, self.first_term, self.first_term + self.n_words], np.int32)


def _counts(lists: Sequence[Ragged]) -> NDArray[np.float64] | None:
    """Return the counts of all *lists*, with 1 for a list without counts; None if no list has counts."""
    if len(lists) == 1 and lists[0].counts is None:
        return None  # the case of a request, without the work below
    if all(ragged.counts is None for ragged in lists):
        return None
    counts = [np.ones(len(ragged.rows)) if ragged.counts is None else ragged.counts for ragged in lists]
    return np.concatenate(counts, dtype=np.float64)


def _count(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the distinct *keys*, ascending, and their counts (`np.unique` without its overhead on a few keys)."""
    keys = np.sort(keys)
    ends = np.append(_firsts(keys), len(keys))
    return keys[ends[:-1]], (ends[1:] - ends[:-1]).astype(np.float64)


def _sum(keys: NDArray[np.int64], counts: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the distinct *keys*, ascending, and the sum of the *counts* of each."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    firsts = _firsts(keys)
    return keys[firsts], np.add.reduceat(counts[order], firsts) if len(firsts) else np.empty(0)


def _firsts(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the start of each run of equal *keys*, which ascend."""
    return np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.empty(0, np.int64)


def _multiply(columns: NDArray[np.int32], strengths: Floats, weighted: Sequence[int], weights: Sequence[float]) -> None:
    """Multiply the *strengths* of the *weighted* ones of *columns*, which ascend, by their *weights*."""
    wanted = np.array(weighted[: len(weights)], np.int32)
    places = np.minimum(columns.searchsorted(wanted), len(columns) - 1)
    there = columns[places] == wanted if len(columns) else np.zeros(0, bool)
    strengths[places[there]] *= np.array(weights, np.float32)[there]


def _without_zeros(features: Features) -> Features:
    kept = features.strengths > 0
    offsets = np.concatenate(([0], np.cumsum(kept)))[features.offsets]
    return Features(offsets, features.columns[kept], features.strengths[kept])
