"""What must never be returned, whatever is asked: ids, as masks over the rows of one version."""

from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import KINDS, Artifacts, Kind, open_catalogue

Ints = NDArray[np.int32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Allowed:
    """
    What of one kind may be returned.

    Attributes:
        popular: int32, shape (n_allowed,). The rows that may be, the most popular first, then by id.
        blocked: bool, shape (n_rows,). The rows that may not; None where all may, which costs nothing to look at.
    """

    popular: Ints
    blocked: Mask | None = None

    @classmethod
    def but(cls, popular: Ints, blocked: Mask) -> Self:
        """All rows of *popular* but those of the mask *blocked*."""
        return cls(popular[~blocked[popular]], blocked) if blocked.any() else cls(popular)

    @property
    def n_blocked(self) -> int:
        return 0 if self.blocked is None else len(self.blocked) - len(self.popular)

    def among(self, rows: Rows) -> Rows:
        """Those of *rows* that may be returned, in their order."""
        return rows if self.blocked is None else rows[~self.blocked[rows]]

    def first(self, rows: Iterable[int], k: int) -> list[int]:
        """The first *k* of *rows* that may be returned; no more of them are taken than that needs."""
        blocked = self.blocked
        return list(islice(rows if blocked is None else (row for row in rows if not blocked[row]), k))


NOTHING: dict[Kind, Allowed] = {kind: Allowed(np.empty(0, np.int32)) for kind in KINDS}


def allow_all(artifacts: Artifacts) -> dict[Kind, Allowed]:
    """Everything may be returned."""
    return {kind: Allowed(artifacts.candidates[kind].popular) for kind in KINDS}


def allow_all_but(artifacts: Artifacts, ids: Collection[str]) -> dict[Kind, Allowed]:
    """
    Everything may be returned but the tracks and the artists with these *ids*, and the tracks of those artists.

    It looks the ids up through a connection of its own, so another thread may answer meanwhile.

    Raises:
        CorruptModel: the version's files went away.
    """
    blocked = _find(artifacts, set(ids))
    # Tracks without an artist have its row at -1, and so the last element of this.
    blocked["tracks"] |= np.append(blocked["artists"], False)[artifacts.space.track_artists]
    return {kind: Allowed.but(artifacts.candidates[kind].popular, mask) for kind, mask in blocked.items()}


def _find(artifacts: Artifacts, ids: Collection[str]) -> dict[Kind, Mask]:
    masks: dict[Kind, Mask] = {}
    with closing(open_catalogue(artifacts.directory)) as catalogue:
        for kind in KINDS:
            masks[kind] = np.zeros(len(artifacts.candidates[kind].popular), np.bool_)
            masks[kind][catalogue.rows_of_ids(kind, ids)] = True
    return masks
