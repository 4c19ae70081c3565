"""Playlists in, ranked tracks or artists out: the story of the engine."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.allowed import NOTHING, Allowed, allow_all, allow_all_but, tracks_of
from service.engine.artifacts import Artifacts, Candidates
from service.engine.controls import Choice, Controls, Facts
from service.engine.diagnosis import Diagnosis, Doctor
from service.engine.errors import ModelClosed, PlaylistError
from service.engine.exact import search_exactly, unit
from service.engine.features import Features
from service.engine.filters import NO_FILTERS, Filters, Where
from service.engine.foldin import fold_in
from service.engine.items import Fields, Item, Items, Kind, ScoredItem, counted_items, scored_items
from service.engine.manifest import Manifest
from service.engine.nearest import check_known, effort_of, find_nearest
from service.engine.order import falling
from service.engine.pool import POOLED, Pool
from service.engine.question import STRATEGIES, Options, Question, Recommendation, Strategy, Weighted
from service.engine.ranker import Ranker
from service.engine.reasons import Explained, explain
from service.engine.seeds import Playlist, Seeds, Unknown
from service.engine.stages import Stages
from service.engine.warming import warm

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
# Items in no order, their scores, and their inputs of the ranker, if it gave the scores.
Scored = tuple[Rows, Floats, Floats | None]

# Scores are reported with this many decimals. They are ranked unrounded.
SCORE_DECIMALS = 6

SHORTLIST = POOLED  # items that controls choose among


class Recommender:
    """An opened version of a model. Two threads must not use it at the same time."""

    def __init__(self, artifacts: Artifacts):
        self._manifest = artifacts.manifest
        self._artifacts: Artifacts | None = artifacts
        self._filters = Filters.of(artifacts)
        self._doctor: Doctor | None = Doctor(artifacts)
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
        self._filters, self._doctor = NO_FILTERS, None
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
        warm(self)

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
        questions = self._ask(playlists, options)
        lists: dict[int, Scored] = {}
        depth = max(options.k, SHORTLIST) if options.controls.choose else options.k
        for strategy in STRATEGIES:
            places = [place for place, question in enumerate(questions) if question.strategy == strategy]
            # The ranker's pool has more than the k items in any case, and it must not depend on controls.
            wanted = options.k if strategy == "ranked" else depth
            scored = self._score(strategy, [questions[place] for place in places], wanted)
            lists |= zip(places, scored, strict=True)
        return [
            self._answer(question, lists[place], playlists[place].title, options)
            for place, question in enumerate(questions)
        ]

    def similar(self, kind: Kind, seeds: Sequence[str], k: int, where: Where | None = None) -> Items[ScoredItem]:
        """
        Return the *k* items of *kind* that are nearest to all *seeds* together. The score is the cosine.

        Args:
            kind: the kind of seeds and answers.
            seeds: tracks or artists as `Catalogue.find` takes them; none of them is in the answer.
            k: number of items, 1 or more.
            where: a filter of tracks; None for none.

        Raises:
            PlaylistError: *seeds* is empty, or *where* is no filter of this version.
            UnknownSeed: the catalogue does not know one of them.
        """
        rows = self._neighbour_seeds(kind, seeds)
        candidates, vectors, query = self._direction(kind, rows)
        found = find_nearest(candidates, self._filtered(kind, where), vectors, query, rows, k)
        cosines = np.vecdot(unit(vectors[found]), query)
        best = falling(cosines, candidates.popular_ranks[found])[:k]
        return self._scored(kind, found[best].tolist(), cosines[best].tolist())

    def search(self, kind: Kind, text: str, k: int, where: Where | None = None) -> Items[Item]:
        """Return the *k* most popular matches of *text*, as in `Catalogue.search`, that pass the filter *where*."""
        allowed = self._filtered(kind, where)
        found = allowed.first(self.artifacts.catalogue.search(kind, text), k) if len(allowed) else []
        return self.items(kind, found)

    def diagnose(self, playlist: Playlist) -> Diagnosis:
        """Return the diagnosis of *playlist*, as `Doctor.diagnose` describes it."""
        doctor = self._doctor or Doctor(self.artifacts)  # which raises after closing
        return doctor.diagnose(playlist)

    def look_up(self, kind: Kind, keys: Sequence[str]) -> Items[Item]:
        """Return the items that *keys* mean as seeds, each once and in their order, as in `Catalogue.find`."""
        rows, _ = self.artifacts.catalogue.rows(kind, keys)
        return self.items(kind, rows)

    def items(self, kind: Kind, rows: Sequence[int]) -> Items[Item]:
        """Return the items of *rows*, in their order."""
        return counted_items(kind, *self.artifacts.records[kind].read(rows))

    def popular(self, kind: Kind, k: int) -> Items[Item]:
        """Return the *k* most popular items of *kind*."""
        return self.items(kind, self._allowed[kind].most_popular(k).tolist())

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
        effort = effort_of(candidates, k + len(rows))
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
        stages = self._stages()
        questions = self._ask(playlists, Options(1, stages.kind))
        return [None if question.strategy == "popular" else self._pool(question, 1) for question in questions]

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
        questions = self._ask(playlists, Options())
        return np.stack([self._solve(question) for question in questions])

    def _find(self, playlist: Playlist) -> Seeds:
        weights = self.artifacts.space.weights
        return self.artifacts.catalogue.seeds(playlist, weights.track_count, weights.artist_count)

    def _ask(self, playlists: Sequence[Playlist], options: Options) -> list[Question]:
        kind, seeds = options.kind or self.kind, [self._find(playlist) for playlist in playlists]
        features = self.artifacts.space.weigh(seeds)
        ranks = options.rank and self._ranker(kind) is not None
        return [
            Question(
                kind,
                self._strategy(features[index], seeds[index], ranks),
                seeds[index],
                features[index],
                self._barred(kind, seeds[index], playlist),
                self._allow(kind, seeds[index], playlist, options.controls),
            )
            for index, playlist in enumerate(playlists)
        ]

    def _strategy(self, features: Weighted, seeds: Seeds, ranks: bool) -> Strategy:
        stages, known = self.artifacts.stages, len(features[0]) > 0
        if ranks and stages is not None and (known or stages.understands(seeds)):
            return "ranked"
        return "fold-in" if known else "popular"

    def _ranker(self, kind: Kind) -> Ranker | None:
        stages = self.artifacts.stages
        return stages.ranker if stages is not None and stages.kind == kind else None

    def _barred(self, kind: Kind, seeds: Seeds, playlist: Playlist) -> list[int]:
        excluded, _ = self.artifacts.catalogue.rows(kind, playlist.exclude)
        if kind == "tracks":
            return sorted({*seeds.tracks, *seeds.disliked_tracks, *excluded})
        artists = self.artifacts.space.track_artists[seeds.tracks].tolist()
        return sorted({*seeds.artists, *seeds.disliked_artists, *artists, *excluded} - {-1})

    def _allow(self, kind: Kind, seeds: Seeds, playlist: Playlist, controls: Controls) -> Allowed:
        """Return the items that the answer may contain, beside those that are barred by their rows."""
        allowed, space = self._filtered(kind, playlist.where), self.artifacts.space
        if playlist.among is not None:
            allowed = allowed.only(self.artifacts.catalogue.rows(kind, playlist.among)[0])
        artists = [*seeds.disliked_artists]
        if controls.discover:
            artists += {*seeds.artists, *space.track_artists[seeds.tracks].tolist()} - {-1}
        return allowed.but(tracks_of(artists, space)) if artists and kind == "tracks" else allowed

    def _filtered(self, kind: Kind, where: Where | None) -> Allowed:
        """Return the items that are not blocked and pass the filter *where*."""
        allowed, _ = self._allowed[kind], self.artifacts
        return allowed if where is None else allowed.but(~self._filters.mask(kind, where))

    def _solve(self, question: Question) -> Floats:
        """Return the vector of a playlist; zeros if no feature of it is known."""
        artifacts, (columns, strengths) = self.artifacts, question.features
        if not len(columns):
            return np.zeros(self.manifest.shape.factors, np.float32)
        space = artifacts.space
        dislikes = space.dislikes(question.seeds)
        return fold_in(columns, space.confidences(strengths), artifacts.vectors, artifacts.gram, dislikes)

    def _score(self, strategy: Strategy, questions: Sequence[Question], k: int) -> list[Scored]:
        """Return the best *k* items of each of *questions*, or more of them, in no order, and their scores."""
        if strategy == "fold-in":
            return self._score_by_solve(questions, k)
        score = self._score_by_ranker if strategy == "ranked" else self._score_by_popularity
        return [score(question, k) for question in questions]

    def _score_by_ranker(self, question: Question, k: int) -> Scored:
        ranker, pool = self._ranker(question.kind), self._pool(question, k)
        assert ranker is not None
        return pool.rows, ranker.score(pool.inputs), pool.inputs

    def _score_by_solve(self, questions: Sequence[Question], k: int) -> list[Scored]:
        found: list[Scored] = []
        # One product of codes for all questions in a row whose answers may contain the same items.
        for _, group in groupby(questions, lambda question: id(question.allowed)):
            alike = list(group)
            queries, barred = np.stack([self._solve(each) for each in alike]), [each.barred for each in alike]
            ranking = self.artifacts.candidates[alike[0].kind].ranking
            found += [(*best, None) for best in search_exactly(queries, ranking, k, barred, alike[0].allowed.blocked)]
        return found

    def _score_by_popularity(self, question: Question, k: int) -> Scored:
        rows = question.allowed.most_popular(k + len(question.barred))
        rows = rows[~np.isin(rows, question.barred)][:k]
        _, popularity = self.artifacts.records[question.kind].read(rows.tolist())
        return rows.astype(np.int64), np.array(popularity, np.float32), None

    def _answer(self, question: Question, scored: Scored, title: str, options: Options) -> Recommendation:
        lists = [scored]
        if options.controls.choose:
            rows, scores = self._choose(question, lists, options)
        else:
            candidates = self.artifacts.candidates[question.kind]
            best = falling(scored[1], candidates.popular_ranks[scored[0]])[: options.k]
            rows, scores = scored[0][best].tolist(), scored[1][best].tolist()
        more: list[dict[str, Any]] = [{} for _ in rows]
        if options.explain:
            reasons = explain(question, title, Explained.of(rows, lists), self.artifacts)
            more = [{"reasons": each.fields()} for each in reasons]
        if options.fields:
            shown = self._filters.show(question.kind, rows, options.fields)
            more = [{**fields, "attributes": each} for fields, each in zip(more, shown, strict=True)]
        given = None if question.strategy == "popular" else scores
        found = self._scored(question.kind, rows, given, more if options.explain or options.fields else None)
        return Recommendation(question.kind, question.strategy, question.seeds, found)

    def _choose(self, question: Question, lists: list[Scored], options: Options) -> tuple[list[int], list[float]]:
        """Choose rows, and their scores, among those in *lists*; if they are too few, further ones are added there."""
        choice = Choice(options.controls, Facts.of(self.artifacts, question.kind), options.k, question.seeds.tracks)
        choice.take(*lists[0][:2])
        while not choice.is_full and len(lists[-1][0]):
            question = question.but(lists[-1][0], tracks_of(choice.exhausted_artists, self.artifacts.space))
            ((rows, scores, inputs),) = self._score(question.strategy, [question], SHORTLIST)
            if question.strategy == "ranked" and len(rows) and choice.scores:
                # The inputs of the ranker are relative to the list, so the scores of two lists are not.
                scores = scores - max(scores.max() - np.float32(min(choice.scores)), np.float32(0))
            lists.append((rows, scores, inputs))
            choice.take(rows, scores)
        return choice.rows, choice.scores

    def _pool(self, question: Question, k: int) -> Pool:
        x, blocked = self._solve(question), question.allowed.blocked
        return self._stages().pool(x, question.features, question.seeds, question.barred, blocked, k)

    def _stages(self) -> Stages:
        stages = self.artifacts.stages
        if stages is None:
            raise PlaylistError(f"version {self.manifest.version} keeps no playlists to choose candidates with")
        return stages

    def _neighbour_seeds(self, kind: Kind, seeds: Sequence[str]) -> list[int]:
        return check_known(kind.removesuffix("s"), *self.artifacts.catalogue.rows(kind, seeds))

    def _direction(self, kind: Kind, seeds: Sequence[int]) -> tuple[Candidates, Floats, Floats]:
        """Return the candidates of *kind*, their vectors, and the unit vector of all *seeds* together."""
        candidates = self.artifacts.candidates[kind]
        vectors = self.artifacts.vectors[candidates.rows]
        return candidates, vectors, unit(unit(vectors[list(seeds)]).sum(axis=0))

    def _scored(
        self,
        kind: Kind,
        rows: Sequence[int],
        scores: Sequence[float] | None,
        more: Sequence[Fields] | None = None,
    ) -> Items[ScoredItem]:
        """Return the items of *rows* with *scores*; None if popularity is the score."""
        records, popularity = self.artifacts.records[kind].read(rows)
        rounded = popularity if scores is None else np.array(scores, np.float64).round(SCORE_DECIMALS).tolist()
        return scored_items(kind, records, rounded, more)
