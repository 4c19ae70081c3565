"""The gate before publication: a staged version answers held-out playlists beside the published one, and is judged."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from service.engine import Artifacts, Kind, Recommender, Shape
from trainer.dataset.dataset import Bools, Dataset
from trainer.evaluation.answers import ANSWER_ITEMS, FIRST_STAGE, Segue, ask
from trainer.evaluation.baselines import baseline_answers
from trainer.evaluation.scores import Scores, format_table, score
from trainer.evaluation.split import tasks_of
from trainer.evaluation.tasks import Task
from trainer.evaluation.verdict import (
    ENOUGH_PLAYLISTS,
    MOST_POPULAR,
    Answered,
    Quality,
    Verdict,
    compare,
    compare_with_quality,
    find_broken,
    find_collapse,
    find_renaming,
    narrowed,
)
from trainer.fitting.provenance import unseen
from trainer.progress import say
from trainer.timing import Stopwatch


@dataclass(frozen=True)
class Outcome:
    """The outcome of the gate: a verdict, and the scores by recommender, the trained version first."""

    verdict: Verdict
    scores: Mapping[str, Scores]

    def summary(self) -> Mapping[str, float]:
        """Return the means of the trained version over all tasks; empty without tasks."""
        return self.scores["segue"].table()["all"] if self.scores else {}


def find_start(published: Recommender | None, dataset: Dataset, held_out: Bools) -> Artifacts | None:
    """Return the version for a warm start; None if the gate would have too few playlists that it has not seen."""
    if published is None:
        return None
    start = published.artifacts
    if (held_out & unseen(dataset, start.directory)).sum() < min(ENOUGH_PLAYLISTS, held_out.sum()):
        say(f"cold start: {start.manifest.version} was trained on the playlists that are now held out")
        return None
    return start


def judge(
    staged: Path,
    published: Recommender | None,
    dataset: Dataset,
    held_out: Bools,
    seed: int,
    tolerance: float,
    with_baselines: bool,
    stopwatch: Stopwatch,
) -> Outcome:
    """
    Score the staged version, the published one and the baselines on held-out playlists, and judge the staged one.

    Args:
        staged: the directory of the trained version.
        published: the published version; None if there is none.
        dataset: all data that were read.
        held_out: bool, shape (n_playlists,).
        seed: of the random choice of hidden items, and of the bootstrap.
        tolerance: the relative fall of NDCG or R-precision that is accepted.
        with_baselines: whether the baselines are scored too.
        stopwatch: measures the steps.
    """
    tasks = tasks_of(dataset, held_out & unseen(dataset, staged), seed)
    with closing(Recommender.open(staged)) as recommender:
        fault = None if published is None else _unlike(published, recommender)
        if not tasks:
            return Outcome(fault or Verdict(True, "there is no held-out playlist to evaluate on"), {})
        artists = dataset.vocabulary.artists_by_track()
        with stopwatch.step("evaluating"):
            trained = _answer(recommender, tasks, artists, "evaluating")
            say(format_table("held out", trained.scores.table()))
            scores = {"segue": trained.scores}
            if recommender.ranks:
                answers = ask(Segue(recommender, rank=False), tasks, FIRST_STAGE)
                scores[FIRST_STAGE] = score(tasks, answers, artists, trained.n_items)
            fault = _broken(trained, tasks) or fault
            if fault is None and published is not None:
                verdict, published_scores = _compare(trained, published, dataset, tasks, artists, tolerance, seed)
                scores |= {} if published_scores is None else {"published": published_scores}
            else:
                verdict = fault or Verdict(True, "there is no published version to compare with")
    if with_baselines:
        with stopwatch.step("baselines"):
            for name, answers in baseline_answers(dataset.select(~held_out), tasks, seed, only_affordable=True):
                scores[name] = score(tasks, answers, artists, trained.n_items)
    return Outcome(verdict, scores)


def quality_of(version: Recommender) -> Quality | None:
    """Return the quality that *version* was published with, or that it kept of the version before it."""
    quality = version.manifest.training.get("record")
    return None if quality is None else Quality(**quality)


def _answer(recommender: Recommender, tasks: Sequence[Task], artists: Mapping[str, str], name: str) -> Answered:
    n_items = _size(recommender.manifest.shape, tasks[0].kind)
    answers = ask(Segue(recommender), tasks, name)
    scores = score(tasks, answers, artists, n_items)
    return Answered(recommender.manifest.version, n_items, answers, scores, quality_of(recommender))


def _broken(trained: Answered, tasks: Sequence[Task]) -> Verdict | None:
    """Return the verdict on answers that break the contract; None if none does."""
    broken = find_broken(tasks, trained.answers, ANSWER_ITEMS, trained.n_items)
    return None if broken is None else Verdict(False, f"an answer breaks the contract: {broken}")


def _unlike(published: Recommender, trained: Recommender) -> Verdict | None:
    """Return the verdict on a catalogue that cannot follow that of *published*; None if it can."""
    version, kind = published.manifest.version, trained.kind
    if published.kind != kind:
        return Verdict(False, f"{version} recommends {published.kind}, and these data contain {kind}", version)
    collapse = find_collapse(_size(trained.manifest.shape, kind), _size(published.manifest.shape, kind))
    fault = collapse or _renamed(published, trained, "tracks") or _renamed(published, trained, "artists")
    return None if fault is None else Verdict(False, fault, version)


def _renamed(published: Recommender, trained: Recommender, kind: Kind) -> str | None:
    before, after = (each.popular(kind, MOST_POPULAR).ids for each in (published, trained))
    catalogue = trained.artifacts.catalogue
    lost = [id_ for id_ in before if not catalogue.rows_of_ids(kind, [id_])]
    return find_renaming(kind, before, lost, after)


def _compare(
    trained: Answered,
    published: Recommender,
    dataset: Dataset,
    tasks: Sequence[Task],
    artists: Mapping[str, str],
    tolerance: float,
    seed: int,
) -> tuple[Verdict, Scores | None]:
    """Return the verdict, and the scores of the published version if it has seen none of the playlists."""
    version = published.manifest.version
    fair = unseen(dataset, published.artifacts.directory)[[task.index for task in tasks]]
    if fair.sum() < min(ENOUGH_PLAYLISTS, len(fair)):
        past = quality_of(published)
        if past is not None:
            return compare_with_quality(trained, version, past, tolerance), None
        reason = f"{version} has no recorded quality, and was trained on the playlists that are now held out"
        return Verdict(True, f"no comparison: {reason}", version), None
    common = [task for task, keep in zip(tasks, fair, strict=True) if keep]
    before = _answer(published, common, artists, "published")
    after = narrowed(trained, fair)
    return compare(after, before, tolerance, seed), before.scores if fair.all() else None


def _size(shape: Shape, kind: Kind) -> int:
    return shape.tracks if kind == "tracks" else shape.artists
