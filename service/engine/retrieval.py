"""
Nearest rows: exactly by inner product for continuations, approximately by cosine for neighbours.

Building and querying the Annoy index share this file, because they must agree on metric and dimension.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EIO
from operator import neg
from pathlib import Path
from threading import Lock
from typing import Literal, Self

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from service.engine.errors import ModelClosed
from service.engine.steps import Steps

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

BLOCK_ROWS = 4096
FIRST_BLOCK_ROWS = 4096
BLOCK_PRODUCTS = 1 << 20  # a block has no more products than this over all queries
STEP_ROWS = 1 << 16  # nor more rows: it is a step, which is to take few milliseconds
LEAST = float(np.finfo(np.float32).min)
TIE = 1e-5  # cosines nearer to each other than this are the same, up to rounding
NO_ROWS: Rows = np.empty(0, np.int64)


@dataclass(frozen=True)
class RankingVectors:
    """
    The vectors z that continuations are ranked by, by falling norm, their axes turned so that the first carry the most.

    Attributes:
        heads: float32, shape (n_rows, n_head). The leading axes.
        tails: float32, shape (n_rows, n_factors - n_head). The others.
        norms: float32, shape (n_rows,). |z|, falling.
        tail_norms: float32, shape (n_rows,). The length of each row of *tails*.
    """

    heads: Floats
    tails: Floats
    norms: Floats
    tail_norms: Floats

    @classmethod
    def split(cls, vectors: Floats) -> Self:
        """Split *vectors*, float32, shape (n_rows, n_factors), rows by falling norm, axes by falling weight."""
        n_head = head_length(vectors.shape[1])
        heads, tails = np.ascontiguousarray(vectors[:, :n_head]), np.ascontiguousarray(vectors[:, n_head:])
        return cls(heads, tails, np.linalg.norm(vectors, axis=1), np.linalg.norm(tails, axis=1))

    def __len__(self) -> int:
        return len(self.norms)

    def score(self, rows: Rows, query: Floats) -> Floats:
        """
        Score *rows* the one way that ends up in an answer.

        Each row is a dot product of its own, so a score does not depend on which other rows, or how many other
        playlists, were scored along with it; a matrix product does not promise that.

        Returns:
            float32, shape (n_rows,).
        """
        n_head = self.heads.shape[1]
        heads, tails = np.vecdot(self.heads[rows], query[:n_head]), np.vecdot(self.tails[rows], query[n_head:])
        return np.asarray(heads + tails, np.float32)


def head_length(n_factors: int) -> int:
    """How many of *n_factors* axes a search looks at first; `docs/decisions.md` has what other shares cost."""
    return (5 * n_factors + 7) // 8


def leading_axes(vectors: Floats) -> Floats:
    """
    The rotation that turns the axes of *vectors* so that the first carry the most of them, the next the second most.

    Inner products, and so all answers, stay what they are.

    Args:
        vectors: float32, shape (n_rows, n_factors).

    Returns:
        float32, shape (n_factors, n_factors), orthonormal; turn vectors by `vectors @ rotation`.
    """
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(axes[:, ::-1], np.float32)


class _Pool:
    """The best rows that one query has met so far, and the score that a further row has to reach."""

    def __init__(self, query: Floats, vectors: RankingVectors, k: int, excluded: Sequence[int]):
        self._tail = query[vectors.heads.shape[1] :]
        self._length, self._tail_length = float(np.linalg.norm(query)), np.linalg.norm(self._tail)
        self._vectors, self._k, self._excluded = vectors, k, excluded
        # Two ways of summing the same products differ by less than this; it is kept as a margin.
        self._rounding = 2 * len(query) * float(np.finfo(np.float32).eps) * self._length * float(vectors.norms[0])
        self._threshold = LEAST
        self._scores, self.rows = np.empty(0, np.float32), NO_ROWS

    def end(self) -> int:
        """The row from which on |query| * |row| cannot reach the threshold."""
        if self._threshold <= 0:
            return len(self._vectors)
        # The norms fall; `searchsorted` on their reverse would copy them each time.
        return bisect_right(self._vectors.norms, -self._threshold / self._length, key=neg)

    def add(self, heads: Floats, start: int) -> None:
        """
        Look at a block of rows that begins at *start*, of which the inner products of the *heads* are known.

        What is missing of a row's score is at most |tail of query| * |tail of row|, so few rows need their tails read.
        """
        self._exclude(heads, start)
        if self._threshold == LEAST and len(heads) > self._k:
            self._raise_threshold(self._complete(heads, np.argpartition(heads, -self._k)[-self._k :], start))
        reach = self._vectors.tail_norms[start : start + len(heads)] * self._tail_length
        reach += heads
        found = (reach >= self._threshold).nonzero()[0]
        if len(found):
            self._scores = np.concatenate((self._scores, self._complete(heads, found, start)))
            self.rows = np.concatenate((self.rows, found + start))
            self._keep_best()

    def _exclude(self, heads: Floats, start: int) -> None:
        first = bisect_left(self._excluded, start)
        last = bisect_left(self._excluded, start + len(heads), first)
        if first < last:
            heads[np.array(self._excluded[first:last]) - start] = -np.inf

    def _complete(self, heads: Floats, found: Rows, start: int) -> Floats:
        """The scores of the rows *found* in a block, counted from its *start*, tails included."""
        if 3 * len(found) > len(heads):  # reading all in order is faster than reading many here and there
            return np.asarray((heads + self._vectors.tails[start : start + len(heads)] @ self._tail)[found])
        return heads[found] + self._vectors.tails.take(found + start, axis=0) @ self._tail

    def _keep_best(self) -> None:
        if len(self._scores) >= self._k:
            self._raise_threshold(self._scores)
            kept = self._scores >= self._threshold
            self._scores, self.rows = self._scores[kept], self.rows[kept]

    def _raise_threshold(self, scores: Floats) -> None:
        """As there are rows of *scores*, a row below the k-th of them cannot be among the best k."""
        kth = len(scores) - self._k
        self._threshold = max(float(np.partition(scores, kth)[kth]) - self._rounding, LEAST)


def search_exactly(
    queries: Floats,
    vectors: RankingVectors,
    k: int,
    excluded: Sequence[Sequence[int]],
    blocked: Mask | None = None,
) -> Steps[list[Rows]]:
    """
    Find, for each query, every row that can be among its best *k* by inner product.

    Rows come by falling norm, so a query is done where |query| * |row| cannot reach its k-th score any more; and of
    the rows before that, the leading axes alone already rule out most. Queries are asked together, one matrix product
    for each block of rows, each query leaving when it is done; blocks grow, and end where the last query is done. A
    block is a step.

    Args:
        queries: float32, shape (n_queries, n_factors).
        vectors: what is searched.
        k: how many are wanted, 1 or more.
        excluded: for each query, the rows it must not be given, ascending.
        blocked: bool, shape (n_rows,). The rows that no query must be given; None where there are none.

    Returns:
        In steps. For each query int64 row numbers in no order: at least its best *k* and those tied with them up to
        rounding, or all rows that are neither excluded nor blocked where there are no more than *k*.
    """
    if not len(vectors):
        return [NO_ROWS] * len(queries)
    pools = [_Pool(query, vectors, k, rows) for query, rows in zip(queries, excluded, strict=True)]
    heads = np.ascontiguousarray(queries[:, : vectors.heads.shape[1]])
    ends = [len(vectors)] * len(pools)
    active, start, size = list(range(len(pools))), 0, FIRST_BLOCK_ROWS
    while active:
        stop = min(start + size, max(ends[query] for query in active))
        block = vectors.heads[start:stop]
        products = heads[active] @ block.T if len(active) > 1 else (block @ heads[active[0]])[None]
        if blocked is not None:
            products[:, blocked[start:stop]] = -np.inf
        for query, scores in zip(active, products, strict=True):
            pools[query].add(scores, start)
            ends[query] = pools[query].end()
        active, start = [query for query in active if ends[query] > stop], stop
        size = min(4 * size, STEP_ROWS, max(FIRST_BLOCK_ROWS, BLOCK_PRODUCTS // max(len(active), 1)))
        yield
    return [pool.rows for pool in pools]


def search_neighbours_exactly(
    queries: Floats, vectors: Floats, k: int, block_rows: int = BLOCK_ROWS, blocked: Mask | None = None
) -> Rows:
    """
    Find the *k* rows of highest cosine to each query by looking at every row.

    Args:
        queries: float32, shape (n_queries, n_factors).
        vectors: float32, shape (n_rows, n_factors).
        k: how many are wanted, at most as many as are not blocked.
        block_rows: rows per matrix product.
        blocked: bool, shape (n_rows,). The rows that must not be found; None where there are none.

    Returns:
        int64, shape (n_queries, k), nearest first.
    """
    best = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), block_rows):
        block = vectors[start : start + block_rows]
        # Dividing the products is less work than dividing the vectors, of which there would have to be a copy.
        norms = np.sqrt(np.vecdot(block, block))
        cosines = queries @ block.T / np.where(norms > 0, norms, 1)
        if blocked is not None:
            cosines[:, blocked[start : start + block_rows]] = -np.inf
        kept = np.argpartition(-cosines, min(k, cosines.shape[1]) - 1, axis=1)[:, :k]
        best = np.concatenate((best, np.take_along_axis(cosines, kept, 1)), axis=1)
        rows = np.concatenate((rows, kept + start), axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return rows


def unit(vectors: Floats) -> Floats:
    """float32, same shape: each row divided by its Euclidean norm; a row of zeros stays as it is."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


