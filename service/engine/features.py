"""
What a playlist says, as weighted features.

The columns of the one matrix are `tracks | artists | words | grams`. The trainer builds that matrix here, and the
service derives the features of a playlist that it has never seen here too, so that the two cannot drift apart.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

GRAM_LENGTH = 4

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """
    The numbers that turn what a playlist says into confidences; they travel in the manifest.

    Attributes:
        alpha: confidence is `1 + alpha * strength`.
        artist: strength of an artist is `artist * log(1 + n)`, n its distinct tracks and mentions in the playlist.
        title: strength of the whole title and of each of its words.
        gram: strength of each of the title's 4-grams, as a share of *title*.
    """

    alpha: float
    artist: float
    title: float
    gram: float


@dataclass(frozen=True)
class Ragged:
    """
    A list of rows for each playlist of a batch, end to end.

    Attributes:
        offsets: int64, shape (n_playlists + 1,). Playlist i has `rows[offsets[i]:offsets[i + 1]]`.
        rows: integers, shape (n_rows,).
    """

    offsets: NDArray[np.int64]
    rows: Ints

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Self:
        """Lay *lists*, one for each playlist, end to end."""
        offsets = np.fromiter(accumulate((len(rows) for rows in lists), initial=0), np.int64, len(lists) + 1)
        rows = np.array(list(chain.from_iterable(lists)), np.int32)
        return cls(offsets, rows)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Ints:
        return self.rows[self.offsets[index] : self.offsets[index + 1]]

    def slice(self, start: int, stop: int) -> "Ragged":
        """The playlists from *start* up to *stop*, without copying their rows."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(offsets - offsets[0], self.rows[offsets[0] : offsets[-1]])

    def owners(self) -> NDArray[np.int64]:
        """int64, shape (n_rows,). The playlist to which each row belongs."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


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
    Which column stands for what: `tracks | artists | words | grams`.

    Attributes:
        track_artists: int32, shape (n_tracks,). The artist's row of each track, -1 where it has none.
        n_artists: number of artists.
        n_words: number of title terms of full weight (whole titles and words).
        n_grams: number of title terms of lesser weight (4-grams); their rows follow those of the words.
        weights: how much each of them counts.
    """

    track_artists: NDArray[np.int32]
    n_artists: int
    n_words: int
    n_grams: int
    weights: Weights

    @property
    def n_tracks(self) -> int:
        return len(self.track_artists)

    @property
    def first_term(self) -> int:
        """The column of the first title term."""
        return self.n_tracks + self.n_artists

    @property
    def n_features(self) -> int:
        return self.first_term + self.n_words + self.n_grams

    def features(self, *said: Ragged) -> Features:
        """
        Weigh what a batch of playlists says.

        Args:
            said: one or more lists of columns for each playlist: its tracks, the artists that it names beside them,
                and the terms of its title, each once over all lists. The artists of its tracks are added here.

        Returns:
            The strengths r of `docs/artifacts.md`, for as many playlists.
        """
        columns = np.concatenate([lists.rows for lists in said])
        firsts = np.concatenate([lists.owners() for lists in said]) * self.n_features
        tracks = columns < self.n_tracks
        artists = self.track_artists[columns[tracks]]
        known = artists >= 0
        of_tracks = firsts[tracks][known] + artists[known] + self.n_tracks
        keys, counts = _count(np.concatenate((firsts + columns, of_tracks)))
        offsets = keys.searchsorted(np.arange(len(said[0]) + 1) * self.n_features)
        columns = keys % self.n_features
        strengths = self._strengths(columns, counts)
        found = Features(offsets, columns.astype(np.int32), strengths)
        return found if strengths.all() else _without_zeros(found)  # a weight of 0 switches a kind of feature off

    def confidences(self, strengths: Floats) -> Floats:
        """float32, same shape as *strengths*: `1 + alpha * r`."""
        return np.float32(1) + np.float32(self.weights.alpha) * strengths

    def _strengths(self, columns: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
        weights = self.weights
        by_kind = np.array([1, weights.artist, weights.title, weights.title * weights.gram], np.float32)
        kinds = self._first_columns.searchsorted(columns, "right")
        return np.where(kinds == 1, np.log1p(counts), 1).astype(np.float32) * by_kind[kinds]

    @cached_property
    def _first_columns(self) -> NDArray[np.int32]:
        """The first column of each kind of feature but the first."""
        return np.array([self.n_tracks, self.first_term, self.first_term + self.n_words], np.int32)


def _count(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct *keys*, ascending, and how often each occurs (`np.unique`, without its overhead on a few keys)."""
    keys = np.sort(keys)
    firsts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.empty(0, np.int64)
    return keys[firsts], np.diff(firsts, append=len(keys))


def _without_zeros(features: Features) -> Features:
    kept = features.strengths > 0
    offsets = np.concatenate(([0], np.cumsum(kept)))[features.offsets]
    return Features(offsets, features.columns[kept], features.strengths[kept])


class _Separators(dict[int, str | int]):
    """
    A translation table that keeps letters, marks, digits and pictographs and turns all else into spaces.

    It fills itself, one entry for each character met, and so holds at most as many as Unicode has.
    """

    def __missing__(self, code: int) -> str | int:
        category = unicodedata.category(chr(code))
        self[code] = code if category[0] in "LMN" or category == "So" else " "
        return self[code]


_SEPARATORS = _Separators()


def normalize_title(title: str) -> str:
    """Fold *title* to NFKC and lower case, with one space in place of each run of punctuation and white space."""
    folded = unicodedata.normalize("NFKC", title).lower()
    return " ".join(folded.translate(_SEPARATORS).split())


def title_words(title: str) -> set[str]:
    """The words of a normalised *title*, and the whole of it without spaces: 'road trip' also says 'roadtrip'."""
    words = title.split()
    return {*words, "".join(words)} - {""}


def title_grams(title: str) -> set[str]:
    """The 4-grams of a normalised *title* padded by a space at either end."""
    padded = f" {title} "
    return {padded[i : i + GRAM_LENGTH] for i in range(len(padded) - GRAM_LENGTH + 1)}
