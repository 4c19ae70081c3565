"""The nearest neighbours of a direction, without the items that an answer must not contain."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.engine.allowed import FURTHER, Allowed
from service.engine.artifacts import Candidates
from service.engine.errors import PlaylistError, UnknownSeed
from service.engine.exact import search_neighbours_exactly

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SMALL = 16  # a share of the rows so small is read whole, and the index is not asked


def effort_of(candidates: Candidates, wanted: int) -> int:
    """Return the number of rows that the index has to look at for *wanted* of them."""
    return max(candidates.effort, min(wanted, len(candidates.index)) * candidates.index.n_trees)


def find_nearest(
    candidates: Candidates, allowed: Allowed, vectors: Floats, query: Floats, seeds: Sequence[int], k: int
) -> Rows:
    """Return the *k* rows nearest to *query* or a few more, without *seeds* and blocked rows; all rows if fewer."""
    index = candidates.index
    wanted = min(k + len(seeds), len(index))
    if allowed.blocked is not None and len(allowed) <= max(wanted * index.n_trees, len(index) // SMALL):
        rows = np.flatnonzero(~allowed.blocked)  # fewer than the index looks at
        return _without(rows[search_neighbours_exactly(query[None], vectors[rows], min(wanted, len(rows)))[0]], seeds)
    while len(rows := index.search(query, wanted, effort_of(candidates, wanted))) == wanted:
        found = _without(allowed.among(rows), seeds)
        if len(found) >= k or wanted == len(index):
            return found
        wanted = min(FURTHER * wanted, len(index))
        if wanted * index.n_trees > len(index):
            break  # an exact search looks at fewer rows
    # The loop also ends here if the trees of the index lead to the same few rows again and again.
    wanted = min(k + len(seeds), len(allowed))
    return _without(search_neighbours_exactly(query[None], vectors, wanted, blocked=allowed.blocked)[0], seeds)


def _without(rows: Rows, barred: Sequence[int]) -> Rows:
    return rows[~np.isin(rows, barred)]


def check_known(kind: str, rows: list[int], unknown: list[str]) -> list[int]:
    """
    Return the *rows* of the seeds of *kind*, ascending, so that their order does not change the rounding.

    Raises:
        UnknownSeed: some are unknown.
        PlaylistError: there are none.
    """
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnknownSeed(f"the catalogue does not know the {kind} {unknown[0]!r}{more}")
    if not rows:
        raise PlaylistError(f"at least one {kind} is needed to find its neighbours")
    return sorted(rows)
