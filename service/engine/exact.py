"""Exact search: by inner product for continuations, by cosine as the reference for approximate neighbours."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import neg
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEAST = float(np.finfo(np.float32).min)
NO_ROWS: Rows = np.empty(0, np.int64)


@dataclass(frozen=True)
class Blocks:
    """
    The sizes of the blocks of rows that `search_exactly` reads one after another.

    Attributes:
        first: rows of the first block; the following blocks grow fourfold.
        largest: most rows of a block.
        products: most inner products of a block over all queries, unless it has *first* rows.
    """

    first: int = 1 << 12
    largest: int = 1 << 16
    products: int = 1 << 20


BLOCKS = Blocks()


def ranking_vectors(vectors: Floats, track_artists: Ints, beta: float) -> Floats:
    """
    Return z_t = y_t + beta * y_artist(t), the vectors that rank tracks; z = y for a track without an artist.

    Args:
        vectors: float32, shape (n_features, n_factors). Tracks first, then artists.
        track_artists: int32, shape (n_tracks,). The artist's row of each track, -1 if it has none.
        beta: weight of the artist's vector.

    Returns:
        float32, shape (n_tracks, n_factors).
    """
    n_tracks = len(track_artists)
    ranking = vectors[:n_tracks].copy()
    known = track_artists >= 0
    ranking[known] += np.float32(beta) * vectors[n_tracks + track_artists[known]]
    return ranking


def head_length(n_factors: int) -> int:
    """Return the number of leading axes that a search reads first; `docs/decisions.md` compares other shares."""
    return (5 * n_factors + 7) // 8


def leading_axes(vectors: Floats) -> Floats:
    """
    Return the rotation after which the first axes of *vectors* carry the most of their length, the last the least.

    A rotation changes no inner product, and so no answer.

    Args:
        vectors: float32, shape (n_rows, n_factors).

    Returns:
        float32, shape (n_factors, n_factors), orthonormal. Rotate vectors by `vectors @ rotation`.
    """
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(axes[:, ::-1], np.float32)


@dataclass(frozen=True)
class RankingVectors:
    """
    The vectors z that rank continuations: rows by falling norm, axes by falling weight (see `leading_axes`).

    Attributes:
        heads: float32, shape (n_rows, n_head). The leading axes.
        tails: float32, shape (n_rows, n_factors - n_head). The other axes.
        norms: float32, shape (n_rows,). |z|, falling.
        tail_norms: float32, shape (n_rows,). The norm of each row of *tails*.
    """

    heads: Floats
    tails: Floats
    norms: Floats
    tail_norms: Floats

    @classmethod
    def split(cls, vectors: Floats) -> Self:
        """Split *vectors*, float32, shape (n_rows, n_factors), in the order of rows and axes described above."""
        n_head = head_length(vectors.shape[1])
        heads, tails = np.ascontiguousarray(vectors[:, :n_head]), np.ascontiguousarray(vectors[:, n_head:])
        return cls(heads, tails, np.linalg.norm(vectors, axis=1), np.linalg.norm(tails, axis=1))

    def __len__(self) -> int:
        return len(self.norms)

    def score(self, rows: Rows, query: Floats) -> Floats:
        """
        Return the scores of *rows* that an answer contains.

        Each score is a dot product of its own. So it does not depend on the other rows or on the other playlists of
        the batch; a matrix product does not promise that.

        Returns:
            float32, shape (n_rows,).
        """
        n_head = self.heads.shape[1]
        heads = np.vecdot(self.heads.take(rows, axis=0), query[:n_head])
        tails = np.vecdot(self.tails.take(rows, axis=0), query[n_head:])
        return np.asarray(heads + tails, np.float32)


class _Pool:
    """The best rows that one query has met so far, and the score that a further row has to reach."""

    def __init__(self, query: Floats, vectors: RankingVectors, k: int, excluded: Sequence[int]):
        self._tail = query[vectors.heads.shape[1] :]
        self._length, self._tail_length = float(np.linalg.norm(query)), np.linalg.norm(self._tail)
        self._vectors, self._k, self._excluded = vectors, k, excluded
        # Two ways to sum the same products differ by less than this margin.
        self._rounding = 2 * len(query) * float(np.finfo(np.float32).eps) * self._length * float(vectors.norms[0])
        self._threshold = LEAST
        self._scores, self.rows = np.empty(0, np.float32), NO_ROWS

    def end(self) -> int:
        """Return the first row at which |query| * |row| cannot reach the threshold any more."""
        if self._threshold <= 0:
            return len(self._vectors)
        # The norms fall. `searchsorted` on their reverse would copy them each time.
        return bisect_right(self._vectors.norms, -self._threshold / self._length, key=neg)

    def add(self, heads: Floats, start: int) -> None:
        """
        Consider the block of rows that begins at *start*. *heads* are its inner products on the leading axes.

        The rest of a row's score is at most |tail of query| * |tail of row|, so only a few rows need their tails read.
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
        """Return the scores, tails included, of the rows *found* in the block that begins at *start*."""
        if 3 * len(found) > len(heads):  # to read all in order is faster than to read many here and there
            return np.asarray((heads + self._vectors.tails[start : start + len(heads)] @ self._tail)[found])
        return heads[found] + self._vectors.tails.take(found + start, axis=0) @ self._tail

    def _keep_best(self) -> None:
        if len(self._scores) >= self._k:
            self._raise_threshold(self._scores)
            kept = self._scores >= self._threshold
            self._scores, self.rows = self._scores[kept], self.rows[kept]

    def _raise_threshold(self, scores: Floats) -> None:
        """Raise the threshold to the k-th of *scores*: a row below it cannot be among the best k."""
        kth = len(scores) - self._k
        self._threshold = max(float(np.partition(scores, kth)[kth]) - self._rounding, LEAST)


