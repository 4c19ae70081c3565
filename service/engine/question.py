"""Questions and answers: the options of a question, the question as rows of one version, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.engine.allowed import Allowed, Mask
from service.engine.controls import NO_CONTROLS, Controls
from service.engine.items import Items, Kind, ScoredItem
from service.engine.seeds import Seeds, Unknown

Strategy = Literal["ranked", "fold-in", "popular"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Weighted = tuple[NDArray[np.int32], NDArray[np.float32]]  # columns of features and their strengths


@dataclass(frozen=True)
class Options:
    """
    The options of a recommendation.

    Attributes:
        k: number of items for each playlist, 1 or more.
        kind: the kind of the items; None for the recommender's own kind.
        rank: whether the ranker orders the items, if the version has one for their kind.
        controls: wishes for the items beside their scores.
        explain: whether each item has its reasons.
        fields: names of the attributes that each item has.
    """

    k: int = 100
    kind: Kind | None = None
    rank: bool = True
    controls: Controls = NO_CONTROLS
    explain: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """
    A playlist to continue, as rows of one version.

    Attributes:
        kind: the kind of the answer.
        strategy: the strategy of the answer.
        seeds: the playlist.
        features: its features, columns ascending.
        barred: rows that the answer must not contain, ascending.
        allowed: the items that it may contain beside those.
    """

    kind: Kind
    strategy: Strategy
    seeds: Seeds
    features: Weighted
    barred: Sequence[int]
    allowed: Allowed

    def but(self, rows: NDArray[np.int64], blocked: Mask) -> "Question":
        """Return the question for further items than *rows* and than those of the mask *blocked*."""
        barred = np.union1d(self.barred, rows).astype(np.int64).tolist()
        allowed = self.allowed.but(blocked) if self.kind == "tracks" and blocked.any() else self.allowed
        return replace(self, barred=barred, allowed=allowed)


@dataclass(frozen=True)
class Recommendation:
    """
    The continuation of one playlist.

    Attributes:
        kind: the kind of the items.
        strategy: `popular` if nothing of the playlist is known, `ranked` if the ranker ordered the items, `fold-in` if
            the solve did.
        seeds: the playlist as rows, and the parts of it that the catalogue does not know.
        found: the items, best first. By the strategy `popular` an item's score is its popularity.
    """

    kind: Kind
    strategy: Strategy
    seeds: Seeds
    found: Items[ScoredItem]

    @property
    def unknown(self) -> Unknown:
        """The parts of the playlist, dislikes among them, that the catalogue does not know."""
        of_seeds, (tracks, artists) = self.seeds.unknown, self.seeds.unknown_dislikes
        return Unknown([*of_seeds.tracks, *tracks], [*of_seeds.artists, *artists], of_seeds.title)
