"""Every number of a training run, in one frozen place, with named profiles."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from service.engine import WEIGHTINGS, Weighting
from trainer.errors import BadConfig

# A fall of NDCG or R-precision up to this share is let pass, unless told otherwise.
TOLERANCE = 0.02

# Far beyond any use, and far from where float32 ends.
MOST = 1e6


def _number(default: float, help_: str, low: float, high: float = MOST) -> Any:
    return field(default=default, metadata={"help": help_, "low": low, "high": high})


@dataclass(frozen=True)
class TrainingConfig:
    """
    The numbers of a training run; each changes answers, so each goes into the manifest.

    Raises:
        BadConfig: a number is out of its range, or not a number.
    """

    factors: int = _number(128, "length of the vectors", 1, 4096)
    alpha: float = _number(24.0, "confidence in a feature of strength r is 1 + alpha * r", 0.0)
    regularization: float = _number(0.07, "lambda, the weight of short vectors", 1e-6)
    iterations: int = _number(8, "of alternating least squares, from nothing", 1, 1000)
    warm_iterations: int = _number(1, "of alternating least squares, from the published vectors", 1, 1000)
    beta: float = _number(0.24, "share of the artist's vector in a track's ranking vector", 0.0)
    artist_weight: float = _number(1.0, "strength of an artist, times f(its tracks or plays)", 0.0)
    title_weight: float = _number(0.45, "strength of a title and of each of its words", 0.0)
    gram_weight: float = _number(0.22, "strength of a title's 4-grams, as a share of title-weight", 0.0)
    weighting: Weighting = field(
        default="log", metadata={"help": "f, which makes counts strengths", "choices": WEIGHTINGS}
    )
    count_cap: float = _number(100_000.0, "a count beyond it counts as much as the cap", 1.0, 1e9)
    trees: int = _number(50, "of each Annoy index", 1, 1000)
    neighbours: int = _number(20, "nearest rows on which an index's recall is measured", 1, 500)
    neighbour_recall: float = _number(0.97, "recall that an index is searched for", 0.0, 1.0)
    seed: int = _number(42, "of everything random", 0, 2**31 - 1)

    def __post_init__(self) -> None:
        for number in fields(self):
            _check(number.name, getattr(self, number.name), number.default, number.metadata)


def _check(name: str, value: Any, default: Any, allowed: Mapping[str, Any]) -> None:
    if "choices" in allowed:
        if value not in allowed["choices"]:
            raise BadConfig(f"{name} has to be one of {', '.join(allowed['choices'])}; it is {value!r}")
        return
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise BadConfig(f"{name} has to be a {'whole ' if whole else ''}number; it is {value!r}")
    if not allowed["low"] <= value <= allowed["high"]:
        raise BadConfig(f"{name} has to be between {allowed['low']:g} and {allowed['high']:g}; it is {value!r}")


SMALL = TrainingConfig(factors=64, trees=20)
FULL = TrainingConfig()
LISTENING = TrainingConfig(alpha=5.0, regularization=100.0)
PROFILES = {"small": SMALL, "full": FULL, "listening": LISTENING}


def profile_of(config: TrainingConfig) -> str:
    """The name of the profile that *config* is, for a person."""
    return next((name for name, profile in PROFILES.items() if profile == config), "own numbers")


@dataclass(frozen=True)
class Configs:
    """
    What a run is configured with, before its data have been looked at.

    Attributes:
        playlists: where the data turn out to be playlists.
        listening: where they turn out to be what people listened to.
    """

    playlists: TrainingConfig
    listening: TrainingConfig

    @classmethod
    def of(cls, profile: str | None = None, numbers: Mapping[str, Any] | None = None) -> Self:
        """
        The profile called *profile*, or where none is named the one that fits the data, with some *numbers* changed.

        Raises:
            BadConfig: a number is out of its range.
        """
        names = (profile, profile) if profile else ("full", "listening")
        return cls(*(replace(PROFILES[name], **(numbers or {})) for name in names))

    @classmethod
    def always(cls, config: TrainingConfig) -> Self:
        """The same *config* for any data."""
        return cls(config, config)

    def fitting(self, listening: bool) -> TrainingConfig:
        """The config for data that are *listening* or not."""
        return self.listening if listening else self.playlists


def read_config(path: Path) -> dict[str, Any]:
    """
    The numbers in the TOML file *path*, as `tune` writes it: any of `TrainingConfig`'s, by their names.

    Raises:
        BadConfig: it is not TOML, or holds what is not a number of a training run.
        OSError: it cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not TOML: {error}") from error
    known = {number.name for number in fields(TrainingConfig)}
    for name in content:
        if name not in known:
            raise BadConfig(f"{path}: there is no number called {name!r}; there are: {', '.join(sorted(known))}")
    try:
        TrainingConfig(**content)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error
    return content


def format_config(config: TrainingConfig, comment: str) -> str:
    """*config* as `read_config` reads it, below *comment*, which may have several lines."""
    lines = [f"# {line}" for line in comment.splitlines()]
    values = asdict(config).items()
    lines += [f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value!r}" for name, value in values]
    return "\n".join(lines) + "\n"
