"""The Annoy index of neighbours. Building and querying share this module, so that they agree on the metric."""

import os
import re
from collections.abc import Sequence
from errno import EIO
from pathlib import Path
from threading import Lock
from typing import Literal, Self

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from service.engine.errors import CorruptModel, ModelClosed
from service.engine.exact import search_neighbours_exactly, unit
from service.engine.files import reading

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

BUILT_ROWS = 4096  # rows that are copied at the same time while an index is built
PART, NEAR = 5, 0.03  # every so many queries look for an effort whose recall is so near to the wanted one
TIE = 1e-5  # cosines that differ by less are the same up to rounding


class NeighbourIndex:
    """An Annoy index over unit vectors, memory-mapped from one file."""

    METRIC: Literal["angular"] = "angular"

    def __init__(self, path: Path, n_factors: int):
        """
        Open the index in *path*, built over vectors of *n_factors*.

        Raises:
            CorruptModel: the file cannot be read, or its size does not fit *n_factors*.
        """
        self._index = AnnoyIndex(n_factors, self.METRIC)
        _load(self._index, path)
        self._closed, self._closing = False, Lock()

    def close(self) -> None:
        """Unmap the file, after a running audit has searched. A second call does nothing."""
        with self._closing:
            self._closed = True
            self._index.unload()

    @classmethod
    def build(cls, path: Path, vectors: Floats, n_trees: int, seed: int) -> Self:
        """
        Build the index of *vectors*, write it to *path* and open it.

        Args:
            path: the file to write; it must not exist.
            vectors: float32, shape (n_rows, n_factors); their norms do not matter.
            n_trees: number of trees. More of them find more true neighbours and take more space.
            seed: seed of the random splits.

        Raises:
            OSError: the file cannot be written.
        """
        n_rows, n_factors = vectors.shape
        index = AnnoyIndex(n_factors, cls.METRIC)
        try:
            index.set_seed(seed)
            for start in range(0, n_rows, BUILT_ROWS):
                for row, vector in enumerate(unit(vectors[start : start + BUILT_ROWS]).tolist(), start):
                    index.add_item(row, vector)
            index.build(n_trees)
            index.save(str(path))
        except Exception as error:  # Annoy raises no class of its own
            raise OSError(EIO, f"Annoy could not write it: {error}", str(path)) from error
        index.unload()
        path.chmod(0o644)  # Annoy lets only the owner read; the service may run as another user than the trainer
        return cls(path, n_factors)

    def __len__(self) -> int:
        return int(self._index.get_n_items())

    @property
    def n_trees(self) -> int:
        """The number of trees."""
        return int(self._index.get_n_trees())

    def search(self, query: Floats, k: int, effort: int) -> Rows:
        """
        Find about the *k* nearest rows to *query*.

        Args:
            query: float32, shape (n_factors,).
            k: number of wanted rows.
            effort: number of rows that the search looks at, over all trees (Annoy's `search_k`).

        Returns:
            int64, at most *k* rows, nearest first.

        Raises:
            ModelClosed: the index was closed.
        """
        if self._closed:  # Annoy would find nothing and raise nothing
            raise ModelClosed("the index of neighbours was closed; open the version again")
        return np.asarray(self._index.get_nns_by_vector(query.tolist(), k, effort), np.int64)

    def recall(self, vectors: Floats, queries: Rows, truth: Rows, effort: int) -> float:
        """
        Return the share of the true neighbours that a search finds.

        A row as near as the last true neighbour counts as one: tracks that occur only together lie in one direction,
        and an exact search picks among them by chance.

        Args:
            vectors: float32, shape (n_rows, n_factors), from which the index was built.
            queries: int64, shape (n_queries,). The rows whose neighbours are searched.
            truth: int64, shape (n_queries, k). Their neighbours by exact search, nearest first.
            effort: effort of the search.
        """
        k, hits = truth.shape[1], 0
        for query, last in zip(queries, truth[:, -1], strict=True):
            found = self.search(vectors[query], k, effort)
            hits += _count_hits(vectors, unit(vectors[query]), found, last)
        return hits / truth.size

    def audit(self, vectors: Floats, query: Floats, seeds: Sequence[int], k: int, effort: int) -> tuple[int, int]:
        """
        Compare one search with an exact search. Another thread than the one that searches and closes may do so.

        Args:
            vectors: float32, shape (n_rows, n_factors), from which the index was built.
            query: float32, shape (n_factors,), a unit vector.
            seeds: rows that are no answer.
            k: number of neighbours to compare.
            effort: effort of the search.

        Returns:
            The number of true neighbours, at most *k*, and the number of them that the search finds, counted as in
            `recall`.

        Raises:
            ModelClosed: the index was closed.
        """
        wanted = min(k + len(seeds), len(vectors))
        with self._closing:  # an index that is unmapped during a search ends the process
            found = self.search(query, wanted, effort)
        found, truth = (
            rows[~np.isin(rows, seeds)][:k]
            for rows in (found, search_neighbours_exactly(query[None], vectors, wanted)[0])
        )
        return len(truth), _count_hits(vectors, query, found, truth[-1]) if len(truth) else 0

    def calibrate(
        self,
        vectors: Floats,
        popularity: NDArray[np.int32],
        target: float,
        k: int,
        seed: int,
        n_queries: int = 1000,
    ) -> tuple[int, float]:
        """
        Find the least effort, among powers of the square root of two, whose recall of the top *k* reaches *target*.

        The sample of queries is drawn by popularity, as listeners ask. Popular rows lie among many others, so their
        neighbours are harder to find.

        Args:
            vectors: float32, shape (n_rows, n_factors), from which the index was built.
            popularity: int32, shape (n_rows,). Weight of each row in the sample; 0 counts as 1.
            target: wanted recall against exact search, 0 to 1.
            k: number of neighbours to compare.
            seed: seed of the sample.
            n_queries: size of the sample.

        Returns:
            The effort and its recall. The recall is below *target* if no effort up to a hundred rows a tree for each
            neighbour reaches it.
        """
        n_rows = len(vectors)
        if not n_rows:
            return k, 1.0
        asked = np.maximum(popularity, 1) / np.maximum(popularity, 1).sum()
        queries = np.random.default_rng(seed).choice(n_rows, min(n_queries, n_rows), replace=False, p=asked)
        truth = search_neighbours_exactly(unit(vectors[queries]), vectors, min(k, n_rows))
        limit = min(n_rows, 100 * k) * self.n_trees
        effort = float(k)
        # A part of the queries leads near the target; all of them decide.
        for part, wanted in ((slice(None, None, PART), target - NEAR), (slice(None), target)):
            recall = self.recall(vectors, queries[part], truth[part], round(effort))
            while effort < limit and recall < wanted:
                effort = min(effort * 2**0.5, limit)
                recall = self.recall(vectors, queries[part], truth[part], round(effort))
        return round(effort), round(recall, 4)


def _count_hits(vectors: Floats, query: Floats, found: Rows, last: int) -> int:
    """Return how many of the rows *found* are as near to *query*, a unit vector, as the row *last*."""
    cosines = unit(vectors[np.append(found, last)]) @ query
    return int((cosines[:-1] >= cosines[-1] - TIE).sum())


def _load(index: AnnoyIndex, path: Path) -> None:
    try:
        index.load(str(path))
    except OSError as error:  # whose text alone has the system's error, as in "Unable to open: Input/output error (5)"
        number = re.match(r"Unable to .*\((\d+)\)$", str(error))
        if number is None:
            raise CorruptModel(f"{path} does not fit its manifest: {error}; train or publish again") from None
        with reading(path):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
