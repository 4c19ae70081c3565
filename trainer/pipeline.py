"""The recipe: read, factorize, write, evaluate, compare, publish."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Manifest, ModelError, NoModel, Recommender, Store, StoreChanged, new_version
from service.engine.artifacts import amend
from service.engine.files import write_text
from service.engine.store import CURRENT
from trainer.account import give_account, unserved
from trainer.challenge import (
    ANSWER_TRACKS,
    Task,
    partial_path,
    read_challenge,
    track_artists,
    write_challenge,
    write_submission,
)
from trainer.config import TOLERANCE, Configs, TrainingConfig, profile_of
from trainer.dataset import Dataset
from trainer.errors import BadInput, Refused
from trainer.evaluate import Evaluation, Segue, ask, score
from trainer.examination import Examination, baseline_answers, count_items, examine, find_beginning, record_of
from trainer.fitting import fit_and_write
from trainer.gate import Record, Verdict, keep_record
from trainer.intake import read_dataset
from trainer.progress import say
from trainer.protocol import hold_out, split
from trainer.report import render
from trainer.sources import read
from trainer.steps import Steps
from trainer.tune import Budget, tune

REPORT, METRICS = "report.html", "metrics.json"

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """
    How a training run goes about it.

    Attributes:
        hold_out: whether a share of the playlists is kept for the evaluation and the gate.
        warm: whether the fit begins from the published version, where there is one.
        refit: whether, after the evaluation, another warm fit takes in what was held out.
        force: whether the version is published whatever the gate says.
        tolerance: a fall of NDCG or R-precision up to this share is let pass.
        columns: what the columns of tables are called, by role.
    """

    hold_out: bool = True
    warm: bool = True
    refit: bool = False
    force: bool = False
    tolerance: float = TOLERANCE
    columns: Mapping[str, str] | None = None


def train(paths: Sequence[Path], models: Path, configs: Configs, plan: Plan = Plan()) -> Manifest:
    """
    Train on the playlists of *paths* and publish the model in the store *models*.

    A share of the playlists is held out; the staged version, opened as the service opens it, and the published one
    answer them before it is published. Whatever fails leaves what was published as it was.

    Returns:
        The manifest of the published version.

    Raises:
        Refused: the staged version is worse than the published one.
        TrainerError: the data cannot be read or hold nothing to learn from.
        ModelError: another run is writing to the store, or the staged version cannot be opened.
        OSError: the store cannot be written to.
    """
    store = Store(models)
    with store.writing():
        steps, version = Steps(), new_version()
        with steps.step("reading"):
            dataset = _read(paths, plan.columns)
        config = configs.fitting(dataset.listening)
        asked = hold_out(dataset) if plan.hold_out else np.zeros(len(dataset), bool)
        with _current(store) as published, store.staging(version) as staged:
            begin = find_beginning(published, dataset, asked) if plan.warm else None
            inputs = {"inputs": [str(path) for path in paths], "columns": dict(plan.columns or {})}
            fit_and_write(dataset.select(~asked), staged, version, config, inputs, begin, steps)
            found = examine(staged, published, dataset, asked, config.seed, plan.tolerance, steps)
            forced = plan.force and not found.verdict.passed
            refit = plan.refit and bool(asked.any()) and (found.verdict.passed or forced)
            if refit:
                _refit(dataset, staged, config, inputs, steps)
                asked = np.zeros(len(dataset), bool)
            with steps.step("report"):
                _describe(staged, dataset, asked, config, found, forced, steps)
            missing = unserved(dataset, asked)
            if missing:
                say(f"{missing:,} {dataset.kind} are in held-out playlists alone and not served; --refit takes them in")
            notes = {"hold_out": plan.hold_out, "refit": refit, "forced": forced, "unserved": missing}
            with steps.step("publishing"):
                manifest = amend(staged, notes | _judgement(version, published, found, forced), found.summary())
                _publish(store, staged, published, found.verdict, forced)
    say(str(steps))
    say(f"published{' by force' if forced else ''}: {found.verdict.reason}")
    return manifest


def evaluate(
    paths: Sequence[Path], configs: Configs, out: Path | None = None, columns: Mapping[str, str] | None = None
) -> Evaluation:
    """
    Compare Segue with the baselines on held-out playlists, by the protocol of RecSys Challenge 2018.

    Of what people listened to, a fifth of the tracks or artists of each listener is held out instead.

    Args:
        paths: the data.
        configs: of Segue's own training run.
        out: a directory for `challenge_set.json`, `answers.json` and Segue's `submission.csv`; None for none.
        columns: what the columns of tables are called, by role.

    Raises:
        TrainerError: the data cannot be read or hold too few playlists.
        OSError: *out* cannot be written to.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset = _read(paths, columns)
    config = configs.fitting(dataset.listening)
    if dataset.listening and out is not None:
        raise BadInput("--out writes the files of a challenge of playlists; these data are what people listened to")
    learned, tasks = split(dataset, config.seed)
    say(f"{len(learned):,} playlists to learn from, {len(tasks):,} to continue")
    answers = dict(_answers(learned, tasks, config))
    if out is not None:
        write_challenge(out, dataset, tasks, answers["segue"])
    artists, n_items = track_artists(dataset), count_items(learned)
    return Evaluation({name: score(tasks, found, artists, n_items) for name, found in answers.items()}, config.seed)


def tune_numbers(
    paths: Sequence[Path],
    configs: Configs,
    fixed: Sequence[str],
    grid: Mapping[str, Sequence[Any]],
    budget: Budget,
    study: Path,
    out: Path,
    columns: Mapping[str, str] | None = None,
) -> str:
    """
    Search for the best numbers for the data of *paths*; see `tune`.

    Raises:
        TrainerError: the data cannot be read or are too few, or the numbers are out of range.
        OSError: *study* or *out* cannot be written to.
    """
    partial_path(out).touch()  # what cannot be written is told before the work, not after it
    partial_path(out).unlink()
    dataset = _read(paths, columns)
    return tune(dataset, configs.fitting(dataset.listening), fixed, grid, budget, study, out)


