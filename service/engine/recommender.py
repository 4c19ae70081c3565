"""Playlist in, ranked tracks out: the story of the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import Artifacts, Manifest
from service.engine.catalogue import Artist, Track
from service.engine.errors import PlaylistError, UnknownSeed
from service.engine.features import Features, Ragged
from service.engine.foldin import fold_in
from service.engine.retrieval import NeighbourIndex, search_exactly, search_neighbours_exactly, unit

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Strategy = Literal["fold-in", "popular"]

# Scores are reported to this many decimals; they are ranked unrounded.
SCORE_DECIMALS = 6


@dataclass(frozen=True)
class Playlist:
    """
    A playlist to continue; any of it may be empty.

    Attributes:
        tracks: ids of the tracks it holds.
        artists: ids or names of artists that it names beside its tracks.
        title: its title.
        exclude: ids of tracks that must not be recommended.
    """

    tracks: Sequence[str] = ()
    artists: Sequence[str] = ()
    title: str = ""
    exclude: Sequence[str] = ()


@dataclass
class ScoredTrack:
    """A recommended track."""

    id: str
    name: str
    artist: Artist | None
    score: float


@dataclass
class ScoredArtist:
    """A recommended artist."""

    id: str
    name: str
    score: float


@dataclass(frozen=True)
class Unknown:
    """What a playlist named and the catalogue does not know; *title* where none of a given title's terms is known."""

    tracks: list[str]
    artists: list[str]
    title: bool


@dataclass(frozen=True)
class Recommendation:
    """The continuation of one playlist, best first, and the road that led to it."""

    strategy: Strategy
    unknown: Unknown
    tracks: list[ScoredTrack]


@dataclass
class _Seeds:
    """A playlist in rows: the columns that it says, what is unknown of it, and the tracks barred from its answer."""

    columns: list[int]
    unknown: Unknown
    barred: list[int]


@dataclass
class _Ranking:
    """Track rows, best first, and their scores; None where popularity is the score."""

    rows: list[int]
    scores: list[float] | None


