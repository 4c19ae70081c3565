"""Scores of answers by measure and category, and confidence intervals of their differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import metrics
from trainer.evaluation.tasks import LISTENING, TITLE_ONLY, Task, category_name

RESAMPLES = 2000
FIRST = 10  # the part of an answer that a listener sees first

HEADINGS = {
    "r_precision": "R-prec",
    "r_precision_artist": "R-prec+artist",
    "ndcg": "NDCG",
    "clicks": "clicks",
    "precision_at_10": "P@10",
    "ndcg_at_10": "NDCG@10",
    "coverage": "coverage",
    "playlists": "playlists",
}
FORMATS = {"playlists": "{:.0f}", "clicks": "{:.2f}"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """
    The scores of one recommender.

    Attributes:
        categories: int, shape (n_tasks,). The category of each task.
        values: float64, shape (n_tasks,), for each measure: those of the challenge, or for listeners NDCG and
            R-precision, with NDCG and precision of the first ten.
        coverage: the share of the catalogue that appears in any answer, by category and for 'all'.
    """

    categories: NDArray[np.int64]
    values: Mapping[str, Floats]
    coverage: Mapping[str, float]

    def table(self) -> dict[str, dict[str, float]]:
        """Return the mean of each measure, and the coverage, for 'all' and by category."""
        rows = {"all": np.ones(len(self.categories), bool)}
        rows |= {category_name(index): self.categories == index for index in np.unique(self.categories)}
        return {
            name: {
                **{measure: float(values[chosen].mean()) for measure, values in self.values.items()},
                "coverage": self.coverage[name],
                "playlists": int(chosen.sum()),
            }
            for name, chosen in rows.items()
        }


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; a format applies to each of the three numbers."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`: the scores of each recommender by name, Segue first."""

    scores: dict[str, Scores]
    seed: int

    def __str__(self) -> str:
        tables = [format_table(name, scores.table()) for name, scores in self.scores.items()]
        return "\n\n".join([*tables, self._ratios()])

    def _ratios(self) -> str:
        (_, ours), *others = self.scores.items()
        measures = [name for name in ("ndcg_at_10", "ndcg", "r_precision") if name in ours.values]
        compared = {HEADINGS[name]: (name, np.ones(len(ours.categories), bool)) for name in measures}
        title_only = ours.categories == TITLE_ONLY
        if title_only.any():
            compared["R-prec, title only"] = ("r_precision", title_only)
        lines = [f"{'segue / ...':<14}" + "".join(f"{heading:>26}" for heading in compared)]
        for name, theirs in others:
            ratios = (
                ratio(ours.values[measure][chosen], theirs.values[measure][chosen], self.seed)
                for measure, chosen in compared.values()
            )
            lines.append(f"  {name:<12}" + "".join(f"{found:.3f}".rjust(26) for found in ratios))
        return "\n".join([*lines, "ratios of means with 95 % intervals, by a paired bootstrap over the playlists"])


def score(tasks: Sequence[Task], answers: Sequence[Sequence[str]], artists: Mapping[str, str], n_items: int) -> Scores:
    """
    Measure *answers* to *tasks*.

    Args:
        tasks: all of playlists or all of listeners, each with hidden items.
        answers: the recommended ids for each task, best first.
        artists: the artist of each track.
        n_items: the size of the catalogue that was recommended from.
    """
    categories = np.array([task.category for task in tasks], np.int64)
    pairs = [(answer, task.hidden) for answer, task in zip(answers, tasks, strict=True)]
    values = {"ndcg": [metrics.ndcg(*pair) for pair in pairs]}
    values["r_precision"] = [metrics.r_precision(*pair) for pair in pairs]
    if (categories == LISTENING).any():
        values["ndcg_at_10"] = [metrics.ndcg(answer[:FIRST], hidden) for answer, hidden in pairs]
        values["precision_at_10"] = [metrics.precision(answer[:FIRST], hidden) for answer, hidden in pairs]
    else:
        values["r_precision_artist"] = [metrics.r_precision_artist(*pair, artists) for pair in pairs]
        values["clicks"] = [metrics.clicks(*pair) for pair in pairs]
    arrays = {measure: np.array(found) for measure, found in values.items()}
    return Scores(categories, arrays, _coverage(categories, answers, n_items))


def ratio(ours: Floats, theirs: Floats, seed: int) -> Estimate:
    """Divide the mean of *ours* by the mean of *theirs*, each shape (n_tasks,), with a paired bootstrap over tasks."""
    samples = _resamples(len(ours), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = ours[samples].mean(axis=1) / theirs[samples].mean(axis=1)
        value = float(ours.mean() / theirs.mean())
    known = ratios[~np.isnan(ratios)]  # a resample in which both means are 0 has no ratio
    if not len(known):
        return Estimate(value, np.nan, np.nan)
    low, high = np.percentile(known, (2.5, 97.5), method="nearest")
    return Estimate(value, float(low), float(high))


def relative_change(ours: Floats, theirs: Floats, seed: int) -> Estimate:
    """Return the difference of the means relative to that of *theirs*, which is not 0; see `ratio`."""
    differences, before = ours - theirs, theirs.mean()
    low, high = np.percentile(differences[_resamples(len(ours), seed)].mean(axis=1), (2.5, 97.5))
    return Estimate(*(float(found / before) for found in (differences.mean(), low, high)))


def format_table(name: str, table: Mapping[str, Mapping[str, float]]) -> str:
    """Format a table as `Scores.table` returns it."""
    measures = [measure for measure in HEADINGS if measure in table["all"]]
    lines = [f"{name:<14}" + "".join(f"{HEADINGS[measure]:>14}" for measure in measures)]
    for category, row in table.items():
        cells = (FORMATS.get(measure, "{:.4f}").format(row[measure]) for measure in measures)
        lines.append(f"  {category:<12}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def _resamples(n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))


def _coverage(categories: NDArray[np.int64], answers: Sequence[Sequence[str]], n_items: int) -> dict[str, float]:
    met: dict[str, set[str]] = {"all": set()}
    for category, answer in zip(categories, answers, strict=True):
        met.setdefault(category_name(category), set()).update(answer)
        met["all"].update(answer)
    return {name: len(items) / n_items for name, items in met.items()}
