"""Exact search: by inner product for continuations, by cosine as the reference for approximate neighbours."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import neg
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.engine.codes import Codes, encode

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEAST = float(np.finfo(np.float32).min)
EPSILON = float(np.finfo(np.float32).eps)
NEVER = int(np.iinfo(np.int32).min)  # the product of a row that must not be found
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


@dataclass(frozen=True)
class RankingVectors:
    """
    The vectors z that rank continuations, by falling norm.

    Attributes:
        parts: float32, shape (n_rows, n_axes) each. Their axes, in one array or, as format 3 has them, in two.
        norms: float32, shape (n_rows,). |z|, falling.
        codes: their codes.
    """

    parts: Sequence[Floats]
    norms: Floats
    codes: Codes

    @classmethod
    def of(cls, vectors: Floats) -> Self:
        """Return *vectors*, float32, shape (n_rows, n_factors), which are in the order described above."""
        norms = np.linalg.norm(vectors, axis=1)
        return cls([vectors], norms, Codes.of([vectors], norms))

    def __len__(self) -> int:
        return len(self.norms)

    def take(self, rows: Rows) -> Floats:
        """Return the vectors of *rows*, float32, shape (n_rows, n_factors)."""
        return np.hstack([part.take(rows, axis=0) for part in self.parts])

    def score(self, rows: Rows, query: Floats) -> Floats:
        """
        Return the scores of *rows* that an answer contains.

        Each score is a dot product of its own. So it does not depend on the other rows or on the other playlists of
        the batch; a matrix product does not promise that.

        Returns:
            float32, shape (n_rows,).
        """
        scores, start = np.zeros(len(rows), np.float32), 0
        for part in self.parts:
            scores += np.vecdot(part.take(rows, axis=0), query[start : start + part.shape[1]])
            start += part.shape[1]
        return scores


class _Best:
    """The best rows that one query has met so far, and the score that a further row has to reach."""

    def __init__(self, query: Floats, code: NDArray[np.int8], step: float, vectors: RankingVectors, k: int):
        self._query, self._vectors, self._k = query, vectors, k
        self._length, self._threshold = float(np.linalg.norm(query)), LEAST
        self.rows, self.scores = NO_ROWS, np.empty(0, np.float32)
        # By codes, a score errs by the error of the row and by that of the query; floats are rounded on both sides.
        codes, n_factors = vectors.codes, len(query)
        longest = vectors.norms[codes.shells[:-1]].astype(np.float64)
        lost = np.linalg.norm(query - np.float32(step) * code) + 4 * n_factors * EPSILON * self._length
        self._error = codes.errors * self._length + longest * lost
        self._scale = codes.steps.astype(np.float64) * step

    def end(self) -> int:
        """Return the first row at which |query| * |row| cannot reach the threshold any more."""
        if self._threshold <= 0:
            return len(self._vectors)
        # The norms fall. `searchsorted` on their reverse would copy them each time. A score may be rounded up.
        least = self._threshold * (1 - len(self._query) * EPSILON)
        return bisect_right(self._vectors.norms, -least / self._length, key=neg)

    def add(self, products: Ints, start: int) -> None:
        """
        Consider the block of rows that begins at *start*, by the *products* of their codes with that of the query.

        Only a row whose product is within its error of the threshold can be one of the best, so only a few rows have
        their scores computed.
        """
        stop = start + len(products)
        if self._threshold == LEAST and len(products) > self._k:
            likely = np.argpartition(products * self._vectors.codes.of_each(self._scale, start, stop), -self._k)
            likely = likely[-self._k :]
            self._raise_threshold(self._vectors.score(likely[products[likely] > NEVER] + start, self._query))
        least = np.ceil((self._threshold - self._error) / self._scale).clip(NEVER + 1, -NEVER - 1).astype(np.int32)
        found = (products >= self._vectors.codes.of_each(least, start, stop)).nonzero()[0] + start
        if len(found):
            self.scores = np.concatenate((self.scores, self._vectors.score(found, self._query)))
            self.rows = np.concatenate((self.rows, found))
            self._raise_threshold(self.scores)
            kept = self.scores >= self._threshold
            self.scores, self.rows = self.scores[kept], self.rows[kept]

    def _raise_threshold(self, scores: Floats) -> None:
        """Raise the threshold to the k-th of *scores*, if there are so many: a lower one is not among the best k."""
        if len(scores) >= self._k:
            kth = len(scores) - self._k
            self._threshold = max(float(np.partition(scores, kth)[kth]), self._threshold)


def search_exactly(
    queries: Floats,
    vectors: RankingVectors,
    k: int,
    excluded: Sequence[Sequence[int]],
    blocked: Mask | None = None,
    blocks: Blocks = BLOCKS,
) -> list[tuple[Rows, Floats]]:
    """
    Find, for each query, every row that can be among its best *k* by inner product.

    Rows come by falling norm, so a query ends at the row where |query| * |row| cannot reach its k-th score any more.
    Of the rows before that, their codes rule out most. All queries share one product of codes for each block of rows,
    and each leaves at its own end.

    Args:
        queries: float32, shape (n_queries, n_factors).
        vectors: the rows to search.
        k: number of wanted rows, 1 or more.
        excluded: for each query, the rows that it must not get, ascending.
        blocked: bool, shape (n_rows,). The rows that no query must get; None for none.
        blocks: the sizes of the blocks; they change the time and not the best *k*.

    Returns:
        For each query, int64 row numbers in no order, and their scores: its best *k* and those that are tied with the
        last of them. If *k* rows or fewer are neither excluded nor blocked, all of those.
    """
    if blocked is not None and len(blocked) - np.count_nonzero(blocked) <= blocks.first:
        return [
            _score_all(query, vectors, k, np.flatnonzero(~blocked), rows)
            for query, rows in zip(queries, excluded, strict=True)
        ]
    codes, steps = encode(queries)
    best = [
        _Best(query, code, step, vectors, k) for query, code, step in zip(queries, codes, steps.tolist(), strict=True)
    ]
    ends = [len(vectors)] * len(best)
    active, start, size = list(range(len(best))) if len(vectors) else [], 0, blocks.first
    while active:
        stop = min(start + size, max(map(ends.__getitem__, active)))
        products = vectors.codes.multiply(start, stop, codes[active])
        if blocked is not None:
            products[:, blocked[start:stop]] = NEVER
        for query, of_query in zip(active, products, strict=True):
            of_query[_within(excluded[query], start, stop)] = NEVER
            best[query].add(of_query, start)
            ends[query] = best[query].end()
        active, start = [query for query in active if ends[query] > stop], stop
        size = min(4 * size, blocks.largest, max(blocks.first, blocks.products // max(len(active), 1)))
    return [(each.rows, each.scores) for each in best]


def _score_all(
    query: Floats, vectors: RankingVectors, k: int, rows: Rows, excluded: Sequence[int]
) -> tuple[Rows, Floats]:
    """Return the best *k* of *rows* and their scores, as `search_exactly` does: for a few, codes save nothing."""
    rows = rows[~np.isin(rows, excluded)]
    scores = vectors.score(rows, query)
    if len(rows) > k:
        kept = scores >= np.partition(scores, len(rows) - k)[len(rows) - k]
        rows, scores = rows[kept], scores[kept]
    return rows, scores


def _within(rows: Sequence[int], start: int, stop: int) -> list[int]:
    """Return the places, counted from *start*, of those of *rows*, which ascend, up to *stop*."""
    first = bisect_left(rows, start)
    return [row - start for row in rows[first : bisect_left(rows, stop, first)]]


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
