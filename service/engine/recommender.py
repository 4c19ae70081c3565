"""Playlist in, ranked tracks or artists out: the story of the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import Artifacts, Candidates, Kind, Manifest
from service.engine.catalogue import Artist, CountedArtist, Track
from service.engine.errors import PlaylistError, UnknownSeed
from service.engine.features import Features, Ragged
from service.engine.foldin import fold_in
from service.engine.retrieval import search_exactly, search_neighbours_exactly, unit

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Strategy = Literal["fold-in", "popular"]

# Scores are reported to this many decimals; they are ranked unrounded.
SCORE_DECIMALS = 6


@dataclass(frozen=True)
class Plays:
    """An artist, by id or name, and how often it was played."""

    artist: str
    count: float


@dataclass(frozen=True)
class Playlist:
    """
    A playlist to continue, or a listener; any of it may be empty.

    Attributes:
        tracks: ids of the tracks it holds.
        artists: artists that it names beside its tracks, by id or name; one without plays counts as in the
            training data: 1 where those are playlists, the median where they are what people listened to.
        title: its title.
        exclude: what must not be recommended: ids of tracks, or ids or names of artists where artists are wanted.
    """

    tracks: Sequence[str] = ()
    artists: Sequence[str | Plays] = ()
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


Scored = TypeVar("Scored", ScoredTrack, ScoredArtist)


@dataclass(frozen=True)
class Recommendation(Generic[Scored]):
    """The continuation of one playlist, best first, and the road that led to it."""

    strategy: Strategy
    unknown: Unknown
    found: list[Scored]


@dataclass
class _Seeds:
    """
    A playlist in rows: the columns that it says and their counts, what is unknown of it, and its own artists.

    *counts* is None where each counts once; *artists* are those that it names, not those of its tracks.
    """

    tracks: list[int]
    artists: list[int]
    terms: list[int]
    counts: list[float] | None
    unknown: Unknown


@dataclass
class _Ranking:
    """Rows of one kind, best first, and their scores; None where popularity is the score."""

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
    def artifacts(self) -> Artifacts:
        """The files that it answers from."""
        return self._artifacts

    @property
    def manifest(self) -> Manifest:
        return self._artifacts.manifest

    def close(self) -> None:
        self._artifacts.close()

    @property
    def kind(self) -> Kind:
        """What is recommended unless asked otherwise: tracks, where the catalogue has any."""
        return "tracks" if self.manifest.shape.tracks else "artists"

    def recommend(self, playlists: Sequence[Playlist], k: int) -> list[Recommendation[ScoredTrack]]:
        """
        Continue each of *playlists* with *k* tracks.

        An answer holds exactly *k* tracks, none of them a seed or excluded, none twice, best first, unless the
        catalogue is too small for that; it is the same whichever playlists are asked along with it.

        Args:
            playlists: the playlists; one alone is a batch of one.
            k: how many tracks each is given, 1 or more.
        """
        catalogue = self._artifacts.catalogue
        seeds = [self._find(playlist) for playlist in playlists]
        excluded = (catalogue.track_rows(playlist.exclude)[0] for playlist in playlists)
        barred = [sorted({*seed.tracks, *rows}) for seed, rows in zip(seeds, excluded, strict=True)]
        rankings = self._rank("tracks", seeds, barred, k)
        tracks = catalogue.tracks(_distinct_rows(rankings))
        return [
            Recommendation(_strategy(ranking), seed.unknown, _scored(ranking, tracks))
            for seed, ranking in zip(seeds, rankings, strict=True)
        ]

    def recommend_artists(self, playlists: Sequence[Playlist], k: int) -> list[Recommendation[ScoredArtist]]:
        """
        Continue each of *playlists* with *k* artists, none of them named by it or on one of its tracks.

        Otherwise as `recommend`.
        """
        catalogue = self._artifacts.catalogue
        seeds = [self._find(playlist) for playlist in playlists]
        excluded = (catalogue.artist_rows(playlist.exclude)[0] for playlist in playlists)
        barred = [sorted({*self._artists_of(seed), *rows}) for seed, rows in zip(seeds, excluded, strict=True)]
        rankings = self._rank("artists", seeds, barred, k)
        artists = catalogue.artists(_distinct_rows(rankings))
        return [
            Recommendation(_strategy(ranking), seed.unknown, _scored_artists(ranking, artists))
            for seed, ranking in zip(seeds, rankings, strict=True)
        ]

    def similar_tracks(self, track_ids: Sequence[str], k: int) -> list[ScoredTrack]:
        """
        Find the *k* tracks nearest to all of *track_ids* together, none of them a seed; the score is the cosine.

        Raises:
            PlaylistError: *track_ids* is empty.
            UnknownSeed: the catalogue does not hold one of them.
        """
        catalogue = self._artifacts.catalogue
        ranking = self._neighbours("tracks", _all_known("track", *catalogue.track_rows(track_ids)), k)
        return _scored(ranking, catalogue.tracks(ranking.rows))

    def similar_artists(self, names: Sequence[str], k: int) -> list[ScoredArtist]:
        """
        Find the *k* artists nearest to all of *names*, ids or names, together; otherwise as `similar_tracks`.
        """
        catalogue = self._artifacts.catalogue
        ranking = self._neighbours("artists", _all_known("artist", *catalogue.artist_rows(names)), k)
        return _scored_artists(ranking, catalogue.artists(ranking.rows))

    def search(self, text: str, k: int) -> list[Track]:
        """The *k* most popular tracks with each word of *text* in name or artist; the last may be unfinished."""
        return self._named_tracks(self._artifacts.catalogue.search_tracks(text, k))

    def search_artists(self, text: str, k: int) -> list[CountedArtist]:
        """The *k* most popular artists with each word of *text* in their name; the last may be unfinished."""
        return self._named_artists(self._artifacts.catalogue.search_artists(text, k))

    def popular(self, k: int) -> list[Track]:
        """The *k* most popular tracks."""
        return self._named_tracks(self._artifacts.candidates["tracks"].popular[:k].tolist())

    def popular_artists(self, k: int) -> list[CountedArtist]:
        """The *k* most popular artists."""
        return self._named_artists(self._artifacts.candidates["artists"].popular[:k].tolist())

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
        catalogue, weights = self._artifacts.catalogue, self._artifacts.space.weights
        tracks, unknown_tracks = catalogue.track_rows(playlist.tracks)
        artists, unknown_artists = self._find_artists(playlist.artists)
        terms = catalogue.term_rows(playlist.title)
        counts = [weights.track_count] * len(tracks) + list(artists.values()) + [1.0] * len(terms)
        unknown = Unknown(unknown_tracks, unknown_artists, bool(playlist.title) and not terms)
        once = all(count == 1 for count in counts)
        return _Seeds(tracks, list(artists), terms, None if once else counts, unknown)

    def _find_artists(self, artists: Sequence[str | Plays]) -> tuple[dict[int, float], list[str]]:
        """The count of each known artist by its row, and the names of those that are not known."""
        default = self._artifacts.space.weights.artist_count
        named: dict[str, float] = {}
        for artist in artists:
            name, count = (artist.artist, artist.count) if isinstance(artist, Plays) else (artist, default)
            named[name] = max(count, named.get(name, 0))
        rows = self._artifacts.catalogue.find_artists(list(named))
        counts: dict[int, float] = {}
        for name, count in named.items():
            if name in rows:  # by id and by name it is still one artist
                counts[rows[name]] = max(count, counts.get(rows[name], 0))
        return counts, [name for name in named if name not in rows]

    def _artists_of(self, seeds: _Seeds) -> set[int]:
        return {*seeds.artists, *self._artifacts.space.track_artists[seeds.tracks].tolist()} - {-1}

    def _weigh(self, seeds: Sequence[_Seeds]) -> Features:
        space = self._artifacts.space
        columns = [
            seed.tracks
            + [space.n_tracks + row for row in seed.artists]
            + [space.first_term + row for row in seed.terms]
            for seed in seeds
        ]
        if all(seed.counts is None for seed in seeds):
            return space.features(Ragged.of(columns))
        counts = (seed.counts or [1.0] * len(said) for seed, said in zip(seeds, columns, strict=True))
        return space.features(Ragged.of(columns, list(counts)))

    def _solve(self, features: Features, index: int) -> Floats:
        columns, strengths = features[index]
        confidences = self._artifacts.space.confidences(strengths)
        return fold_in(columns, confidences, self._artifacts.vectors, self._artifacts.gram)

    def _rank(self, kind: Kind, seeds: Sequence[_Seeds], barred: Sequence[list[int]], k: int) -> list[_Ranking]:
        features, candidates = self._weigh(seeds), self._artifacts.candidates[kind]
        known = [index for index in range(len(seeds)) if len(features[index][0])]
        best = iter(self._rank_folded(candidates, features, known, [barred[index] for index in known], k))
        answerable = set(known)
        return [next(best) if i in answerable else _rank_popular(candidates, rows, k) for i, rows in enumerate(barred)]

    def _rank_folded(
        self, candidates: Candidates, features: Features, known: Sequence[int], barred: Sequence[list[int]], k: int
    ) -> list[_Ranking]:
        if not known:
            return []
        queries = np.stack([self._solve(features, index) for index in known])
        found = search_exactly(queries, candidates.ranking, k, barred)
        return [
            _order(candidates, rows, candidates.ranking.score(rows, query), k)
            for query, rows in zip(queries, found, strict=True)
        ]

    def _neighbours(self, kind: Kind, seeds: Sequence[int], k: int) -> _Ranking:
        candidates = self._artifacts.candidates[kind]
        index, vectors = candidates.index, self._artifacts.vectors[candidates.rows]
        query = unit(unit(vectors[list(seeds)]).sum(axis=0))
        wanted = min(k + len(seeds), len(index))
        rows = index.search(query, wanted, max(candidates.effort, wanted * index.n_trees))
        if len(rows) < wanted:  # its trees may lead to the same few rows again and again
            rows = search_neighbours_exactly(query[None], vectors, wanted)[0]
        rows = rows[~np.isin(rows, seeds)]
        return _order(candidates, rows, np.vecdot(unit(vectors[rows]), query), k)

    def _named_tracks(self, rows: Sequence[int]) -> list[Track]:
        tracks = self._artifacts.catalogue.tracks(rows)
        return [tracks[row] for row in rows]

    def _named_artists(self, rows: Sequence[int]) -> list[CountedArtist]:
        artists = self._artifacts.catalogue.artists(rows)
        return [artists[row] for row in rows]


def _order(candidates: Candidates, rows: Rows, scores: Floats, k: int) -> _Ranking:
    order = np.lexsort((candidates.popular_ranks[rows], -scores))[:k]
    return _Ranking(rows[order].tolist(), _rounded(scores[order]))


def _rank_popular(candidates: Candidates, barred: list[int], k: int) -> _Ranking:
    head = candidates.popular[: k + len(barred)]
    return _Ranking(head[~np.isin(head, barred)][:k].tolist(), None)


def _distinct_rows(rankings: Sequence[_Ranking]) -> list[int]:
    return list({row for ranking in rankings for row in ranking.rows})


def _all_known(kind: str, rows: list[int], unknown: list[str]) -> list[int]:
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnknownSeed(f"the catalogue does not know the {kind} {unknown[0]!r}{more}")
    if not rows:
        raise PlaylistError(f"at least one {kind} is needed to find its neighbours")
    return sorted(rows)  # so that their order does not round the answer differently


def _strategy(ranking: _Ranking) -> Strategy:
    return "popular" if ranking.scores is None else "fold-in"


def _scored(ranking: _Ranking, tracks: Mapping[int, Track]) -> list[ScoredTrack]:
    return [ScoredTrack(track.id, track.name, track.artist, score) for track, score in _with_scores(ranking, tracks)]


def _scored_artists(ranking: _Ranking, artists: Mapping[int, CountedArtist]) -> list[ScoredArtist]:
    return [ScoredArtist(artist.id, artist.name, score) for artist, score in _with_scores(ranking, artists)]


Named = TypeVar("Named", Track, CountedArtist)


def _with_scores(ranking: _Ranking, named: Mapping[int, Named]) -> list[tuple[Named, float]]:
    found = [named[row] for row in ranking.rows]
    scores = ranking.scores or [item.popularity for item in found]
    return list(zip(found, scores, strict=True))


def _rounded(scores: Floats) -> list[float]:
    rounded: list[float] = scores.astype(np.float64).round(SCORE_DECIMALS).tolist()
    return rounded
