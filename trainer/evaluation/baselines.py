"""
The baselines that Segue has to beat.

All learn from the same playlists as Segue, and continue with popular items where they cannot rank.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.engine import Ragged, normalize_title
from trainer.dataset import Dataset
from trainer.evaluation.answers import Continuer, ask
from trainer.evaluation.tasks import Task
from trainer.fitting.factorize import als, cosine
from trainer.progress import say

# Beyond these sizes a baseline takes more time or memory than the training run that it is compared with.
AFFORDABLE_ENTRIES = 2_000_000
AFFORDABLE_COSINE_ITEMS = 30_000

Floats = NDArray[np.float32]
Matrix = csr_matrix[np.float32]
Weigh = Callable[[Matrix], Matrix]


def baseline_answers(
    learned: Dataset, tasks: Sequence[Task], seed: int, only_affordable: bool = False
) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the name and the answers of each baseline, or of those that cost less than the training run."""
    popularity = Popularity(learned)
    yield "popularity", ask(popularity, tasks, "popularity")
    for name, make in _makers(learned, seed).items():
        if only_affordable and not _affordable(name, learned):
            say(f"{name} is not in the report: it would cost more than the training run")
        else:
            yield name, ask(make(popularity), tasks, name)


class Popularity:
    """Recommends the items of the most playlists."""

    def __init__(self, dataset: Dataset):
        self.ids = np.array(dataset.item_ids, object)
        self.popularity = dataset.item_popularity()
        self.order = np.lexsort((np.argsort(np.argsort(self.ids)), -self.popularity))
        self._rows = {id_: row for row, id_ in enumerate(dataset.item_ids)}

    def recommend(self, tasks: Sequence[Task], k: int) -> list[list[str]]:
        return [self.fill([], seeds, k) for seeds in self.seed_rows(tasks)]

    def seed_rows(self, tasks: Sequence[Task]) -> list[list[int]]:
        """Return the rows of the known seeds of each of *tasks*."""
        return [[self._rows[seed.id] for seed in task.seeds if seed.id in self._rows] for task in tasks]

    def seeds(self, tasks: Sequence[Task]) -> Ragged:
        """Return the known seeds of each of *tasks* with their counts, 1 if they have none."""
        known = [
            [
                (self._rows[seed.id], count)
                for seed, count in zip(task.seeds, task.counts or [1.0] * len(task.seeds), strict=True)
                if seed.id in self._rows
            ]
            for task in tasks
        ]
        rows = [[row for row, _ in pairs] for pairs in known]
        return Ragged.of(rows, [[count for _, count in pairs] for pairs in known])

    def fill(self, ranked: Sequence[int] | NDArray[Any], seeds: Sequence[int], k: int) -> list[str]:
        """Return *k* ids: of the *ranked* rows, then of popular ones, without the *seeds*."""
        head = np.concatenate((np.asarray(ranked, np.int64), self.order[: k + len(seeds) + len(ranked)]))
        _, first = np.unique(head, return_index=True)
        rows = head[np.sort(first)]
        return list(self.ids[rows[~np.isin(rows, seeds)][:k]])


class _ImplicitModel:
    """A model of implicit, queried by its own `recommend`."""

    def __init__(self, dataset: Dataset, popularity: Popularity, model: Any, weigh: Weigh, **options: Any):
        self._popularity, self._model, self._weigh, self._options = popularity, model, weigh, options
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Method expects CSR input")  # a conversion inside implicit
            model.fit(weigh(_matrix(dataset.items, len(popularity.ids))), show_progress=False)

    def recommend(self, tasks: Sequence[Task], k: int) -> list[list[str]]:
        seeds = self._popularity.seed_rows(tasks)
        matrix = self._weigh(_matrix(self._popularity.seeds(tasks), len(self._popularity.ids)))
        users = np.arange(len(tasks))
        rows, scores = self._model.recommend(users, matrix, N=k, filter_already_liked_items=True, **self._options)
        ranked = [
            found[(found >= 0) & (score > 0)] if known else []
            for found, score, known in zip(rows, scores, seeds, strict=True)
        ]
        return [self._popularity.fill(found, known, k) for found, known in zip(ranked, seeds, strict=True)]


class ItemCosine(_ImplicitModel):
    """
    Item-item cosine: an item scores the sum of its cosines with the seeds that have it among their 1,000 nearest.

    Plays are replaced by their logarithm, which gives the best results.
    """

    def __init__(self, dataset: Dataset, popularity: Popularity):
        super().__init__(dataset, popularity, cosine(1000), _log)


class PlainALS(_ImplicitModel):
    """ALS on tracks alone with 64 factors and alpha 9; implicit folds in each playlist."""

    def __init__(self, dataset: Dataset, popularity: Popularity, seed: int):
        super().__init__(dataset, popularity, als(64, 9.0, 0.05, 15, seed), _once, recalculate_user=True)