def search_exactly(
    queries: Floats,
    vectors: RankingVectors,
    k: int,
    excluded: Sequence[Sequence[int]],
    blocked: Mask | None = None,
    blocks: Blocks = BLOCKS,
) -> list[Rows]:
    """
    Find, for each query, every row that can be among its best *k* by inner product.

    Rows come by falling norm, so a query ends at the row where |query| * |row| cannot reach its k-th score any more.
    Of the rows before that, the leading axes alone rule out most. All queries share one matrix product for each block
    of rows, and each leaves at its own end.

    Args:
        queries: float32, shape (n_queries, n_factors).
        vectors: the rows to search.
        k: number of wanted rows, 1 or more.
        excluded: for each query, the rows that it must not get, ascending.
        blocked: bool, shape (n_rows,). The rows that no query must get; None for none.
        blocks: the sizes of the blocks; they change the time and not the best *k*.

    Returns:
        For each query, int64 row numbers in no order: its best *k*, rows tied with them up to rounding, and perhaps a
        few more. If *k* rows or fewer are neither excluded nor blocked, all of those.
    """
    if not len(vectors.norms):
        return [NO_ROWS] * len(queries)
    pools = [_Pool(query, vectors, k, rows) for query, rows in zip(queries, excluded, strict=True)]
    heads = np.ascontiguousarray(queries[:, : vectors.heads.shape[1]])
    ends = [len(vectors.norms)] * len(pools)
    active, start, size = list(range(len(pools))), 0, blocks.first
    while active:
        stop = min(start + size, max(map(ends.__getitem__, active)))
        block = vectors.heads[start:stop]
        products = heads[active] @ block.T if len(active) > 1 else (block @ heads[active[0]])[None]
        if blocked is not None:
            products[:, blocked[start:stop]] = -np.inf
        for query, scores in zip(active, products, strict=True):
            pools[query].add(scores, start)
            ends[query] = pools[query].end()
        active, start = [query for query in active if ends[query] > stop], stop
        size = min(4 * size, blocks.largest, max(blocks.first, blocks.products // max(len(active), 1)))
    return [pool.rows for pool in pools]


def search_neighbours_exactly(
    queries: Floats, vectors: Floats, k: int, block_rows: int = BLOCKS.first, blocked: Mask | None = None
) -> Rows:
    """
    Find the *k* rows of the highest cosine to each query by reading every row.

    Args:
        queries: float32, shape (n_queries, n_factors).
        vectors: float32, shape (n_rows, n_factors).
        k: number of wanted rows, at most the number of rows that are not blocked.
        block_rows: rows of one matrix product.
        blocked: bool, shape (n_rows,). The rows that must not be found; None for none.

    Returns:
        int64, shape (n_queries, k), nearest first.
    """
    best = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), block_rows):
        block = vectors[start : start + block_rows]
        # To divide the products is less work than to divide the vectors, which would need a copy.
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
    """Return *vectors*, float32, each row divided by its Euclidean norm; a row of zeros stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)
