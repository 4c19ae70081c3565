"""The comparison of a trained version with the published one, and the verdict on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.scores import Estimate, Scores, relative_change
from trainer.evaluation.tasks import Task

GATED = ("ndcg", "r_precision")
OVERLAPS = (10, 50, 100, 500)

# Below these shares of the published version's values, the data are broken rather than the model worse.
LEAST_CATALOGUE, LEAST_COVERAGE, LEAST_OF_QUALITY = 0.5, 0.5, 0.5
# Of the most popular ids of the published version, the share that a new version has to know. Of two samples of one
# world without a playlist in common, 300 playlists each, the second knew 94 % of them; 30 playlists each, 11 %.
MOST_POPULAR, LEAST_KNOWN = 1000, 0.1
EXAMPLES = 3
# A version measured on less than this share of the playlists of the version before keeps that version's quality.
LEAST_OF_PLAYLISTS = 0.5
# The least number of playlists to judge a version on.
ENOUGH_PLAYLISTS = 30

NO_CHANGE = Estimate(0.0, 0.0, 0.0)  # of a value that was 0 and cannot fall

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """
    The quality of a version as it was measured before publication; the manifest keeps it as `record`.

    Attributes:
        version: the version that was measured.
        playlists: the number of playlists.
        means, errors: the mean and the standard error of each measure of the gate.
    """

    version: str
    playlists: int
    means: Mapping[str, float]
    errors: Mapping[str, float]

    @classmethod
    def of(cls, version: str, scores: Scores) -> Self:
        values = {name: scores.values[name] for name in GATED}
        n = len(scores.categories)
        means = {name: float(found.mean()) for name, found in values.items()}
        return cls(version, n, means, {name: float(found.std() / n**0.5) for name, found in values.items()})


def quality_to_keep(own: Quality | None, before: Quality | None) -> Quality | None:
    """Return a version's *own* quality, or that of the version *before* it if that was measured on far more."""
    if own is None or before is None:
        return own or before
    return own if own.playlists >= LEAST_OF_PLAYLISTS * before.playlists else before


@dataclass(frozen=True)
class Answered:
    """
    The answers of one version to the tasks of the gate.

    Attributes:
        version: its name.
        n_items: the size of its catalogue of tracks or artists.
        answers: ids, best first, for each task.
        scores: the scores of the answers.
        quality: its quality before publication; None if it is unknown.
    """

    version: str
    n_items: int
    answers: Sequence[Sequence[str]]
    scores: Scores
    quality: Quality | None = None


@dataclass(frozen=True)
class Verdict:
    """
    The verdict of the gate.

    Attributes:
        passed: whether the trained version may be published.
        reason: the reason, in one line.
        against: the published version in the comparison; None if there was no comparison.
        playlists: the number of playlists in the comparison.
        changes: the change from the published version to the trained one, by measure.
        overlap: the share of the first k answers that both versions gave, by k.
    """

    passed: bool
    reason: str
    against: str | None = None
    playlists: int = 0
    changes: Mapping[str, Estimate] | None = None
    overlap: Mapping[int, float] | None = None


def find_broken(tasks: Sequence[Task], answers: Sequence[Sequence[str]], k: int, n_items: int) -> str | None:
    """
    Describe the first answer that breaks the contract: *k* distinct ids without seeds, or all if there are fewer.

    Returns:
        None if every answer is right.
    """
    for task, answer in zip(tasks, answers, strict=True):
        seeds = {seed.id for seed in task.seeds}
        if len(answer) < min(k, n_items - len(seeds)):
            return f"playlist {task.index} has {len(answer)} of {k} items"
        if len(set(answer)) < len(answer) or seeds.intersection(answer):
            return f"playlist {task.index} has a seed or a repeated item"
    return None


def find_collapse(trained_items: int, published_items: int) -> str | None:
    """Describe a catalogue of *trained_items* that is far smaller than *published_items*; None if it is not."""
    if trained_items < LEAST_CATALOGUE * published_items:
        return f"the catalogue fell from {published_items:,} to {trained_items:,}; are the data complete?"
    return None


def find_renaming(kind: str, before: Sequence[str], lost: Sequence[str], after: Sequence[str]) -> str | None:
    """
    Describe a catalogue that knows nearly no id of the published version, as if the ids were written otherwise.

    Args:
        kind: the items, `tracks` or `artists`.
        before: the most popular ids of the published version.
        lost: those of them that the trained version does not know.
        after: the most popular ids of the trained version.

    Returns:
        None if it knows enough of them.
    """
    n_known = len(before) - len(lost)
    if not before or n_known >= LEAST_KNOWN * len(before):
        return None
    there = set(before)
    olds, news = _examples(lost), _examples([id_ for id_ in after if id_ not in there])
    return (
        f"the new version knows {n_known:,} of the {len(before):,} most popular {kind} of the published one, which has "
        f"ids like {olds}; the ids of these data are like {news}; write them as before"
    )