class BM25ALS(_ImplicitModel):
    """ALS with 128 factors on plays weighted by BM25, with the parameters of implicit's own examples (K1 100, B .8)."""

    def __init__(self, dataset: Dataset, popularity: Popularity, seed: int):
        plays = _matrix(dataset.items, len(popularity.ids))
        idf = np.log(plays.shape[0]) - np.log1p(popularity.popularity)
        mean_length = plays.sum() / plays.shape[0]

        def weigh(matrix: Matrix) -> Matrix:
            lengths = np.repeat(np.asarray(matrix.sum(axis=1)).ravel(), np.diff(matrix.indptr))
            norms = 100 * (0.2 + 0.8 * lengths / mean_length)
            return _with_data(matrix, matrix.data * 101 / (norms + matrix.data) * idf[matrix.indices])

        super().__init__(dataset, popularity, als(128, 1.0, 0.01, 15, seed), weigh, recalculate_user=True)


class PlaylistNeighbours:
    """
    The playlist kNN of the challenge's ninth-placed team.

    Playlists are L2-normalised track vectors, each seed weighs 1 / ((popularity - 1)^0.35 + 1), similarities are
    shifted to 0..1 and squared over the nearest 1,000 playlists, and their tracks summed. For a title without seeds,
    all playlists with the same normalised title have the same weight.
    (Teinemaa, Tax and Bentes, "Automatic Playlist Continuation through a Composition of Collaborative Filters", 2018.)
    """

    NEAREST = 1000
    EXPONENT = 0.35

    def __init__(self, dataset: Dataset, popularity: Popularity):
        self._popularity = popularity
        self._playlists = _once(_matrix(dataset.tracks, len(popularity.ids)))
        lengths = np.sqrt(np.diff(self._playlists.indptr)).astype(np.float32)
        normalized = self._playlists.copy()
        normalized.data /= np.repeat(lengths, np.diff(self._playlists.indptr))
        self._columns = normalized.T.tocsr()
        self._weights = 1 / ((popularity.popularity - 1.0) ** self.EXPONENT + 1)
        self._titled: dict[str, list[int]] = defaultdict(list)
        for index, title in enumerate(dataset.titles):
            self._titled[normalize_title(title)].append(index)

    def recommend(self, tasks: Sequence[Task], k: int) -> list[list[str]]:
        seeds = self._popularity.seed_rows(tasks)
        return [self._continue(task, known, k) for task, known in zip(tasks, seeds, strict=True)]

    def _continue(self, task: Task, seeds: Sequence[int], k: int) -> list[str]:
        nearest, similarities = self._nearest(task, seeds)
        scores = self._playlists[nearest].T @ similarities
        scores[list(seeds)] = 0
        ranked = np.lexsort((-self._popularity.popularity, -scores))[: k + len(seeds)]
        return self._popularity.fill(ranked[scores[ranked] > 0], seeds, k)

    def _nearest(self, task: Task, seeds: Sequence[int]) -> tuple[NDArray[np.int64], Floats]:
        if not len(seeds):
            same = np.array(self._titled.get(normalize_title(task.title), []) if task.title else [], np.int64)
            return same, np.ones(len(same), np.float32)
        similarities = np.asarray(self._columns[list(seeds)].T @ self._weights[list(seeds)]).ravel()
        nearest = np.argsort(-similarities, kind="stable")[: self.NEAREST]
        nearest = nearest[similarities[nearest] > 0]
        # The least similar playlist shares nothing, so the range starts at 0 already.
        return nearest, (similarities[nearest] / similarities[nearest].max()).astype(np.float32) ** 2


def _matrix(items: Ragged, n_items: int) -> Matrix:
    """Return the counts of *items*, or 1 without counts: float32 CSR, shape (n_playlists, n_items)."""
    counts = np.ones(len(items.rows), np.float32) if items.counts is None else items.counts
    matrix: Matrix = csr_matrix((counts, items.rows, items.offsets), shape=(len(items), n_items))
    matrix.sort_indices()
    return matrix


def _once(matrix: Matrix) -> Matrix:
    return _with_data(matrix, np.ones(len(matrix.data)))


def _log(matrix: Matrix) -> Matrix:
    return _with_data(matrix, np.log1p(matrix.data))


def _with_data(matrix: Matrix, data: NDArray[np.floating[Any]]) -> Matrix:
    return csr_matrix((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _makers(dataset: Dataset, seed: int) -> dict[str, Callable[[Popularity], Continuer]]:
    """Return a constructor for each baseline that suits *dataset*, by name."""
    cosine_ = {"item cosine": lambda popularity: ItemCosine(dataset, popularity)}
    if dataset.listening:
        return {**cosine_, "BM25 ALS": lambda popularity: BM25ALS(dataset, popularity, seed)}
    return {
        **cosine_,
        "plain ALS": lambda popularity: PlainALS(dataset, popularity, seed),
        "playlist kNN": lambda popularity: PlaylistNeighbours(dataset, popularity),
    }


def _affordable(name: str, dataset: Dataset) -> bool:
    fits = name != "item cosine" or len(dataset.item_ids) <= AFFORDABLE_COSINE_ITEMS
    return fits and dataset.entries <= AFFORDABLE_ENTRIES
