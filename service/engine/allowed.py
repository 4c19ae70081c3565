"""The items that answers may contain: the blocklist as masks over the rows of one version."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import Artifacts
from service.engine.catalogue import CATALOGUE
from service.engine.items import KINDS, Kind

Ints = NDArray[np.int32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Allowed:
    """
    The allowed items of one kind.

    Attributes:
        popular: int32, shape (n_allowed,). The allowed rows, the most popular first, then by id.
        blocked: bool, shape (n_rows,). The blocked rows; None if none is blocked, which costs no look-up.
    """

    popular: Ints
    blocked: Mask | None = None

    @classmethod
    def but(cls, popular: Ints, blocked: Mask) -> Self:
        """Allow all rows of *popular* but those of the mask *blocked*."""
        return cls(popular[~blocked[popular]], blocked) if blocked.any() else cls(popular)

    @property
    def n_blocked(self) -> int:
        """The number of blocked rows."""
        return 0 if self.blocked is None else len(self.blocked) - len(self.popular)

    def among(self, rows: Rows) -> Rows:
        """Return the allowed ones of *rows*, in their order."""
        return rows if self.blocked is None else rows[~self.blocked[rows]]

    def first(self, rows: Iterable[int], k: int) -> list[int]:
        """Return the first *k* allowed ones of *rows*; the iterable is read no further than that."""
        blocked = self.blocked
        return list(islice(rows if blocked is None else (row for row in rows if not blocked[row]), k))


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
    # A track without an artist has artist row -1, which is the last element of this mask.
    blocked["tracks"] |= np.append(blocked["artists"], False)[artifacts.space.track_artists]
    return {kind: Allowed.but(artifacts.candidates[kind].popular, mask) for kind, mask in blocked.items()}


def _find(artifacts: Artifacts, ids: Collection[str]) -> dict[Kind, Mask]:
    masks: dict[Kind, Mask] = {}
    with closing(type(artifacts.catalogue).open(artifacts.directory / CATALOGUE)) as catalogue:
        for kind in KINDS:
            masks[kind] = np.zeros(len(artifacts.candidates[kind].popular), np.bool_)
            masks[kind][catalogue.rows_of_ids(kind, ids)] = True
    return masks