class NeighbourIndex:
    """An Annoy index over unit vectors, memory-mapped from one file."""

    METRIC: Literal["angular"] = "angular"

    def __init__(self, path: Path, n_factors: int):
        """
        Open the index in *path*, built over vectors of *n_factors*.

        Raises:
            OSError: the file is missing or its size does not fit *n_factors*.
        """
        self._index = AnnoyIndex(n_factors, self.METRIC)
        self._index.load(str(path))
        self._closed, self._closing = False, Lock()

    def close(self) -> None:
        """Unmap the file, as soon as no audit is in the midst of a search; once more does nothing."""
        with self._closing:
            self._closed = True
            self._index.unload()

    @classmethod
    def build(cls, path: Path, vectors: Floats, n_trees: int, seed: int) -> Self:
        """
        Build the index of *vectors* straight into the file *path* and open it.

        Args:
            path: the file to write; it must not exist.
            vectors: float32, shape (n_rows, n_factors); their lengths do not matter.
            n_trees: more trees find more of the true neighbours and take more room.
            seed: of the random splits.

        Raises:
            OSError: the file cannot be written.
        """
        n_rows, n_factors = vectors.shape
        index = AnnoyIndex(n_factors, cls.METRIC)
        try:
            index.set_seed(seed)
            for start in range(0, n_rows, BLOCK_ROWS):
                for row, vector in enumerate(unit(vectors[start : start + BLOCK_ROWS]).tolist(), start):
                    index.add_item(row, vector)
            index.build(n_trees)
            index.save(str(path))
        except Exception as error:  # Annoy raises no class of its own
            raise OSError(EIO, f"Annoy could not write it: {error}", str(path)) from error
        index.unload()
        path.chmod(0o644)  # Annoy lets its owner alone read; the service may run as another user than the trainer
        return cls(path, n_factors)

    def __len__(self) -> int:
        return int(self._index.get_n_items())

    @property
    def n_trees(self) -> int:
        return int(self._index.get_n_trees())

    def search(self, query: Floats, k: int, effort: int) -> Rows:
        """
        Find about the *k* nearest rows to *query*.

        Args:
            query: float32, shape (n_factors,).
            k: how many are wanted.
            effort: how many rows to look at, over all trees (Annoy's `search_k`).

        Returns:
            int64, at most *k* rows, nearest first.

        Raises:
            ModelClosed: the index was closed.
        """
        if self._closed:  # Annoy would find nothing, as if there were nothing
            raise ModelClosed("the index of neighbours was closed")
        return np.asarray(self._index.get_nns_by_vector(query.tolist(), k, effort), np.int64)

    def recall(self, vectors: Floats, queries: Rows, truth: Rows, effort: int) -> float:
        """
        The share of *truth*, the exact neighbours of the rows *queries* of *vectors*, that a search finds.

        A row as near as the last of them is as good: tracks that only ever occur together lie in one direction, and
        which of them an exact search names is chance.
        """
        k, hits = truth.shape[1], 0
        for query, last in zip(queries, truth[:, -1], strict=True):
            found = self.search(vectors[query], k, effort)
            hits += _count_hits(vectors, unit(vectors[query]), found, last)
        return hits / truth.size

    def audit(self, vectors: Floats, query: Floats, seeds: Sequence[int], k: int, effort: int) -> tuple[int, int]:
        """
        Compare one search with an exact one; another thread than the one that searches and closes may do so.

        Args:
            vectors: float32, shape (n_rows, n_factors), those that the index was built from.
            query: float32, shape (n_factors,), a unit vector.
            seeds: rows that are no answer.
            k: how many neighbours are compared.
            effort: of the search.

        Returns:
            How many there are to be found, at most *k*, and how many of them the search finds; a row as near as the
            last of them is as good, as in `recall`.

        Raises:
            ModelClosed: the index was closed.
        """
        wanted = min(k + len(seeds), len(vectors))
        with self._closing:  # an index that is unmapped in the midst of a search ends the process
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

        The rows that are asked are drawn by popularity, as listeners ask: the popular lie where there are many others,
        and their neighbours are harder to find.

        Args:
            vectors: float32, shape (n_rows, n_factors), those that the index was built from.
            popularity: int32, shape (n_rows,). How often each is asked, in proportion; 0 counts as 1.
            target: wanted recall against exact search, 0 to 1.
            k: how many neighbours are compared.
            seed: of the sample of rows that are asked.
            n_queries: size of that sample.

        Returns:
            The effort and its recall, which may be below *target*: the effort ends at a hundred rows a tree for each
            neighbour.
        """
        n_rows = len(vectors)
        if not n_rows:
            return k, 1.0
        asked = np.maximum(popularity, 1) / np.maximum(popularity, 1).sum()
        queries = np.random.default_rng(seed).choice(n_rows, min(n_queries, n_rows), replace=False, p=asked)
        truth = search_neighbours_exactly(unit(vectors[queries]), vectors, min(k, n_rows))
        limit = min(n_rows, 100 * k) * self.n_trees
        effort = float(k)
        recall = self.recall(vectors, queries, truth, k)
        while effort < limit and recall < target:
            effort = min(effort * 2**0.5, limit)
            recall = self.recall(vectors, queries, truth, round(effort))
        return round(effort), round(recall, 4)


def _count_hits(vectors: Floats, query: Floats, found: Rows, last: int) -> int:
    """How many of the rows *found* are as near to *query*, a unit vector, as the row *last*."""
    cosines = unit(vectors[np.append(found, last)]) @ query
    return int((cosines[:-1] >= cosines[-1] - TIE).sum())
