"""Held-out playlists through any recommender: measures by category, and how sure their differences are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Recommender
from trainer import metrics
from trainer.baselines import Continuer
from trainer.challenge import ANSWER_TRACKS, CATEGORIES, LISTENING, Task, category_name, playlists
from trainer.progress import progress

BATCH = 64
RESAMPLES = 2000
FIRST = 10  # what a listener sees at once

TITLE_ONLY = next(index for index, category in enumerate(CATEGORIES) if not category.seeds)

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


class Segue:
    """A recommender of the engine as one that answers tasks."""

    def __init__(self, recommender: Recommender):
        self._recommender = recommender

    def recommend(self, tasks: Sequence[Task], k: int) -> list[list[str]]:
        asked = playlists(self._recommender, tasks)
        if tasks[0].kind == "tracks":
            return [[track.id for track in answer.found] for answer in self._recommender.recommend(asked, k)]
        return [[artist.id for artist in answer.found] for answer in self._recommender.recommend_artists(asked, k)]


@dataclass(frozen=True)
class Scores:
    """
    How well one recommender answered.

    Attributes:
        categories: int, shape (n_tasks,). The category of each task.
        values: float64, shape (n_tasks,), for each measure: the challenge's, or for listeners NDCG, R-precision and
            what the first ten are worth.
        coverage: by category, and 'all': the share of the catalogue's tracks or artists that any answer holds.
    """

    categories: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    coverage: Mapping[str, float]

    def table(self) -> dict[str, dict[str, float]]:
        """The mean of each measure, and the coverage, by category and in all."""
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
    """What two recommenders differ by on the same tasks, and its 95 % interval; a format is that of each number."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: the scores of each recommender by name, Segue first."""

    scores: dict[str, Scores]
    seed: int

    def __str__(self) -> str:
        tables = [format_table(name, scores.table()) for name, scores in self.scores.items()]
        return "\n\n".join([*tables, self._ratios()])

    def _ratios(self) -> str:
        (_, ours), *others = self.scores.items()
        measures = [measure for measure in ("ndcg_at_10", "ndcg", "r_precision") if measure in ours.values]
        title_only = ours.categories == TITLE_ONLY
        headings = [HEADINGS[measure] for measure in measures] + ["R-prec, title only"] * bool(title_only.any())
        lines = [f"{'segue / ...':<14}" + "".join(f"{heading:>26}" for heading in headings)]
        for name, theirs in others:
            ratios = [ratio(ours.values[measure], theirs.values[measure], self.seed) for measure in measures]
            if title_only.any():
                precision = ours.values["r_precision"][title_only], theirs.values["r_precision"][title_only]
                ratios.append(ratio(*precision, self.seed))
            lines.append(f"  {name:<12}" + "".join(f"{found:.3f}".rjust(26) for found in ratios))
        return "\n".join(
            [*lines, "each ratio of means with its 95 % interval by a paired bootstrap over the playlists"]
        )


def ask(continuer: Continuer, tasks: Sequence[Task], name: str, k: int = ANSWER_TRACKS) -> list[list[str]]:
    """The answers of *continuer* to *tasks*, *k* tracks each, reporting progress."""
    answers: list[list[str]] = []
    with progress(len(tasks), name) as bar:
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            answers += continuer.recommend(batch, k)
            bar.update(len(batch))
    return answers


def score(tasks: Sequence[Task], answers: Sequence[Sequence[str]], artists: Mapping[str, str], n_items: int) -> Scores:
    """
    Measure *answers* to *tasks*.

    Args:
        tasks: what was asked, all of playlists or all of listeners, each with something held out.
        answers: the ids recommended for each, best first.
        artists: the artist of each track.
        n_items: the size of the catalogue that was recommended from.
    """
    categories = np.array([task.category for task in tasks], np.int64)
    pairs = [(answer, task.held_out) for answer, task in zip(answers, tasks, strict=True)]
    values = {"ndcg": [metrics.ndcg(*pair) for pair in pairs]}
    values["r_precision"] = [metrics.r_precision(*pair) for pair in pairs]
    if (categories == LISTENING).any():
        values["ndcg_at_10"] = [metrics.ndcg(answer[:FIRST], held_out) for answer, held_out in pairs]
        values["precision_at_10"] = [metrics.precision(answer[:FIRST], held_out) for answer, held_out in pairs]
    else:
        values["r_precision_artist"] = [metrics.r_precision_artist(*pair, artists) for pair in pairs]
        values["clicks"] = [metrics.clicks(*pair) for pair in pairs]
    arrays = {measure: np.array(found) for measure, found in values.items()}
    return Scores(categories, arrays, _coverage(categories, answers, n_items))


def ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int) -> Estimate:
    """The mean of *ours* by that of *theirs*, each float64, shape (n_tasks,), by a paired bootstrap over the tasks."""
    samples = _resamples(len(ours), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = ours[samples].mean(axis=1) / theirs[samples].mean(axis=1)
        value = float(ours.mean() / theirs.mean())
    known = ratios[~np.isnan(ratios)]  # a resample in which neither has anything has no ratio
    if not len(known):
        return Estimate(value, np.nan, np.nan)
    low, high = np.percentile(known, (2.5, 97.5), method="nearest")
    return Estimate(value, float(low), float(high))


def change(ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int) -> Estimate:
    """The difference of the means as a share of that of *theirs*, not 0; otherwise as `ratio`."""
    differences, before = ours - theirs, theirs.mean()
    low, high = np.percentile(differences[_resamples(len(ours), seed)].mean(axis=1), (2.5, 97.5))
    return Estimate(*(float(found / before) for found in (differences.mean(), low, high)))


def _resamples(n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))


def format_table(name: str, table: Mapping[str, Mapping[str, float]]) -> str:
    """*table*, as `Scores.table` gives it, for a person to read."""
    columns = {"playlists": "{:.0f}", "coverage": "{:.4f}", "clicks": "{:.2f}"}
    measures = [measure for measure in HEADINGS if measure in table["all"]]
    lines = [f"{name:<14}" + "".join(f"{HEADINGS[measure]:>14}" for measure in measures)]
    for category, row in table.items():
        cells = (columns.get(measure, "{:.4f}").format(row[measure]) for measure in measures)
        lines.append(f"  {category:<12}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def _coverage(categories: NDArray[np.int64], answers: Sequence[Sequence[str]], n_items: int) -> dict[str, float]:
    met: dict[str, set[str]] = {"all": set()}
    for category, answer in zip(categories, answers, strict=True):
        met.setdefault(category_name(category), set()).update(answer)
        met["all"].update(answer)
    return {name: len(tracks) / n_items for name, tracks in met.items()}