class Recommender:
    """One opened version of a model. Not for two threads at once."""

    def __init__(self, artifacts: Artifacts):
        self._artifacts = artifacts

    @classmethod
    def open(cls, directory: Path) -> Self:
        """
        Verify and open the version in *directory*; the caller closes it.

        Raises:
            ModelError: it is missing, damaged or of another format.
        """
        return cls(Artifacts.open(directory))

    @property
    def manifest(self) -> Manifest:
        return self._artifacts.manifest

    def close(self) -> None:
        self._artifacts.close()

    def recommend(self, playlists: Sequence[Playlist], k: int) -> list[Recommendation]:
        """
        Continue each of *playlists* with *k* tracks.

        An answer holds exactly *k* tracks, none of them a seed or excluded, none twice, best first, unless the
        catalogue is too small for that; it is the same whichever playlists are asked along with it.

        Args:
            playlists: the playlists; one alone is a batch of one.
            k: how many tracks each is given, 1 or more.
        """
        seeds = [self._find(playlist) for playlist in playlists]
        rankings = self._rank(seeds, k)
        tracks = self._tracks(rankings)
        return [_recommendation(seed, ranking, tracks) for seed, ranking in zip(seeds, rankings, strict=True)]

    def similar_tracks(self, track_ids: Sequence[str], k: int) -> list[ScoredTrack]:
        """
        Find the *k* tracks nearest to all of *track_ids* together, none of them a seed; the score is the cosine.

        Raises:
            PlaylistError: *track_ids* is empty.
            UnknownSeed: the catalogue does not hold one of them.
        """
        catalogue = self._artifacts.catalogue
        seeds = _all_known("track", *catalogue.track_rows(track_ids))
        ranks = self._artifacts.popular_ranks
        numbers = self.manifest.numbers
        rows, scores = self._neighbours(self._artifacts.tracks_index, 0, seeds, k, int(numbers["tracks_effort"]), ranks)
        return _scored(rows, scores, catalogue.tracks(rows))

    def similar_artists(self, names: Sequence[str], k: int) -> list[ScoredArtist]:
        """
        Find the *k* artists nearest to all of *names*, ids or names, together; otherwise as `similar_tracks`.
        """
        catalogue = self._artifacts.catalogue
        seeds = _all_known("artist", *catalogue.artist_rows(names))
        first = self._artifacts.space.n_tracks
        ranks = np.arange(self._artifacts.space.n_artists, dtype=np.int32)  # rows are by popularity already
        numbers = self.manifest.numbers
        rows, scores = self._neighbours(
            self._artifacts.artists_index, first, seeds, k, int(numbers["artists_effort"]), ranks
        )
        artists = catalogue.artists(rows)
        return [
            ScoredArtist(artists[row].id, artists[row].name, score) for row, score in zip(rows, scores, strict=True)
        ]

    def search(self, text: str, k: int) -> list[Track]:
        """The *k* most popular tracks with each word of *text* in name or artist; the last may be unfinished."""
        rows = self._artifacts.catalogue.search(text, k)
        tracks = self._artifacts.catalogue.tracks(rows)
        return [tracks[row] for row in rows]

    def popular(self, k: int) -> list[Track]:
        """The *k* most popular tracks."""
        rows = self._artifacts.popular[:k].tolist()
        tracks = self._artifacts.catalogue.tracks(rows)
        return [tracks[row] for row in rows]

    def unknown(self, playlists: Sequence[Playlist]) -> list[Unknown]:
        """What the catalogue does not know of each of *playlists*."""
        return [self._find(playlist).unknown for playlist in playlists]

    def features(self, playlists: Sequence[Playlist]) -> Features:
        """The weighted features of *playlists*, as `recommend` folds them in."""
        return self._weigh([self._find(playlist) for playlist in playlists])

    def fold_in(self, playlists: Sequence[Playlist]) -> Floats:
        """
        The vectors of *playlists*.

        Returns:
            float32, shape (n_playlists, n_factors).

        Raises:
            PlaylistError: nothing of one of them is known.
        """
        features = self.features(playlists)
        return np.stack([self._solve(features, index) for index in range(len(playlists))])

    def _find(self, playlist: Playlist) -> _Seeds:
        catalogue, space = self._artifacts.catalogue, self._artifacts.space
        tracks, unknown_tracks = catalogue.track_rows(playlist.tracks)
        artists, unknown_artists = catalogue.artist_rows(playlist.artists)
        terms = catalogue.term_rows(playlist.title)
        excluded, _ = catalogue.track_rows(playlist.exclude)
        columns = tracks + [space.n_tracks + row for row in artists] + [space.first_term + row for row in terms]
        unknown = Unknown(unknown_tracks, unknown_artists, bool(playlist.title) and not terms)
        return _Seeds(columns, unknown, sorted({*tracks, *excluded}))

    def _weigh(self, seeds: Sequence[_Seeds]) -> Features:
        return self._artifacts.space.features(Ragged.of([seed.columns for seed in seeds]))

    def _solve(self, features: Features, index: int) -> Floats:
        columns, strengths = features[index]
        confidences = self._artifacts.space.confidences(strengths)
        return fold_in(columns, confidences, self._artifacts.vectors, self._artifacts.gram)

    def _rank(self, seeds: Sequence[_Seeds], k: int) -> list[_Ranking]:
        features = self._weigh(seeds)
        known = [index for index in range(len(seeds)) if len(features[index][0])]
        best = iter(self._rank_folded(features, known, [seeds[index].barred for index in known], k))
        answerable = set(known)
        return [next(best) if i in answerable else self._rank_popular(seed.barred, k) for i, seed in enumerate(seeds)]

    def _rank_folded(
        self, features: Features, known: Sequence[int], barred: Sequence[list[int]], k: int
    ) -> list[_Ranking]:
        if not known:
            return []
        queries = np.stack([self._solve(features, index) for index in known])
        found = search_exactly(queries, self._artifacts.ranking, k, barred)
        return [self._order(query, rows, k) for query, rows in zip(queries, found, strict=True)]

    def _order(self, query: Floats, rows: Rows, k: int) -> _Ranking:
        scores = self._artifacts.ranking.score(rows, query)
        order = np.lexsort((self._artifacts.popular_ranks[rows], -scores))[:k]
        return _Ranking(rows[order].tolist(), _rounded(scores[order]))

    def _rank_popular(self, barred: list[int], k: int) -> _Ranking:
        head = self._artifacts.popular[: k + len(barred)]
        return _Ranking(head[~np.isin(head, barred)][:k].tolist(), None)

    def _tracks(self, rankings: Sequence[_Ranking]) -> dict[int, Track]:
        rows = {row for ranking in rankings for row in ranking.rows}
        return self._artifacts.catalogue.tracks(list(rows))

    def _neighbours(
        self, index: NeighbourIndex, first: int, seeds: Sequence[int], k: int, effort: int, ranks: NDArray[np.int32]
    ) -> tuple[list[int], list[float]]:
        """Rows of *index*, whose vectors begin at row *first* of all, and their cosines to the middle of *seeds*."""
        vectors = self._artifacts.vectors[first : first + len(index)]
        query = unit(unit(vectors[list(seeds)]).sum(axis=0))
        wanted = min(k + len(seeds), len(index))
        rows = index.search(query, wanted, max(effort, wanted * index.n_trees))
        if len(rows) < wanted:  # its trees may lead to the same few rows again and again
            rows = search_neighbours_exactly(query[None], vectors, wanted)[0]
        rows = rows[~np.isin(rows, seeds)]
        scores = np.vecdot(unit(vectors[rows]), query)
        order = np.lexsort((ranks[rows], -scores))[:k]
        return rows[order].tolist(), _rounded(scores[order])


def _all_known(kind: str, rows: list[int], unknown: list[str]) -> list[int]:
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnknownSeed(f"the catalogue does not know the {kind} {unknown[0]!r}{more}")
    if not rows:
        raise PlaylistError(f"at least one {kind} is needed to find its neighbours")
    return sorted(rows)  # so that their order does not round the answer differently


def _recommendation(seeds: _Seeds, ranking: _Ranking, tracks: Mapping[int, Track]) -> Recommendation:
    scores = ranking.scores or [tracks[row].popularity for row in ranking.rows]
    scored = _scored(ranking.rows, scores, tracks)
    return Recommendation("popular" if ranking.scores is None else "fold-in", seeds.unknown, scored)


def _scored(rows: Sequence[int], scores: Sequence[float], tracks: Mapping[int, Track]) -> list[ScoredTrack]:
    found = ((tracks[row], score) for row, score in zip(rows, scores, strict=True))
    return [ScoredTrack(track.id, track.name, track.artist, score) for track, score in found]


def _rounded(scores: Floats) -> list[float]:
    rounded: list[float] = scores.astype(np.float64).round(SCORE_DECIMALS).tolist()
    return rounded