def compare(trained: Answered, published: Answered, tolerance: float, seed: int) -> Verdict:
    """
    Compare *trained* with *published* on the same tasks, of playlists that neither version was trained on.

    Args:
        trained, published: their answers.
        tolerance: the relative fall of NDCG or R-precision that is accepted.
        seed: of the bootstrap.
    """
    changes = {name: _change(trained.scores.values[name], published.scores.values[name], seed) for name in GATED}
    fault = _fall(trained, published, changes, tolerance) or _collapse(trained, published)
    told = (
        f"NDCG {_mean(trained, 'ndcg'):.4f} against {_mean(published, 'ndcg'):.4f} of {published.version} "
        f"({changes['ndcg']:+.1%}) on {len(trained.answers):,} playlists"
    )
    return Verdict(
        passed=fault is None,
        reason=fault or told,
        against=published.version,
        playlists=len(trained.answers),
        changes=changes,
        overlap={k: _overlap(trained.answers, published.answers, k) for k in OVERLAPS},
    )


def compare_with_quality(trained: Answered, version: str, past: Quality, tolerance: float) -> Verdict:
    """
    Compare *trained* with the *past* quality of the published *version*, which has since been trained on the tasks.

    The past quality was mostly measured on the same playlists, but this is not guaranteed. So the interval of a change
    treats the two means as independent.
    """
    own = Quality.of(trained.version, trained.scores)
    for name in GATED:
        change = _change_of_means(own, past, name)
        if _fell(change, tolerance):
            return Verdict(
                False,
                f"{name} fell from the {past.means[name]:.4f} recorded for {past.version} to {own.means[name]:.4f} "
                f"({change:+.1%}) on {own.playlists:,} playlists; {tolerance:.1%} is tolerated",
                version,
            )
    told = f"NDCG {own.means['ndcg']:.4f} against the {past.means['ndcg']:.4f} recorded for {past.version}"
    return Verdict(True, f"{told}; {version} was trained on the playlists that are now held out", version)


def narrowed(trained: Answered, chosen: NDArray[np.bool_]) -> Answered:
    """Return *trained* with the answers to the *chosen* tasks alone: bool, shape (n_tasks,)."""
    answers = [answer for answer, keep in zip(trained.answers, chosen, strict=True) if keep]
    values = {name: values[chosen] for name, values in trained.scores.values.items()}
    scores = replace(trained.scores, categories=trained.scores.categories[chosen], values=values)
    return replace(trained, answers=answers, scores=scores)


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:EXAMPLES])) or "none"


def _mean(answered: Answered, measure: str) -> float:
    return float(answered.scores.values[measure].mean())


def _fell(change: Estimate, tolerance: float) -> bool:
    return change.value < -tolerance and change.high < 0


def _change_of_means(own: Quality, before: Quality, name: str) -> Estimate:
    mean = before.means[name]
    if not mean:
        return NO_CHANGE
    value = own.means[name] / mean - 1
    reach = 1.96 * (own.errors[name] ** 2 + before.errors[name] ** 2) ** 0.5 / mean
    return Estimate(value, value - reach, value + reach)


def _collapse(trained: Answered, published: Answered) -> str | None:
    """Describe a result that looks like broken data rather than a worse model."""
    distinct, before = (len({id_ for answer in version.answers for id_ in answer}) for version in (trained, published))
    if distinct < LEAST_COVERAGE * before:
        return f"coverage fell: the same playlists get {distinct:,} different ids instead of {before:,}"
    ndcg = _mean(published, "ndcg")
    recorded = published.quality.means["ndcg"] if published.quality else 0
    if recorded and len(published.answers) >= ENOUGH_PLAYLISTS and ndcg < LEAST_OF_QUALITY * recorded:
        return (
            f"the held-out playlists are not like those before: {published.version} has an NDCG of {ndcg:.4f} on them "
            f"and had {recorded:.4f} before; are the data sound?"
        )
    return None


def _fall(trained: Answered, published: Answered, changes: Mapping[str, Estimate], tolerance: float) -> str | None:
    for name, change in changes.items():
        if _fell(change, tolerance):
            return (
                f"{name} fell from {_mean(published, name):.4f} to {_mean(trained, name):.4f} ({change:+.1%}) on "
                f"{len(trained.answers):,} playlists that neither version was trained on; {tolerance:.1%} is tolerated"
            )
    return None


def _change(after: Floats, before: Floats, seed: int) -> Estimate:
    return relative_change(after, before, seed) if before.any() else NO_CHANGE


def _overlap(answers: Sequence[Sequence[str]], others: Sequence[Sequence[str]], k: int) -> float:
    shares = [
        len(set(answer[:k]) & set(other[:k])) / max(len(answer[:k]), 1)
        for answer, other in zip(answers, others, strict=True)
    ]
    return float(np.mean(shares))