def answer_challenge(challenge_set: Path, models: Path, out: Path, team: str, email: str) -> int:
    """
    Answer a published challenge set with the current version of the store *models*.

    Returns:
        How many playlists were answered.

    Raises:
        TrainerError: *challenge_set* cannot be read.
        ModelError: nothing is published that can be opened.
        OSError: *out* cannot be written.
    """
    tasks = read_challenge(challenge_set)
    recommender = Recommender.open(Store(models).current())
    try:
        n_tracks = recommender.manifest.shape.tracks
        if any(n_tracks - len(task.seeds) < ANSWER_TRACKS for task in tasks):
            raise BadInput(f"{models} knows {n_tracks} tracks; a submission takes {ANSWER_TRACKS} for each playlist")
        partial_path(out).touch()  # what cannot be written is told before the work, not after it
        write_submission(out, tasks, ask(Segue(recommender), tasks, "answering"), team, email)
    finally:
        partial_path(out).unlink(missing_ok=True)
        recommender.close()
    return len(tasks)


def _read(paths: Sequence[Path], columns: Mapping[str, str] | None) -> Dataset:
    dataset = read_dataset(read(paths, columns))
    vocabulary = dataset.vocabulary
    say(
        f"{len(dataset):,} {'listeners' if dataset.listening else 'playlists'}, {len(vocabulary.track_ids):,} tracks, "
        f"{len(vocabulary.artist_ids):,} artists, {dataset.entries:,} distinct entries"
    )
    if dataset.empty_playlists:
        say(f"passed over {dataset.empty_playlists:,} playlists without tracks")
    if dataset.repeated_ids:
        say(f"{dataset.repeated_ids:,} playlists have the id of an earlier one; each is learned from on its own")
    return dataset


@contextmanager
def _current(store: Store) -> Iterator[Recommender | None]:
    """The published version, opened; None where there is none that this release can open."""
    try:
        recommender = Recommender.open(store.current())
    except NoModel as error:
        if (store.root / CURRENT).exists():
            say(f"nothing begins from a published version or is compared with one: {error}")
        yield None
        return
    except ModelError as error:
        say(f"the published version cannot be opened, so nothing begins from it or is compared with it: {error}")
        yield None
        return
    try:
        yield recommender
    finally:
        recommender.close()


def _refit(dataset: Dataset, staged: Path, config: TrainingConfig, inputs: Mapping[str, Any], steps: Steps) -> None:
    """Replace the version in *staged* by one that began from it and was trained on all of *dataset*."""
    measured = staged.with_name(f"{staged.name}.measured")
    with ExitStack() as left:
        left.callback(shutil.rmtree, measured, ignore_errors=True)
        staged.rename(measured)
        staged.mkdir()
        recommender = Recommender.open(measured)
        left.callback(recommender.close)
        first = recommender.manifest
        fit_and_write(dataset, staged, first.version, config, inputs, recommender.artifacts, steps)
        # It began from a version that nobody will find; what that one began from is what counts.
        amend(staged, {"warm_start": first.training["warm_start"]})


def _describe(
    staged: Path,
    dataset: Dataset,
    asked: Bools,
    config: TrainingConfig,
    found: Examination,
    forced: bool,
    steps: Steps,
) -> None:
    """Add metrics and report to the staged version."""
    if found.scores:
        (_, ours), *others = ((name, scores.table()) for name, scores in found.scores.items())
        metrics = {"by_category": ours, "others": dict(others)}
        write_text(staged / METRICS, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    recommender = Recommender.open(staged)
    try:
        report = give_account(
            recommender, profile_of(config), dataset, asked, found.scores, found.verdict, forced, steps.done
        )
    finally:
        recommender.close()
    write_text(staged / REPORT, render(report))


def _judgement(version: str, published: Recommender | None, found: Examination, forced: bool) -> dict[str, Any]:
    """What the manifest says of the gate, and what the next version may be held against."""
    record = Record.of(version, found.scores["segue"]) if found.scores else None
    if published is not None and not forced:
        record = keep_record(record, record_of(published))
    return {"gate": found.verdict.content(), "record": None if record is None else record.content()}


def _publish(store: Store, staged: Path, published: Recommender | None, verdict: Verdict, forced: bool) -> None:
    """
    Publish the staged version over the *published* one.

    Raises:
        Refused: the gate is against it, or another version has been published meanwhile; it is kept for inspection.
    """
    if not verdict.passed and not forced:
        kept = store.refuse(staged)
        raise Refused(f"not published: {verdict.reason}; {kept} has it for inspection, --force publishes regardless")
    try:
        store.publish(staged, over=None if published is None else published.manifest.version)
    except StoreChanged as changed:
        raise Refused(f"not published: {changed}; {store.refuse(staged)} has it, train again") from changed


def _answers(learned: Dataset, tasks: Sequence[Task], config: TrainingConfig) -> Iterator[tuple[str, list[list[str]]]]:
    """The name and the answers of Segue and of each baseline, one after another, so that one at a time is in memory."""
    with tempfile.TemporaryDirectory(prefix="segue-evaluate-") as directory:
        fit_and_write(learned, Path(directory), "evaluated", config, {}, None, Steps())
        recommender = Recommender.open(Path(directory))
        try:
            yield "segue", ask(Segue(recommender), tasks, "segue")
        finally:
            recommender.close()
    yield from baseline_answers(learned, tasks, config.seed)
