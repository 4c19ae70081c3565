"""The items that answers may contain: the blocklist and the filters of a request, as masks over the rows."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import Artifacts
from service.engine.catalogue import CATALOGUE
from service.engine.features import FeatureSpace
from service.engine.items import KINDS, Kind

Ints = NDArray[np.int32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Integer = TypeVar("Integer", bound=np.integer[Any])

FURTHER = 4  # times as many rows are read if too many of them are blocked


@dataclass(frozen=True)
class Allowed:
    """
    The allowed items of one kind.

    Attributes:
        ranked: int32, shape (n_rows,). All rows, the most popular first, then by id.
        blocked: bool, shape (n_rows,). The blocked rows; None if none is blocked, which costs no look-up.
    """

    ranked: Ints
    blocked: Mask | None = None

    def but(self, blocked: Mask) -> "Allowed":
        """Return the items of these that are not *blocked*, bool, shape (n_rows,), either."""
        return Allowed(self.ranked, blocked if self.blocked is None else self.blocked | blocked)

    def only(self, rows: Sequence[int]) -> "Allowed":
        """Return the items of these that are among *rows*."""
        others = np.ones(len(self.ranked), np.bool_)
        others[rows] = False
        return self.but(others)

    @cached_property
    def n_blocked(self) -> int:
        """The number of blocked rows."""
        return 0 if self.blocked is None else int(np.count_nonzero(self.blocked))

    def __len__(self) -> int:
        return len(self.ranked) - self.n_blocked

    def among(self, rows: NDArray[Integer]) -> NDArray[Integer]:
        """Return the allowed ones of *rows*, in their order."""
        return rows if self.blocked is None else rows[~self.blocked[rows]]

    def first(self, rows: Iterable[int], k: int) -> list[int]:
        """Return the first *k* allowed ones of *rows*; the iterable is read no further than that."""
        blocked = self.blocked
        return list(islice(rows if blocked is None else (row for row in rows if not blocked[row]), k))

    def most_popular(self, k: int) -> Ints:
        """Return the *k* most popular items, int32; all if there are fewer."""
        size, wanted = k, min(k, len(self))
        while len(found := self.among(self.ranked[:size])) < wanted:
            size *= FURTHER
        return found[:k]


NOTHING: Mapping[Kind, Allowed] = {kind: Allowed(np.empty(0, np.int32)) for kind in KINDS}


def allow_all(artifacts: Artifacts) -> dict[Kind, Allowed]:
    """Allow every item."""
    return {kind: Allowed(artifacts.candidates[kind].popular) for kind in KINDS}


def allow_all_but(artifacts: Artifacts, ids: Collection[str]) -> dict[Kind, Allowed]:
    """
    Allow every item but the tracks and artists with these *ids* and the tracks of those artists.

    The ids are looked up through a connection of its own, so another thread may use the catalogue meanwhile.

    Raises:
        CorruptModel: the files of the version are gone.
    """
    blocked = _find(artifacts, set(ids))
    blocked["tracks"] |= tracks_of(np.flatnonzero(blocked["artists"]), artifacts.space)
    every = allow_all(artifacts)
    return {kind: every[kind].but(mask) if mask.any() else every[kind] for kind, mask in blocked.items()}


def tracks_of(artists: Sequence[int] | Rows, space: FeatureSpace) -> Mask:
    """Return whether each track is by one of *artists*, bool, shape (n_tracks,)."""
    chosen = np.zeros(space.n_artists + 1, np.bool_)  # a track without an artist has artist row -1, the last element
    chosen[artists] = True
    return chosen[space.track_artists]


def _find(artifacts: Artifacts, ids: Collection[str]) -> dict[Kind, Mask]:
    masks: dict[Kind, Mask] = {}
    with closing(type(artifacts.catalogue).open(artifacts.directory / CATALOGUE)) as catalogue:
        for kind in KINDS:
            masks[kind] = np.zeros(len(artifacts.candidates[kind].popular), np.bool_)
            masks[kind][catalogue.rows_of_ids(kind, ids)] = True
    return masks
