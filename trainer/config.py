"""Every number of a training run, in one frozen place, with named profiles."""

from dataclasses import dataclass, field, fields
from typing import Any

from trainer.errors import BadConfig

# Far beyond any use, and far from where float32 ends.
MOST = 1e6


def _number(default: float, help_: str, low: float, high: float = MOST) -> Any:
    return field(default=default, metadata={"help": help_, "low": low, "high": high})


@dataclass(frozen=True)
class TrainingConfig:
    """
    The numbers of a training run; each changes answers, so each goes into the manifest.

    Raises:
        BadConfig: a number is out of its range.
    """

    factors: int = _number(128, "length of the vectors", 1, 4096)
    alpha: float = _number(20.0, "confidence in a feature of strength r is 1 + alpha * r", 0.0)
    regularization: float = _number(0.05, "lambda, the weight of short vectors", 1e-6)
    iterations: int = _number(8, "of alternating least squares", 1, 1000)
    beta: float = _number(0.2, "share of the artist's vector in a track's ranking vector", 0.0)
    artist_weight: float = _number(1.0, "strength of an artist, times log(1 + its tracks)", 0.0)
    title_weight: float = _number(1.0, "strength of a title and of each of its words", 0.0)
    gram_weight: float = _number(0.3, "strength of a title's 4-grams, as a share of title-weight", 0.0)
    trees: int = _number(50, "of each Annoy index", 1, 1000)
    neighbours: int = _number(20, "nearest rows on which an index's recall is measured", 1, 500)
    neighbour_recall: float = _number(0.97, "recall that an index is searched for", 0.0, 1.0)
    seed: int = _number(42, "of everything random", 0, 2**31 - 1)

    def __post_init__(self) -> None:
        for number in fields(self):
            value, low, high = getattr(self, number.name), number.metadata["low"], number.metadata["high"]
            if not low <= value <= high:
                raise BadConfig(f"{number.name} has to be between {low:g} and {high:g}; it is {value!r}")


SMALL = TrainingConfig(factors=64, trees=20)
FULL = TrainingConfig()
PROFILES = {"small": SMALL, "full": FULL}
