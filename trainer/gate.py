"""Whether a trained version may take the place of the published one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainer.challenge import Task
from trainer.evaluate import Estimate, Scores, change

GATED = ("ndcg", "r_precision")
OVERLAPS = (10, 50, 100, 500)

# Below these shares of what the published version has, something is wrong with the data rather than with the model.
LEAST_CATALOGUE, LEAST_COVERAGE, LEAST_OF_RECORD = 0.5, 0.5, 0.5
# A record of fewer playlists than this share of those of the one before does not take its place.
LEAST_OF_PLAYLISTS = 0.5
# So many playlists are needed to judge a version by itself, and not only beside another on the same playlists.
RECORD_PLAYLISTS = 30

NO_CHANGE = Estimate(0.0, 0.0, 0.0)  # of what was 0: nothing can fall

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Record:
    """
    What a version was measured at before it was published.

    Attributes:
        version: which one.
        playlists: on how many.
        means, errors: the mean of each measure of the gate, and its standard error.
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

    def content(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return asdict(self)


def keep_record(own: Record | None, before: Record | None) -> Record | None:
    """The record that a version leaves: its *own*, unless that is of far fewer playlists than the one *before* it."""
    if own is None or before is None:
        return own or before
    return own if own.playlists >= LEAST_OF_PLAYLISTS * before.playlists else before


@dataclass(frozen=True)
class Answered:
    """
    How one version answered the tasks of the gate.

    Attributes:
        version: its name.
        n_items: how many tracks, or artists, it knows.
        answers: ids, best first, for each task.
        scores: what they are worth.
        record: what it was measured at before it was published; None where it was not.
    """

    version: str
    n_items: int
    answers: Sequence[Sequence[str]]
    scores: Scores
    record: Record | None = None


@dataclass(frozen=True)
class Verdict:
    """
    What the gate found.

    Attributes:
        passed: whether the trained version may be published.
        reason: why, in one line.
        against: the published version that it was compared with; None where there was none to compare with.
        playlists: on how many playlists they were compared.
        changes: from the published version to the trained one, by measure.
        overlap: the share of the first k of their answers that both gave, by k.
    """

    passed: bool
    reason: str
    against: str | None = None
    playlists: int = 0
    changes: Mapping[str, Estimate] | None = None
    overlap: Mapping[int, float] | None = None

    def content(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return asdict(self)


def find_broken(tasks: Sequence[Task], answers: Sequence[Sequence[str]], k: int, n_items: int) -> str | None:
    """
    What breaks the never-empty contract: *k* distinct ids and no seed for each task, as far as the catalogue goes.

    Returns:
        None where nothing does.
    """
    for task, answer in zip(tasks, answers, strict=True):
        seeds = {seed.id for seed in task.seeds}
        if len(answer) < min(k, n_items - len(seeds)):
            return f"playlist {task.pid} was answered with {len(answer)} of {k}"
        if len(set(answer)) < len(answer) or seeds.intersection(answer):
            return f"playlist {task.pid} was answered with a seed, or with one thing twice"
    return None


def find_collapse(trained_items: int, published_items: int) -> str | None:
    """What is wrong with a catalogue of *trained_items* after one of *published_items*; None where nothing is."""
    if trained_items < LEAST_CATALOGUE * published_items:
        return f"the catalogue fell from {published_items:,} to {trained_items:,}; are the data complete?"
    return None


def compare(trained: Answered, published: Answered, tolerance: float, seed: int) -> Verdict:
    """
    Compare *trained* with *published* on the same tasks, of playlists that neither was trained on.

    Args:
        trained, published: their answers.
        tolerance: a fall of NDCG or R-precision up to this share is let pass.
        seed: of the bootstrap.
    """
    changes = {name: _change(trained.scores.values[name], published.scores.values[name], seed) for name in GATED}
    verdict = Verdict(
        passed=True,
        reason="",
        against=published.version,
        playlists=len(trained.answers),
        changes=changes,
        overlap={k: _overlap(trained.answers, published.answers, k) for k in OVERLAPS},
    )
    fault = _fall(trained, published, changes, tolerance) or _collapse(trained, published)
    ndcg, before = (float(version.scores.values["ndcg"].mean()) for version in (trained, published))
    told = f"NDCG {ndcg:.4f} against {before:.4f} of {published.version} ({changes['ndcg']:+.1%})"
    return _decided(verdict, fault, f"{told} on {verdict.playlists:,} playlists")


def compare_with_record(trained: Answered, version: str, record: Record, tolerance: float) -> Verdict:
    """
    Compare *trained* with the *record* of the published *version*, which has since been trained on the tasks.

    As playlists are held out by a hash of their ids, the record was mostly made on the same ones; that they are the
    same is not counted on, so the interval of a change is that of two means by themselves.
    """
    own = Record.of(trained.version, trained.scores)
    changes = {name: _change_of_means(own, record, name) for name in GATED}
    fault = None
    for name, found in changes.items():
        if found.value < -tolerance and found.high < 0:
            fault = (
                f"{name} fell from the {record.means[name]:.4f} recorded for {record.version} to {own.means[name]:.4f} "
                f"({found:+.1%}) on {own.playlists:,} playlists; {tolerance:.1%} is tolerated"
            )
            break
    told = f"NDCG {own.means['ndcg']:.4f} against the {record.means['ndcg']:.4f} recorded for {record.version}"
    return _decided(Verdict(True, "", version), fault, f"{told}; {version} was trained on what is held out now")


def _change_of_means(own: Record, before: Record, name: str) -> Estimate:
    mean = before.means[name]
    if not mean:
        return NO_CHANGE
    value = own.means[name] / mean - 1
    reach = 1.96 * (own.errors[name] ** 2 + before.errors[name] ** 2) ** 0.5 / mean
    return Estimate(value, value - reach, value + reach)


def _decided(verdict: Verdict, fault: str | None, otherwise: str) -> Verdict:
    return Verdict(**{**vars(verdict), "passed": fault is None, "reason": fault or otherwise})


def _collapse(trained: Answered, published: Answered) -> str | None:
    """What looks like broken data rather than a worse model."""
    distinct, before = (len({id_ for answer in version.answers for id_ in answer}) for version in (trained, published))
    if distinct < LEAST_COVERAGE * before:
        return f"coverage fell: the same playlists are answered with {distinct:,} different ids instead of {before:,}"
    ndcg = float(published.scores.values["ndcg"].mean())
    recorded = published.record.means["ndcg"] if published.record else 0
    if recorded and len(published.answers) >= RECORD_PLAYLISTS and ndcg < LEAST_OF_RECORD * recorded:
        return (
            f"the held-out playlists are not like those before: {published.version} has an NDCG of {ndcg:.4f} on them "
            f"and had {recorded:.4f} before; are the data sound?"
        )
    return None


def _fall(trained: Answered, published: Answered, changes: Mapping[str, Estimate], tolerance: float) -> str | None:
    for name, found in changes.items():
        if found.value < -tolerance and found.high < 0:
            now, before = (float(version.scores.values[name].mean()) for version in (trained, published))
            return (
                f"{name} fell from {before:.4f} to {now:.4f} ({found:+.1%}) on {len(trained.answers):,} playlists that "
                f"neither version was trained on; {tolerance:.1%} is tolerated"
            )
    return None


def _change(after: Floats, before: Floats, seed: int) -> Estimate:
    return change(after, before, seed) if before.any() else NO_CHANGE


def _overlap(answers: Sequence[Sequence[str]], others: Sequence[Sequence[str]], k: int) -> float:
    shares = [
        len(set(answer[:k]) & set(other[:k])) / max(len(answer[:k]), 1)
        for answer, other in zip(answers, others, strict=True)
    ]
    return float(np.mean(shares))
