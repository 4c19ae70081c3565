"""Held-out playlists through any recommender: measures by category, and how sure their differences are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Recommender
from trainer import metrics
from trainer.baselines import Continuer
from trainer.challenge import ANSWER_TRACKS, CATEGORIES, Task, playlists
from trainer.progress import progress

BATCH = 64
RESAMPLES = 2000
MEASURES = ("r_precision", "r_precision_artist", "ndcg", "clicks")


class Segue:
    """A recommender of the engine as one that answers tasks."""

    def __init__(self, recommender: Recommender):
        self._recommender = recommender

    def recommend(self, tasks: Sequence[Task], k: int) -> list[list[str]]:
        found = self._recommender.recommend(playlists(self._recommender, tasks), k)
        return [[track.id for track in answer.tracks] for answer in found]


@dataclass(frozen=True)
class Scores:
    """
    How well one recommender answered.

    Attributes:
        categories: int, shape (n_tasks,). The category of each task.
        values: float64, shape (n_tasks,), for each of `MEASURES`.
        coverage: by category, and 'all': the share of the catalogue's tracks that any answer holds.
    """

    categories: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    coverage: Mapping[str, float]

    def table(self) -> dict[str, dict[str, float]]:
        """The mean of each measure, and the coverage, by category and in all."""
        rows = {"all": np.ones(len(self.categories), bool)}
        rows |= {CATEGORIES[index].name: self.categories == index for index in np.unique(self.categories)}
        return {
            name: {
                **{measure: float(values[chosen].mean()) for measure, values in self.values.items()},
                "coverage": self.coverage[name],
                "playlists": int(chosen.sum()),
            }
            for name, chosen in rows.items()
        }


@dataclass(frozen=True)
class Ratio:
    """The ratio of two means on the same tasks, with its 95 % interval by a paired bootstrap."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ask(continuer: Continuer, tasks: Sequence[Task], name: str, k: int = ANSWER_TRACKS) -> list[list[str]]:
    """The answers of *continuer* to *tasks*, *k* tracks each, reporting progress."""
    answers: list[list[str]] = []
    with progress(len(tasks), name) as bar:
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            answers += continuer.recommend(batch, k)
            bar.update(len(batch))
    return answers


def score(tasks: Sequence[Task], answers: Sequence[Sequence[str]], artists: Mapping[str, str], n_tracks: int) -> Scores:
    """
    Measure *answers* to *tasks*.

    Args:
        tasks: what was asked, each with at least one track held out.
        answers: the ids recommended for each, best first.
        artists: the artist of each track.
        n_tracks: the size of the catalogue that was recommended from.
    """
    categories = np.array([task.category for task in tasks], np.int64)
    pairs = [(answer, task.held_out) for answer, task in zip(answers, tasks, strict=True)]
    values = {
        "r_precision": [metrics.r_precision(*pair) for pair in pairs],
        "r_precision_artist": [metrics.r_precision_artist(*pair, artists) for pair in pairs],
        "ndcg": [metrics.ndcg(*pair) for pair in pairs],
        "clicks": [metrics.clicks(*pair) for pair in pairs],
    }
    return Scores(
        categories,
        {measure: np.array(values[measure]) for measure in MEASURES},
        _coverage(categories, answers, n_tracks),
    )


def ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int) -> Ratio:
    """The mean of *ours* by the mean of *theirs*, playlist by playlist the same, each float64, shape (n_tasks,)."""
    samples = np.random.default_rng(seed).integers(len(ours), size=(RESAMPLES, len(ours)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = ours[samples].mean(axis=1) / theirs[samples].mean(axis=1)
        value = float(ours.mean() / theirs.mean())
    known = ratios[~np.isnan(ratios)]  # a resample in which neither has anything has no ratio
    if not len(known):
        return Ratio(value, np.nan, np.nan)
    low, high = np.percentile(known, (2.5, 97.5), method="nearest")
    return Ratio(value, float(low), float(high))


def format_table(name: str, table: Mapping[str, Mapping[str, float]]) -> str:
    """*table*, as `Scores.table` gives it, for a person to read."""
    columns = {"playlists": "{:.0f}", "coverage": "{:.4f}", "clicks": "{:.2f}"}
    titles = ("r_precision", "r_precision_artist", "ndcg", "clicks", "coverage", "playlists")
    headings = ("R-prec", "R-prec+artist", "NDCG", "clicks", "coverage", "playlists")
    lines = [f"{name:<14}" + "".join(f"{heading:>14}" for heading in headings)]
    for category, row in table.items():
        cells = (columns.get(title, "{:.4f}").format(row[title]) for title in titles)
        lines.append(f"  {category:<12}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def _coverage(categories: NDArray[np.int64], answers: Sequence[Sequence[str]], n_tracks: int) -> dict[str, float]:
    met: dict[str, set[str]] = {"all": set()}
    for category, answer in zip(categories, answers, strict=True):
        met.setdefault(CATEGORIES[category].name, set()).update(answer)
        met["all"].update(answer)
    return {name: len(tracks) / n_tracks for name, tracks in met.items()}


def summarize(scores: Scores) -> dict[str, Any]:
    """The means over all tasks, for a manifest."""
    return scores.table()["all"]
