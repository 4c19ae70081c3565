"""The evaluation before publishing: what neither version has seen, asked of both and of the baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.engine import Artifacts, Kind, Manifest, Recommender, Shape
from trainer.baselines import Continuer, Popularity, baselines
from trainer.challenge import ANSWER_TRACKS, Task, track_artists
from trainer.dataset import Dataset
from trainer.evaluate import Scores, Segue, ask, format_table, score
from trainer.fitting import hashes, trained_hashes
from trainer.gate import (
    RECORD_PLAYLISTS,
    Answered,
    Record,
    Verdict,
    compare,
    compare_with_record,
    find_broken,
    find_collapse,
)
from trainer.progress import say
from trainer.protocol import tasks_of
from trainer.steps import Steps

# Beyond these, a baseline takes longer than the training that it is compared with, or more memory.
BASELINE_ENTRIES = 2_000_000
COSINE_ITEMS = 30_000

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Examination:
    """What the evaluation before publishing found: scores by recommender, the trained version first, and a verdict."""

    scores: Mapping[str, Scores]
    verdict: Verdict

    def summary(self) -> Mapping[str, float]:
        """The means of the trained version over all playlists asked for; empty where none was."""
        return self.scores["segue"].table()["all"] if self.scores else {}


def find_beginning(published: Recommender | None, dataset: Dataset, asked: Bools) -> Artifacts | None:
    """The published version to begin from, unless that has seen so much of what is *asked* that few are left."""
    if published is None:
        return None
    begin = published.artifacts
    unseen = asked & ~np.isin(hashes(dataset.playlist_ids), trained_hashes(begin.directory))
    if unseen.sum() < min(RECORD_PLAYLISTS, asked.sum()):
        say(f"beginning from nothing: {begin.manifest.version} was trained on what is held out now")
        return None
    return begin


def examine(
    staged: Path,
    published: Recommender | None,
    dataset: Dataset,
    asked: Bools,
    seed: int,
    tolerance: float,
    steps: Steps,
) -> Examination:
    """
    Ask the staged version, the published one and the baselines for what neither version has seen, and judge.

    Args:
        staged: the trained version.
        published: the published one; None where there is none.
        dataset: all that was read.
        asked: bool, shape (n_playlists,). What was held out.
        seed: of what is hidden at random, and of the bootstrap.
        tolerance: a fall of NDCG or R-precision up to this share is let pass.
        steps: what is done is noted here.
    """
    ids = hashes(dataset.playlist_ids)
    unseen = asked & ~np.isin(ids, trained_hashes(staged))
    tasks, indexes = tasks_of(dataset, unseen, seed)
    if not tasks:
        return Examination({}, _judge_size(Manifest.read(staged), published))
    artists = track_artists(dataset)
    with steps.step("evaluating"):
        trained = _answered(staged, tasks, artists)
        say(format_table("held out", trained.scores.table()))
        scores = {"segue": trained.scores}
        verdict, published_scores = _judge(trained, published, tasks, ids[indexes], artists, tolerance, seed)
    if published_scores is not None:
        scores["published"] = published_scores
    with steps.step("baselines"):
        for name, answers in baseline_answers(dataset.select(~asked), tasks, seed, affordable=True):
            scores[name] = score(tasks, answers, artists, trained.n_items)
    return Examination(scores, verdict)


def record_of(version: Recommender) -> Record | None:
    """The record that *version* was published with, or kept of the one before it."""
    record = version.manifest.training.get("record")
    return None if record is None else Record(**record)


def _answered(directory: Path, tasks: Sequence[Task], artists: Mapping[str, str]) -> Answered:
    recommender = Recommender.open(directory)
    try:
        return _ask_version(recommender, tasks, artists, "evaluating")
    finally:
        recommender.close()


def _ask_version(recommender: Recommender, tasks: Sequence[Task], artists: Mapping[str, str], what: str) -> Answered:
    shape = recommender.manifest.shape
    n_items = _size(shape, tasks[0].kind)
    answers = ask(Segue(recommender), tasks, what)
    scores = score(tasks, answers, artists, n_items)
    return Answered(recommender.manifest.version, n_items, answers, scores, record_of(recommender))


def _judge(
    trained: Answered,
    published: Recommender | None,
    tasks: Sequence[Task],
    playlist_hashes: NDArray[np.uint64],
    artists: Mapping[str, str],
    tolerance: float,
    seed: int,
) -> tuple[Verdict, Scores | None]:
    """The verdict, and the scores of the published version where it has seen none of the playlists asked for."""
    broken = find_broken(tasks, trained.answers, ANSWER_TRACKS, trained.n_items)
    if broken is not None:
        return Verdict(False, f"an answer breaks the contract: {broken}"), None
    if published is None:
        return Verdict(True, "there is no published version to compare with"), None
    version = published.manifest.version
    if published.kind != tasks[0].kind:
        return Verdict(
            False, f"{version} recommends {published.kind}, and these data hold {tasks[0].kind}", version
        ), None
    collapse = find_collapse(trained.n_items, _size(published.manifest.shape, published.kind))
    if collapse is not None:
        return Verdict(False, collapse, version), None
    fair = ~np.isin(playlist_hashes, trained_hashes(published.artifacts.directory))
    if fair.sum() < min(RECORD_PLAYLISTS, len(fair)):
        record = record_of(published)
        if record is not None:
            return compare_with_record(trained, version, record, tolerance), None
        reason = f"{version} has no record, and was trained on what is held out now: it cannot be compared with"
        return Verdict(True, reason, version), None
    asked = [task for task, chosen in zip(tasks, fair, strict=True) if chosen]
    answers = [answer for answer, chosen in zip(trained.answers, fair, strict=True) if chosen]
    before = _ask_version(published, asked, artists, "published")
    after = replace(trained, answers=answers, scores=score(asked, answers, artists, trained.n_items))
    return compare(after, before, tolerance, seed), before.scores if fair.all() else None


def _judge_size(manifest: Manifest, published: Recommender | None) -> Verdict:
    """The verdict where nothing can be asked."""
    if published is not None:
        version, kind = published.manifest.version, "tracks" if manifest.shape.tracks else "artists"
        if kind != published.kind:
            return Verdict(False, f"{version} recommends {published.kind}, and these data hold {kind}", version)
        fault = find_collapse(_size(manifest.shape, published.kind), _size(published.manifest.shape, published.kind))
        if fault is not None:
            return Verdict(False, fault, version)
    return Verdict(True, "there is no held-out playlist to evaluate on")


def _size(shape: Shape, kind: Kind) -> int:
    return shape.tracks if kind == "tracks" else shape.artists


def baseline_answers(
    learned: Dataset, tasks: Sequence[Task], seed: int, affordable: bool = False
) -> Iterator[tuple[str, list[list[str]]]]:
    """The name and the answers of each baseline, or of those that do not cost more than the training itself."""
    popularity = Popularity(learned)
    yield "popularity", ask(popularity, tasks, "popularity")
    for name, make in baselines(learned, seed).items():
        if affordable and (
            learned.entries > BASELINE_ENTRIES or (name == "item cosine" and count_items(learned) > COSINE_ITEMS)
        ):
            say(f"{name} is left out of the report: it would cost more than the training itself")
            continue
        continuer: Continuer = make(popularity)
        yield name, ask(continuer, tasks, name)


def count_items(dataset: Dataset) -> int:
    """How many tracks, or artists, can be recommended."""
    return len(dataset.vocabulary.track_ids if dataset.kind == "tracks" else dataset.vocabulary.artist_ids)
