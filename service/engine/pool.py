"""
The pool: the candidates of a playlist that the ranker orders, with their inputs.

The neighbours of the playlist choose the candidates, and the solve cuts them to a fixed number. So nobody searches the
whole catalogue, unless the neighbours have too few items: then an exact search completes the pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.engine.exact import Mask, search_exactly
from service.engine.inputs import INPUTS, Candidates, Floats, ItemFacts, Query, Rows, describe, relative
from service.engine.playlists import BY_TITLES, NO_VOTES, Playlists, Votes
from service.engine.titles import Titles

# Items with the most votes whose scores by the solve are computed, and the candidates that are kept of them.
SCORED, POOLED = 2500, 1200

# The weight of the votes beside the solve in that choice, and of those by like titles beside the others.
VOTES_WEIGHT, TITLES_WEIGHT = 0.4, 4.0

# The least size of a pool, and of a search that completes it: the largest number of wanted items.
LEAST = 500


@dataclass(frozen=True)
class Pool:
    """
    The candidates of one playlist.

    Attributes:
        rows: int64, shape (n,).
        solve: float32, shape (n,). Their scores by the solve.
        inputs: float32, shape (n, n_inputs). The inputs of the ranker.
    """

    rows: Rows
    solve: Floats
    inputs: Floats


@dataclass(frozen=True)
class Pooling:
    """
    The choice of candidates from the items of one version.

    Attributes:
        facts: facts on all items.
        playlists: the kept playlists.
        n_neighbours: the number of neighbours that vote.
        titles: the titles of the kept playlists; None if they are not compared.
    """

    facts: ItemFacts
    playlists: Playlists
    n_neighbours: int
    titles: Titles | None

    def pool(
        self,
        query: Query,
        features: tuple[NDArray[np.int32], Floats],
        barred: Sequence[int],
        blocked: Mask | None,
        k: int,
    ) -> Pool:
        """
        Return the candidates of a playlist.

        Barred candidates are described with the others and left out afterwards, so that a caller who excludes the
        first page of an answer gets the second one. Only if few would be left are they barred from the start.

        Args:
            query: the playlist.
            features: its features and their strengths.
            barred: rows that must not be candidates, ascending, the seeds among them.
            blocked: bool, shape (n_items,). More of them; None for none.
            k: number of candidates that must be there if the catalogue has them.
        """
        votes = self.playlists.vote(*features, self.n_neighbours)
        alike = self._vote_by_title(query)
        found = self._found(query, votes, alike, sorted(query.seeds), None, k)
        left = _are_allowed(found.rows, barred, blocked)
        if left.sum() < max(k, len(left) // 2):
            found = self._found(query, votes, alike, barred, blocked, k)
            left = np.ones(len(found.rows), bool)
        if not len(found.rows):
            return Pool(found.rows, found.solve, np.empty((0, len(INPUTS)), np.float32))
        nearest, nearest_title = (of.similarities[0] if len(of.similarities) else 0.0 for of in (votes, alike))
        inputs = describe(query, found, nearest, nearest_title, self.facts)
        return Pool(found.rows[left], found.solve[left], inputs[left])

    def _vote_by_title(self, query: Query) -> Votes:
        """
        Return the votes of playlists with like titles for the items with the most of them.

        Beside known items they are not worth their time, so there are none.
        """
        if self.titles is None or not query.title or query.seeds or query.artists:
            return NO_VOTES
        votes = self.playlists.count(*self.titles.nearest(query.title), BY_TITLES)
        most = np.sort(_best(votes.sums, SCORED))
        return replace(votes, rows=votes.rows[most], sums=votes.sums[most])

    def _found(
        self, query: Query, votes: Votes, alike: Votes, barred: Sequence[int], blocked: Mask | None, k: int
    ) -> Candidates:
        """Return the best of the items with votes, and those of a search if they are few."""
        found = self._voted(query, votes, alike, barred, blocked)
        if len(found.rows) >= max(k, LEAST):
            return found
        rows = _union(found.rows, self._searched(query, barred, blocked, max(k, LEAST)))
        return self._candidates(query, rows, sums_of(rows, votes), sums_of(rows, alike))

    def _searched(self, query: Query, barred: Sequence[int], blocked: Mask | None, k: int) -> Rows:
        """Return the *k* best items by the solve; if it knows nothing of the playlist, the most popular ones."""
        if query.x.any():
            return search_exactly(query.x[None], self.facts.ranking, k, [barred], blocked)[0][0]
        everything = np.arange(len(self.facts.popularity))
        rows = everything[_are_allowed(everything, barred, blocked)]
        return rows[_best(np.asarray(self.facts.popularity[rows], np.float32), k)]

    def _voted(
        self, query: Query, votes: Votes, alike: Votes, barred: Sequence[int], blocked: Mask | None
    ) -> Candidates:
        """Return the best of the items with votes, ascending."""
        rows, by_votes, by_titles = votes.rows, votes.sums, np.zeros_like(votes.sums)
        if len(alike.rows):
            rows = _union(votes.rows, alike.rows)
            by_votes, by_titles = sums_of(rows, votes), sums_of(rows, alike)
        allowed = _are_allowed(rows, barred, blocked)
        rows, by_votes, by_titles = rows[allowed], by_votes[allowed], by_titles[allowed]
        sums: Floats = relative(by_votes) + np.float32(TITLES_WEIGHT) * relative(by_titles)
        most = np.sort(_best(sums, SCORED))
        # By codes, as these choose without a loss. The inputs of the ranker come from the vectors themselves.
        solve = self.facts.ranking.codes.products(rows[most], query.x)
        pooled = most[np.sort(_best(relative(solve) + np.float32(VOTES_WEIGHT) * sums[most], POOLED))]
        return self._candidates(query, rows[pooled], by_votes[pooled], by_titles[pooled])

    def _candidates(self, query: Query, rows: Rows, votes: Floats, by_title: Floats) -> Candidates:
        vectors = self.facts.ranking.take(rows)
        return Candidates(rows, vectors, np.vecdot(vectors, query.x), votes, by_title)


def sums_of(rows: Rows, votes: Votes) -> Floats:
    """Return the sums of the votes of *rows*, 0 for those without one."""
    if not len(votes.rows):
        return np.zeros(len(rows), np.float32)
    places = np.minimum(votes.rows.searchsorted(rows), len(votes.rows) - 1)
    return np.asarray(votes.sums[places] * (votes.rows[places] == rows), np.float32)


def _union(first: Rows, second: Rows) -> Rows:
    """Return the distinct rows of both, ascending (`np.union1d` takes ten times as long)."""
    rows = np.sort(np.concatenate((first, second)))
    return rows[np.diff(rows, prepend=-1) > 0]


def _are_allowed(rows: Rows, barred: Sequence[int], blocked: Mask | None) -> Mask:
    """Return whether each of *rows*, which ascend, may be in an answer."""
    allowed = np.ones(len(rows), bool)
    starts, stops = (rows.searchsorted(barred, side) for side in ("left", "right"))
    allowed[starts[stops > starts]] = False  # `np.isin` takes ten times as long
    return allowed if blocked is None else allowed & ~blocked[rows]


def _best(scores: Floats, n: int) -> Rows:
    """Return the places of the *n* highest of *scores*, in no order; of equal ones at the end, the first."""
    if len(scores) <= n:
        return np.arange(len(scores))
    last = np.partition(scores, len(scores) - n)[len(scores) - n]
    above, equal = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
    return np.concatenate((above, equal[: n - len(above)]))
