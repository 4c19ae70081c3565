"""The numbers of a training run, with named profiles."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from service.engine import Weighting
from trainer.errors import BadConfig

# The fall of NDCG or R-precision that the gate accepts by default, as a share.
TOLERANCE = 0.02

# The share of odd records in an input that is accepted by default.
MAX_ODD = 0.01

# Seconds from which a listen counts by default, as Spotify counts streams.
MIN_PLAYED_S = 30.0

# Percent of a track from which a listen counts by default, as Yambda's benchmark counts them.
MIN_PLAYED_PCT = 50.0

MOST = 1e6  # far beyond any use, and far below the limit of float32


@dataclass(frozen=True)
class ReadOptions:
    """
    The options of reading that hold for all inputs of a run.

    Attributes:
        columns: in tables, the column for a role (see `columns.NAMES`); other roles are found by name.
        max_odd: share of odd records, which are passed over, in an input, a file or a directory, from 0 to 1.
        min_played_s: seconds from which a listen counts, in histories that tell its length.
        min_played_pct: percent of a track from which a listen counts, in histories that tell it.
    """

    columns: Mapping[str, str] = Field(default_factory=dict)
    max_odd: float = MAX_ODD
    min_played_s: float = MIN_PLAYED_S
    min_played_pct: float = MIN_PLAYED_PCT


DEFAULTS = ReadOptions()


@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class TrainingConfig:
    """The numbers of a training run. Each changes the recommendations, so the manifest keeps them all."""

    factors: int = Field(default=128, ge=1, le=4096, description="length of the vectors")
    alpha: float = Field(default=24.0, ge=0, le=MOST, description="confidence is 1 + alpha * strength")
    regularization: float = Field(default=0.07, ge=1e-6, le=MOST, description="lambda, the penalty on long vectors")
    iterations: int = Field(default=8, ge=1, le=1000, description="iterations of ALS in a cold start")
    warm_iterations: int = Field(default=1, ge=1, le=1000, description="iterations of ALS in a warm start")
    beta: float = Field(default=0.24, ge=0, le=MOST, description="share of the artist's vector in that of a track")
    artist_weight: float = Field(
        default=1.0, ge=0, le=MOST, description="strength of an artist, times f(tracks or plays)"
    )
    title_weight: float = Field(default=0.45, ge=0, le=MOST, description="strength of a title and of each of its words")
    gram_weight: float = Field(
        default=0.22, ge=0, le=MOST, description="strength of 4-grams, as a share of title-weight"
    )
    weighting: Weighting = Field(default="log", description="f, the function from counts to strengths")
    count_cap: float = Field(default=100_000.0, ge=1, le=1e9, description="upper limit of a count")
    trees: int = Field(default=50, ge=1, le=1000, description="trees of each Annoy index")
    neighbours: int = Field(default=20, ge=1, le=500, description="neighbours for measuring the index recall")
    neighbour_recall: float = Field(default=0.97, ge=0, le=1, description="recall that the index search must reach")
    ranker_playlists: int = Field(
        default=5000, ge=0, le=1_000_000, description="playlists that the ranker learns from; 0 for no ranker"
    )
    ranker_networks: int = Field(default=3, ge=1, le=100, description="networks of the ranker, whose mean orders")
    ranker_steps: int = Field(
        default=4000, ge=1, le=10_000_000, description="steps of the optimiser for each network, in 4 to 20 passes"
    )
    kept_playlists: int = Field(
        default=100_000, ge=1, le=100_000_000, description="playlists that are kept as neighbours for the ranker"
    )
    postings: int = Field(default=500, ge=1, le=1_000_000, description="kept playlists of each track, artist and term")
    nearest: int = Field(default=100, ge=1, le=10_000, description="neighbours that vote for candidates of the ranker")
    title_axes: int = Field(
        default=64, ge=0, le=512, description="length of the vectors of titles by meaning; 0 to compare words alone"
    )
    seed: int = Field(default=42, ge=0, le=2**31 - 1, description="seed of all random numbers")

    def changed(self, numbers: Mapping[str, Any]) -> Self:
        """
        Return a copy with other *numbers*.

        Raises:
            BadConfig: a name is unknown, or a number is out of its range.
        """
        unknown = sorted(numbers.keys() - HELP.keys())
        if unknown:
            raise BadConfig(f"there is no number called {unknown[0]!r}; use one of: {', '.join(sorted(HELP))}")
        try:
            return replace(self, **numbers)
        except ValidationError as error:
            (first, *_) = error.errors()
            allowed = first["msg"].replace("Input", "it")
            raise BadConfig(f"{first['loc'][0]} is {first['input']!r}; {allowed}") from error

    def without_indexes(self) -> Self:
        """Return a copy for a version that is asked for no neighbours: its indexes take next to no time."""
        return replace(self, trees=1, neighbour_recall=0.0)


# The description of each number, by name.
HELP = {
    name: str(number["description"]) for name, number in TypeAdapter(TrainingConfig).json_schema()["properties"].items()
}

SMALL = TrainingConfig(factors=64, trees=20, ranker_playlists=1000)
FULL = TrainingConfig()
LISTENING = TrainingConfig(alpha=5.0, regularization=100.0, ranker_steps=16_000)
PROFILES = {"small": SMALL, "full": FULL, "listening": LISTENING}


def profile_of(config: TrainingConfig) -> str:
    """Return the name of the profile with the numbers of *config*."""
    return next((name for name, profile in PROFILES.items() if profile == config), "own numbers")


@dataclass(frozen=True)
class Configs:
    """
    The configurations of a run whose data are not known yet.

    Attributes:
        playlists: for playlists.
        listening: for listening histories.
    """

    playlists: TrainingConfig
    listening: TrainingConfig

    @classmethod
    def of(cls, profile: str | None = None, numbers: Mapping[str, Any] | None = None) -> Self:
        """
        Return the profile called *profile*, or the default ones for either kind of data, with some *numbers* changed.

        Raises:
            BadConfig: a number is out of its range.
        """
        names = (profile, profile) if profile else ("full", "listening")
        return cls(*(PROFILES[name].changed(numbers or {}) for name in names))

    @classmethod
    def always(cls, config: TrainingConfig) -> Self:
        """Return the same *config* for any data."""
        return cls(config, config)

    def for_data(self, listening: bool) -> TrainingConfig:
        """Return the config for *listening* histories, or for playlists."""
        return self.listening if listening else self.playlists


def read_config(path: Path) -> dict[str, Any]:
    """
    Read numbers of a `TrainingConfig` by name from the TOML file *path*, as `tune` writes it.

    Raises:
        BadConfig: the file is not TOML, a name is unknown, or a number is out of its range.
        OSError: the file cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        FULL.changed(content)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not TOML: {error}") from error
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error
    return content


def format_config(config: TrainingConfig, comment: str) -> str:
    """Format *config* for `read_config`, below *comment*, which may have several lines."""
    lines = [f"# {line}" for line in comment.splitlines()]
    values = asdict(config).items()
    lines += [f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value!r}" for name, value in values]
    return "\n".join(lines) + "\n"
