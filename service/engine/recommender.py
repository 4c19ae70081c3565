"""Playlist in, ranked tracks or artists out: the story of the engine."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import Artifacts, Candidates, Kind, Manifest
from service.engine.blocklist import NOTHING, Allowed, allow_all, allow_all_but
from service.engine.catalogue import Artist, CountedArtist, Track
from service.engine.errors import ModelClosed, PlaylistError, UnknownSeed
from service.engine.features import Features, Ragged
from service.engine.foldin import fold_in
from service.engine.retrieval import search_exactly, search_neighbours_exactly, unit
from service.engine.steps import Steps, finish

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Strategy = Literal["fold-in", "popular"]

# Scores are reported to this many decimals; they are ranked unrounded.
SCORE_DECIMALS = 6

# Where hits of a neighbour search are blocked, this many times as many are asked for next.
FURTHER = 4

# So many tracks and artists, from the most popular to the least, are asked about by `warm`, for so many answers.
WARM_SEEDS, WARM_K = 8, 500


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
        self._manifest = artifacts.manifest
        self._artifacts: Artifacts | None = artifacts
        self._allowed: Mapping[Kind, Allowed] = allow_all(artifacts)

    @classmethod
    def open(cls, directory: Path, threads: int | None = None) -> Self:
        """
        Verify and open the version in *directory*; the caller closes it.

        Args:
            directory: the version.
            threads: how many verify its files at once; None for as many as there are processors, and a few.

        Raises:
            ModelError: it is missing, damaged or of another format.
        """
        return cls(Artifacts.open(directory, threads))

    @property
    def artifacts(self) -> Artifacts:
        """
        The files that it answers from.

        Raises:
            ModelClosed: it was closed, as any question after that says too.
        """
        if self._artifacts is None:
            raise ModelClosed(f"version {self._manifest.version} was closed; ask the one that is served now")
        return self._artifacts

    @property
    def manifest(self) -> Manifest:
        """What it is; known after it was closed, too."""
        return self._manifest

    def close(self) -> None:
        """Give back its files and their memory; once more does nothing."""
        artifacts, self._artifacts, self._allowed = self._artifacts, None, NOTHING
        if artifacts is not None:
            artifacts.close()

    def block(self, ids: Collection[str]) -> int:
        """
        Never return the tracks and artists with these *ids* from now on, nor the tracks of those artists.

        They may still be seeds. Ids that are not known are passed over; a later version may know them. What was blocked
        before and is not among *ids* may be returned again. Another thread may call this while questions are answered:
        each is answered by the list before or by this one.

        Returns:
            How many tracks and artists are blocked.

        Raises:
            ModelError: it was closed, or the version's files went away; what was blocked stays so.
        """
        allowed = allow_all_but(self.artifacts, ids) if ids else allow_all(self.artifacts)
        self._allowed = allowed
        return sum(of_kind.n_blocked for of_kind in allowed.values())

    def warm(self) -> None:
        """Answer a handful of questions of each kind, so that nobody else has to wait for what is read only once."""
        tracks = self._named_tracks(self._spread("tracks"))
        artists = self._named_artists(self._spread("artists"))
        playlists = [Playlist(tracks=[track.id], title=track.name) for track in tracks]
        playlists += [Playlist(artists=[artist.id], title=artist.name) for artist in artists]
        for playlist in [Playlist(), *playlists]:
            self.recommend([playlist], WARM_K)
            self.recommend_artists([playlist], WARM_K)
        for track in tracks:
            self.similar_tracks([track.id], WARM_K)
            self.search(track.name, WARM_K)
        for artist in artists:
            self.similar_artists([artist.id], WARM_K)
            self.search_artists(artist.name, WARM_K)

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
        return finish(self.recommend_in_steps(playlists, k))

    def recommend_in_steps(self, playlists: Sequence[Playlist], k: int) -> Steps[list[Recommendation[ScoredTrack]]]:
        """Do what `recommend` does, in steps of a few milliseconds for one playlist."""
        catalogue = self.artifacts.catalogue
        seeds = [self._find(playlist) for playlist in playlists]
        excluded = (catalogue.track_rows(playlist.exclude)[0] for playlist in playlists)
        barred = [sorted({*seed.tracks, *rows}) for seed, rows in zip(seeds, excluded, strict=True)]
        yield
        rankings = yield from self._rank("tracks", seeds, barred, k)
        yield
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
        return finish(self.recommend_artists_in_steps(playlists, k))

    def recommend_artists_in_steps(
        self, playlists: Sequence[Playlist], k: int
    ) -> Steps[list[Recommendation[ScoredArtist]]]:
        """Do what `recommend_artists` does, in steps."""
        catalogue = self.artifacts.catalogue
        seeds = [self._find(playlist) for playlist in playlists]
        excluded = (catalogue.artist_rows(playlist.exclude)[0] for playlist in playlists)
        barred = [sorted({*self._artists_of(seed), *rows}) for seed, rows in zip(seeds, excluded, strict=True)]
        yield
        rankings = yield from self._rank("artists", seeds, barred, k)
        yield
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
        ranking = self._neighbours("tracks", self._neighbour_seeds("tracks", track_ids), k)
        return _scored(ranking, self.artifacts.catalogue.tracks(ranking.rows))

    def similar_artists(self, names: Sequence[str], k: int) -> list[ScoredArtist]:
        """
        Find the *k* artists nearest to all of *names*, ids or names, together; otherwise as `similar_tracks`.
        """
        ranking = self._neighbours("artists", self._neighbour_seeds("artists", names), k)
        return _scored_artists(ranking, self.artifacts.catalogue.artists(ranking.rows))

    def neighbour_audit(self, kind: Kind, seeds: Sequence[str], k: int) -> Callable[[], tuple[int, int]]:
        """
        Make a check of the index on one question, as `similar_tracks` or `similar_artists` was asked it.

        The check looks at every vector, and so takes long beside the question. It may be made in another thread.

        Returns:
            What compares the index with an exact search when it is called: how many true neighbours there are among
            the nearest *k*, blocked or not, and how many of them the index finds at the effort of the question. It
            raises ModelClosed where the recommender was closed before.

        Raises:
            PlaylistError: as the question would.
        """
        rows = self._neighbour_seeds(kind, seeds)
        candidates, vectors, query = self._direction(kind, rows)
        effort = _effort(candidates, k + len(rows))
        return partial(candidates.index.audit, vectors, query, rows, k, effort)

    def search(self, text: str, k: int) -> list[Track]:
        """The *k* most popular tracks with each word of *text* in name or artist; the last may be unfinished."""
        matches = self.artifacts.catalogue.search_tracks(text)
        return self._named_tracks(self._allowed["tracks"].first(matches, k))

    def search_artists(self, text: str, k: int) -> list[CountedArtist]:
        """The *k* most popular artists with each word of *text* in their name; the last may be unfinished."""
        matches = self.artifacts.catalogue.search_artists(text)
        return self._named_artists(self._allowed["artists"].first(matches, k))

    def popular(self, k: int) -> list[Track]:
        """The *k* most popular tracks."""
        return self._named_tracks(self._allowed["tracks"].popular[:k].tolist())

    def popular_artists(self, k: int) -> list[CountedArtist]:
        """The *k* most popular artists."""
        return self._named_artists(self._allowed["artists"].popular[:k].tolist())

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
        catalogue, weights = self.artifacts.catalogue, self.artifacts.space.weights
        tracks, unknown_tracks = catalogue.track_rows(playlist.tracks)
        artists, unknown_artists = self._find_artists(playlist.artists)
        terms = catalogue.term_rows(playlist.title)
        counts = [weights.track_count] * len(tracks) + list(artists.values()) + [1.0] * len(terms)
        unknown = Unknown(unknown_tracks, unknown_artists, bool(playlist.title) and not terms)
        once = all(count == 1 for count in counts)
        return _Seeds(tracks, list(artists), terms, None if once else counts, unknown)

    def _find_artists(self, artists: Sequence[str | Plays]) -> tuple[dict[int, float], list[str]]:
        """The count of each known artist by its row, and the names of those that are not known."""
        default = self.artifacts.space.weights.artist_count
        named: dict[str, float] = {}
        for artist in artists:
            name, count = (artist.artist, artist.count) if isinstance(artist, Plays) else (artist, default)
            named[name] = max(count, named.get(name, 0))
        rows = self.artifacts.catalogue.find_artists(list(named))
        counts: dict[int, float] = {}
        for name, count in named.items():
            if name in rows:  # by id and by name it is still one artist
                counts[rows[name]] = max(count, counts.get(rows[name], 0))
        return counts, [name for name in named if name not in rows]

    def _artists_of(self, seeds: _Seeds) -> set[int]:
        return {*seeds.artists, *self.artifacts.space.track_artists[seeds.tracks].tolist()} - {-1}

    def _weigh(self, seeds: Sequence[_Seeds]) -> Features:
        space = self.artifacts.space
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
        artifacts = self.artifacts
        return fold_in(columns, artifacts.space.confidences(strengths), artifacts.vectors, artifacts.gram)

    def _spread(self, kind: Kind) -> list[int]:
        """A few rows of *kind*, from the most popular to the least."""
        popular = self._allowed[kind].popular
        rows: list[int] = popular[:: max(len(popular) // WARM_SEEDS, 1)][:WARM_SEEDS].tolist()
        return rows

    def _rank(self, kind: Kind, seeds: Sequence[_Seeds], barred: Sequence[list[int]], k: int) -> Steps[list[_Ranking]]:
        features, allowed = self._weigh(seeds), self._allowed[kind]
        known = [index for index in range(len(seeds)) if len(features[index][0])]
        folded = yield from self._rank_folded(kind, features, known, [barred[index] for index in known], k)
        best = iter(folded)
        answerable = set(known)
        return [next(best) if i in answerable else _rank_popular(allowed, rows, k) for i, rows in enumerate(barred)]

    def _rank_folded(
        self, kind: Kind, features: Features, known: Sequence[int], barred: Sequence[list[int]], k: int
    ) -> Steps[list[_Ranking]]:
        if not known:
            return []
        candidates = self.artifacts.candidates[kind]
        queries = np.stack([self._solve(features, index) for index in known])
        found = yield from search_exactly(queries, candidates.ranking, k, barred, self._allowed[kind].blocked)
        return [
            _order(candidates, rows, candidates.ranking.score(rows, query), k)
            for query, rows in zip(queries, found, strict=True)
        ]

    def _neighbour_seeds(self, kind: Kind, seeds: Sequence[str]) -> list[int]:
        catalogue = self.artifacts.catalogue
        if kind == "tracks":
            return _all_known("track", *catalogue.track_rows(seeds))
        return _all_known("artist", *catalogue.artist_rows(seeds))

    def _direction(self, kind: Kind, seeds: Sequence[int]) -> tuple[Candidates, Floats, Floats]:
        """All of *kind*, their vectors, and the direction of the *seeds* together, in which neighbours are sought."""
        candidates = self.artifacts.candidates[kind]
        vectors = self.artifacts.vectors[candidates.rows]
        return candidates, vectors, unit(unit(vectors[list(seeds)]).sum(axis=0))

    def _neighbours(self, kind: Kind, seeds: Sequence[int], k: int) -> _Ranking:
        candidates, vectors, query = self._direction(kind, seeds)
        rows = _find_nearest(candidates, self._allowed[kind], vectors, query, seeds, k)
        return _order(candidates, rows, np.vecdot(unit(vectors[rows]), query), k)

    def _named_tracks(self, rows: Sequence[int]) -> list[Track]:
        tracks = self.artifacts.catalogue.tracks(rows)
        return [tracks[row] for row in rows]

    def _named_artists(self, rows: Sequence[int]) -> list[CountedArtist]:
        artists = self.artifacts.catalogue.artists(rows)
        return [artists[row] for row in rows]


def _effort(candidates: Candidates, wanted: int) -> int:
    """How many rows the index has to look at for *wanted* of them."""
    return max(candidates.effort, min(wanted, len(candidates.index)) * candidates.index.n_trees)


def _find_nearest(
    candidates: Candidates, allowed: Allowed, vectors: Floats, query: Floats, seeds: Sequence[int], k: int
) -> Rows:
    """The *k* rows nearest to *query* and perhaps more, or all there are; neither *seeds* nor what is blocked."""
    index = candidates.index
    wanted = min(k + len(seeds), len(index))
    while len(rows := index.search(query, wanted, _effort(candidates, wanted))) == wanted:
        found = _without(allowed.among(rows), seeds)
        if len(found) >= k or wanted == len(index):
            return found
        wanted = min(FURTHER * wanted, len(index))
        if wanted * index.n_trees > len(index):
            break  # an exact search looks at fewer rows
    # Or its trees lead to the same few rows again and again.
    wanted = min(k + len(seeds), len(allowed.popular))
    return _without(search_neighbours_exactly(query[None], vectors, wanted, blocked=allowed.blocked)[0], seeds)


def _without(rows: Rows, barred: Sequence[int]) -> Rows:
    return rows[~np.isin(rows, barred)]


def _order(candidates: Candidates, rows: Rows, scores: Floats, k: int) -> _Ranking:
    order = np.lexsort((candidates.popular_ranks[rows], -scores))[:k]
    return _Ranking(rows[order].tolist(), _rounded(scores[order]))


def _rank_popular(allowed: Allowed, barred: list[int], k: int) -> _Ranking:
    head = allowed.popular[: k + len(barred)]
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
