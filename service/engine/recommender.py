"""Playlists in, ranked tracks or artists out: the story of the engine."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.engine.allowed import NOTHING, Allowed, allow_all, allow_all_but
from service.engine.artifacts import Artifacts, Candidates
from service.engine.errors import ModelClosed, PlaylistError, UnknownSeed
from service.engine.exact import search_exactly, search_neighbours_exactly, unit
from service.engine.features import Features
from service.engine.foldin import fold_in
from service.engine.items import KINDS, Item, Items, Kind, ScoredItem, counted_items, scored_items
from service.engine.manifest import Manifest
from service.engine.order import falling
from service.engine.pool import Pool
from service.engine.ranker import Ranker
from service.engine.recommendation import Options, Recommendation, Strategy
from service.engine.seeds import Playlist, Seeds, Unknown
from service.engine.stages import Stages

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# Scores are reported with this many decimals. They are ranked unrounded.
SCORE_DECIMALS = 6

# If hits of a neighbour search are blocked, the next search asks for this many times as many.
FURTHER = 4

# `warm` asks about this many items of each kind, spread from the most popular to the least, and for this many answers;
# and about a title alone.
WARM_SEEDS, WARM_K, WARM_TITLE = 8, 500, "music"


@dataclass
class _Ranking:
    """Rows of one kind, best first, and their scores; None if popularity is the score."""

    rows: list[int]
    scores: list[float] | None
    strategy: Strategy = "fold-in"


class Recommender:
    """An opened version of a model. Two threads must not use it at the same time."""

    def __init__(self, artifacts: Artifacts):
        self._manifest = artifacts.manifest
        self._artifacts: Artifacts | None = artifacts
        self._allowed: Mapping[Kind, Allowed] = allow_all(artifacts)

    @classmethod
    def open(cls, directory: Path, threads: int | None = None) -> Self:
        """
        Verify and open the version in *directory*. The caller closes it.

        Args:
            directory: the version.
            threads: number of files that are verified at the same time; None for the default of `ThreadPoolExecutor`.

        Raises:
            ModelError: the version is missing, damaged or of a format that this release does not read.
        """
        return cls(Artifacts.open(directory, threads))

    @property
    def artifacts(self) -> Artifacts:
        """
        The opened files.

        Raises:
            ModelClosed: the recommender was closed. All methods below raise it too.
        """
        if self._artifacts is None:
            raise ModelClosed(f"version {self._manifest.version} was closed; ask the one that is served now")
        return self._artifacts

    @property
    def manifest(self) -> Manifest:
        """The manifest of the version; it stays available after closing."""
        return self._manifest

    @property
    def kind(self) -> Kind:
        """The kind that is recommended by default: tracks, if the catalogue has any."""
        return self.manifest.shape.kind

    @property
    def ranks(self) -> bool:
        """True if the version has a ranker."""
        return self.artifacts.stages is not None and self.artifacts.stages.ranker is not None

    def close(self) -> None:
        """Release the files and their memory. A second call does nothing."""
        artifacts, self._artifacts, self._allowed = self._artifacts, None, NOTHING
        if artifacts is not None:
            artifacts.close()

    def block(self, ids: Collection[str]) -> int:
        """
        Block the tracks and artists with these *ids*, and the tracks of those artists.

        No answer contains a blocked item; seeds may be blocked. Unknown ids are ignored: a later version may know them.
        The list replaces the list before it. Another thread may call this method during a question; the answer then
        follows one of the two lists.

        Returns:
            The number of blocked tracks and artists.

        Raises:
            ModelError: the recommender was closed, or its files are gone; the list before stays in force.
        """
        allowed = allow_all_but(self.artifacts, ids) if ids else allow_all(self.artifacts)
        self._allowed = allowed
        return sum(of_kind.n_blocked for of_kind in allowed.values())

    def warm(self) -> None:
        """Answer some questions of each kind, so that the first caller does not wait for files that are read once."""
        asked = {kind: self._spread(kind) for kind in KINDS}
        playlists = [Playlist(**{kind: [item.id]}, title=item.name) for kind in KINDS for item in asked[kind]]
        for kind in KINDS:
            for playlist in [Playlist(), Playlist(title=WARM_TITLE), *playlists]:
                self.recommend([playlist], Options(WARM_K, kind))
            for item in asked[kind]:
                self.similar(kind, [item.id], WARM_K)
                self.search(kind, item.name, WARM_K)

    def recommend(self, playlists: Sequence[Playlist], options: Options) -> list[Recommendation]:
        """
        Continue each of *playlists*.

        An answer has exactly `options.k` items, best first, unless the catalogue is too small for that. None is a
        seed, none is excluded or blocked, and none occurs twice. If artists are wanted, the artists of the playlist's
        tracks are seeds too. An answer does not depend on the other playlists of the batch.

        Args:
            playlists: the playlists. A single playlist is a batch of one.
            options: the options of all of them.
        """
        kind = options.kind or self.kind
        seeds = [self._find(playlist) for playlist in playlists]
        barred = [self._barred(kind, seed, playlist) for seed, playlist in zip(seeds, playlists, strict=True)]
        rankings = self._rank(kind, seeds, barred, options)
        return [
            Recommendation(kind, ranking.strategy, seed, self._scored(kind, ranking))
            for seed, ranking in zip(seeds, rankings, strict=True)
        ]

    def similar(self, kind: Kind, seeds: Sequence[str], k: int) -> Items[ScoredItem]:
        """
        Return the *k* items of *kind* that are nearest to all *seeds* together. The score is the cosine.

        Args:
            kind: the kind of seeds and answers.
            seeds: tracks or artists as `Catalogue.find` takes them; none of them is in the answer.
            k: number of items, 1 or more.

        Raises:
            PlaylistError: *seeds* is empty.
            UnknownSeed: the catalogue does not know one of them.
        """
        return self._scored(kind, self._neighbours(kind, self._neighbour_seeds(kind, seeds), k))

    def search(self, kind: Kind, text: str, k: int) -> Items[Item]:
        """Return the *k* most popular matches of *text*, as in `Catalogue.search`."""
        return self.items(kind, self._allowed[kind].first(self.artifacts.catalogue.search(kind, text), k))

    def look_up(self, kind: Kind, keys: Sequence[str]) -> Items[Item]:
        """Return the items that *keys* mean as seeds, each once and in their order, as in `Catalogue.find`."""
        rows, _ = self.artifacts.catalogue.rows(kind, keys)
        return self.items(kind, rows)

    def items(self, kind: Kind, rows: Sequence[int]) -> Items[Item]:
        """Return the items of *rows*, in their order."""
        return counted_items(kind, *self.artifacts.records[kind].read(rows))

    def popular(self, kind: Kind, k: int) -> Items[Item]:
        """Return the *k* most popular items of *kind*."""
        return self.items(kind, self._allowed[kind].popular[:k].tolist())

    def neighbour_audit(self, kind: Kind, seeds: Sequence[str], k: int) -> Callable[[], tuple[int, int]]:
        """
        Return a check of the index for one call of `similar`.

        The check reads every vector, so it takes much longer than the call. Another thread may run it.

        Returns:
            A function that compares the index with an exact search. It returns the number of true neighbours, at most
            *k*, blocked or not, and the number of them that the index finds with the effort of the call. It raises
            ModelClosed if the recommender was closed meanwhile.

        Raises:
            PlaylistError: as in `similar`.
        """
        rows = self._neighbour_seeds(kind, seeds)
        candidates, vectors, query = self._direction(kind, rows)
        effort = _effort(candidates, k + len(rows))
        return partial(candidates.index.audit, vectors, query, rows, k, effort)

    def unknown(self, playlists: Sequence[Playlist]) -> list[Unknown]:
        """Return the parts of each of *playlists* that the catalogue does not know."""
        return [self._find(playlist).unknown for playlist in playlists]

    def pools(self, playlists: Sequence[Playlist]) -> list[Pool | None]:
        """
        Return the candidates of each of *playlists* with the inputs of the ranker; None if nothing of it is known.

        Raises:
            PlaylistError: the version keeps no playlists.
        """
        kind, seeds = self._stages().kind, [self._find(playlist) for playlist in playlists]
        barred = [self._barred(kind, seed, playlist) for seed, playlist in zip(seeds, playlists, strict=True)]
        features = self.artifacts.space.weigh(seeds)
        known = self._known(features, seeds, ranked=True)
        return [
            self._pool(features, index, seeds[index], barred[index], 1) if index in known else None
            for index in range(len(playlists))
        ]

    def features(self, playlists: Sequence[Playlist]) -> Features:
        """Return the weighted features of *playlists*, as `recommend` folds them in."""
        return self.artifacts.space.weigh([self._find(playlist) for playlist in playlists])

    def fold_in(self, playlists: Sequence[Playlist]) -> Floats:
        """
        Return the vectors of *playlists*.

        Returns:
            float32, shape (n_playlists, n_factors).

        Raises:
            PlaylistError: nothing of one of them is known.
        """
        features = self.features(playlists)
        return np.stack([self._solve(features, index) for index in range(len(playlists))])

    def _find(self, playlist: Playlist) -> Seeds:
        weights = self.artifacts.space.weights
        return self.artifacts.catalogue.seeds(playlist, weights.track_count, weights.artist_count)

    def _barred(self, kind: Kind, seeds: Seeds, playlist: Playlist) -> list[int]:
        excluded, _ = self.artifacts.catalogue.rows(kind, playlist.exclude)
        if kind == "tracks":
            return sorted({*seeds.tracks, *excluded})
        artists = self.artifacts.space.track_artists[seeds.tracks].tolist()
        return sorted({*seeds.artists, *artists, *excluded} - {-1})

    def _solve(self, features: Features, index: int) -> Floats:
        columns, strengths = features[index]
        artifacts = self.artifacts
        return fold_in(columns, artifacts.space.confidences(strengths), artifacts.vectors, artifacts.gram)

    def _rank(
        self, kind: Kind, seeds: Sequence[Seeds], barred: Sequence[list[int]], options: Options
    ) -> list[_Ranking]:
        features, allowed = self.artifacts.space.weigh(seeds), self._allowed[kind]
        stages = self.artifacts.stages
        ranker = stages.ranker if options.rank and stages is not None and stages.kind == kind else None
        known = self._known(features, seeds, ranked=ranker is not None)
        if ranker is not None:
            pools = (self._pool(features, index, seeds[index], barred[index], options.k) for index in known)
            best = [self._rank_pool(ranker, pool, options.k) for pool in pools]
        else:
            best = self._rank_folded(kind, features, known, [barred[index] for index in known], options.k)
        found = dict(zip(known, best, strict=True))
        return [found.get(index) or _rank_popular(allowed, rows, options.k) for index, rows in enumerate(barred)]

    def _known(self, features: Features, seeds: Sequence[Seeds], ranked: bool) -> list[int]:
        """Return the places of the playlists with a known feature or, if they are *ranked*, with like titles."""
        known, stages = features.offsets[1:] > features.offsets[:-1], self.artifacts.stages
        if ranked and stages is not None:
            known |= np.fromiter(map(stages.understands, seeds), bool, len(seeds))
        return np.flatnonzero(known).tolist()

    def _pool(self, features: Features, index: int, seeds: Seeds, barred: list[int], k: int) -> Pool:
        stages = self._stages()
        known = features.offsets[index + 1] > features.offsets[index]
        x = self._solve(features, index) if known else np.zeros(self.manifest.shape.factors, np.float32)
        return stages.pool(x, features[index], seeds, barred, self._allowed[stages.kind].blocked, k)

    def _stages(self) -> Stages:
        stages = self.artifacts.stages
        if stages is None:
            raise PlaylistError(f"version {self.manifest.version} keeps no playlists to choose candidates with")
        return stages

    def _rank_pool(self, ranker: Ranker, pool: Pool, k: int) -> _Ranking:
        ranking = _order(self.artifacts.candidates[self.kind], pool.rows, ranker.score(pool.inputs), k)
        return replace(ranking, strategy="ranked")

    def _rank_folded(
        self, kind: Kind, features: Features, known: Sequence[int], barred: Sequence[list[int]], k: int
    ) -> list[_Ranking]:
        if not known:
            return []
        candidates = self.artifacts.candidates[kind]
        queries = np.stack([self._solve(features, index) for index in known])
        found = search_exactly(queries, candidates.ranking, k, barred, self._allowed[kind].blocked)
        return [_order(candidates, rows, scores, k) for rows, scores in found]

    def _neighbour_seeds(self, kind: Kind, seeds: Sequence[str]) -> list[int]:
        return _all_known(kind.removesuffix("s"), *self.artifacts.catalogue.rows(kind, seeds))

    def _direction(self, kind: Kind, seeds: Sequence[int]) -> tuple[Candidates, Floats, Floats]:
        """Return the candidates of *kind*, their vectors, and the unit vector of all *seeds* together."""
        candidates = self.artifacts.candidates[kind]
        vectors = self.artifacts.vectors[candidates.rows]
        return candidates, vectors, unit(unit(vectors[list(seeds)]).sum(axis=0))

    def _neighbours(self, kind: Kind, seeds: Sequence[int], k: int) -> _Ranking:
        candidates, vectors, query = self._direction(kind, seeds)
        rows = _find_nearest(candidates, self._allowed[kind], vectors, query, seeds, k)
        return _order(candidates, rows, np.vecdot(unit(vectors[rows]), query), k)

    def _scored(self, kind: Kind, ranking: _Ranking) -> Items[ScoredItem]:
        records, popularity = self.artifacts.records[kind].read(ranking.rows)
        return scored_items(kind, records, popularity if ranking.scores is None else ranking.scores)

    def _spread(self, kind: Kind) -> Items[Item]:
        """Return a few items of *kind*, from the most popular to the least."""
        popular = self._allowed[kind].popular
        return self.items(kind, popular[:: max(len(popular) // WARM_SEEDS, 1)][:WARM_SEEDS].tolist())


def _effort(candidates: Candidates, wanted: int) -> int:
    """Return the number of rows that the index has to look at for *wanted* of them."""
    return max(candidates.effort, min(wanted, len(candidates.index)) * candidates.index.n_trees)


def _find_nearest(
    candidates: Candidates, allowed: Allowed, vectors: Floats, query: Floats, seeds: Sequence[int], k: int
) -> Rows:
    """Return the *k* rows nearest to *query* or a few more, without *seeds* and blocked rows; all rows if fewer."""
    index = candidates.index
    wanted = min(k + len(seeds), len(index))
    while len(rows := index.search(query, wanted, _effort(candidates, wanted))) == wanted:
        found = _without(allowed.among(rows), seeds)
        if len(found) >= k or wanted == len(index):
            return found
        wanted = min(FURTHER * wanted, len(index))
        if wanted * index.n_trees > len(index):
            break  # an exact search looks at fewer rows
    # The loop also ends here if the trees of the index lead to the same few rows again and again.
    wanted = min(k + len(seeds), len(allowed.popular))
    return _without(search_neighbours_exactly(query[None], vectors, wanted, blocked=allowed.blocked)[0], seeds)


def _without(rows: Rows, barred: Sequence[int]) -> Rows:
    return rows[~np.isin(rows, barred)]


def _order(candidates: Candidates, rows: Rows, scores: Floats, k: int) -> _Ranking:
    order = falling(scores, candidates.popular_ranks[rows])[:k]
    return _Ranking(rows[order].tolist(), scores[order].astype(np.float64).round(SCORE_DECIMALS).tolist())


def _rank_popular(allowed: Allowed, barred: list[int], k: int) -> _Ranking:
    head = allowed.popular[: k + len(barred)]
    return _Ranking(head[~np.isin(head, barred)][:k].tolist(), None, "popular")


def _all_known(kind: str, rows: list[int], unknown: list[str]) -> list[int]:
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnknownSeed(f"the catalogue does not know the {kind} {unknown[0]!r}{more}")
    if not rows:
        raise PlaylistError(f"at least one {kind} is needed to find its neighbours")
    return sorted(rows)  # so that the order of the seeds does not change the rounding
