"""Recommendations: the options of a question, and the answer."""

from dataclasses import dataclass
from typing import Literal

from service.engine.items import Items, Kind, ScoredItem
from service.engine.seeds import Seeds, Unknown

Strategy = Literal["ranked", "fold-in", "popular"]


@dataclass(frozen=True)
class Options:
    """
    The options of a recommendation. Later options, such as filters, belong here.

    Attributes:
        k: number of items for each playlist, 1 or more.
        kind: the kind of the items; None for the recommender's own kind.
        rank: whether the ranker orders the items, if the version has one for their kind.
    """

    k: int = 100
    kind: Kind | None = None
    rank: bool = True


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
        """The parts of the playlist that the catalogue does not know."""
        return self.seeds.unknown
