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
    CATEGORIES,
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
from trainer.evaluate import HEADINGS, Scores, Segue, ask, format_table, ratio, score, summarize
from trainer.examination import Examination, baseline_answers, count_items, examine, find_beginning, record_of
from trainer.fitting import fit_and_write
from trainer.gate import Record, keep_record
from trainer.intake import read_dataset
from trainer.progress import say
from trainer.protocol import hold_out, split
from trainer.report import render
from trainer.sources import read
from trainer.steps import Steps
from trainer.tune import Budget, tune

TITLE_ONLY = next(index for index, category in enumerate(CATEGORIES) if not category.seeds)
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


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: the scores of each recommender by name, Segue first."""

    scores: dict[str, Scores]
    seed: int

    def __str__(self) -> str:
        tables = [format_table(name, scores.table()) for name, scores in self.scores.items()]
        return "\n\n".join([*tables, self._ratios()])

    def table(self) -> dict[str, Any]:
        return {name: scores.table() for name, scores in self.scores.items()}

    def _ratios(self) -> str:
        (_, ours), *others = self.scores.items()
        measures = [measure for measure in ("ndcg_at_10", "ndcg", "r_precision") if measure in ours.values]
        title_only = ours.categories == TITLE_ONLY
        headings = [HEADINGS[measure] for measure in measures] + ["R-prec, title only"] * bool(title_only.any())
        lines = [f"{'segue / ...':<14}" + "".join(f"{heading:>26}" for heading in headings)]
        for name, theirs in others:
            cells = [ratio(ours.values[measure], theirs.values[measure], self.seed) for measure in measures]
            if title_only.any():
                precision = ours.values["r_precision"][title_only], theirs.values["r_precision"][title_only]
                cells.append(ratio(*precision, self.seed))
            lines.append(f"  {name:<12}" + "".join(f"{cell!s:>26}" for cell in cells))
        return "\n".join(
            [*lines, "each ratio of means with its 95 % interval by a paired bootstrap over the playlists"]
        )


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
            examination = examine(staged, published, dataset, asked, config.seed, plan.tolerance, steps)
            refit = plan.refit and bool(asked.any()) and (examination.verdict.passed or plan.force)
            if refit:
                _refit(dataset, staged, config, inputs, steps)
                asked = np.zeros(len(dataset), bool)
            return _finish(store, staged, published, dataset, asked, config, plan, examination, refit, steps)


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
        manifest = fit_and_write(dataset, staged, first.version, config, inputs, recommender.artifacts, steps)
        # It began from a version that nobody will find; what that one began from is what counts.
        amend(staged, training={**manifest.training, "warm_start": first.training["warm_start"]})


def _finish(
    store: Store,
    staged: Path,
    published: Recommender | None,
    dataset: Dataset,
    asked: Bools,
    config: TrainingConfig,
    plan: Plan,
    examination: Examination,
    refit: bool,
    steps: Steps,
) -> Manifest:
    """Add metrics and report to the staged version, and publish it or not."""
    verdict = examination.verdict
    forced = plan.force and not verdict.passed
    tables = {name: scores.table() for name, scores in examination.scores.items()}
    summary = {}
    if examination.scores:
        summary = summarize(examination.scores["segue"])
        ours, *others = tables
        metrics = {"by_category": tables[ours], "others": {name: tables[name] for name in others}}
        text = json.dumps(metrics, indent=2, ensure_ascii=False)
        write_text(staged / METRICS, text + "\n")
    missing = unserved(dataset, asked)
    if missing:
        say(f"{missing:,} {dataset.kind} occur in held-out playlists alone and are not served; --refit takes them in")
    recommender = Recommender.open(staged)
    try:
        report = give_account(
            recommender, profile_of(config), dataset, asked, examination.scores, verdict, forced, steps.done
        )
    finally:
        recommender.close()
    write_text(staged / REPORT, render(report))
    noted: dict[str, Any] = {"hold_out": plan.hold_out, "refit": refit, "forced": forced, "unserved": missing}
    record = _record(staged, published, examination, forced)
    noted |= {"gate": verdict.content(), "record": None if record is None else record.content()}
    training = {**Manifest.read(staged).training, **noted}
    manifest = amend(staged, metrics=summary, training=training)
    if not verdict.passed and not plan.force:
        kept = store.refuse(staged)
        raise Refused(f"not published: {verdict.reason}; {kept} has it for inspection, --force publishes regardless")
    try:
        store.publish(staged, over=None if published is None else published.manifest.version)
    except StoreChanged as changed:
        raise Refused(f"not published: {changed}; {store.refuse(staged)} has it, train again") from changed
    say(str(steps))
    say(f"published{' by force' if forced else ''}: {verdict.reason}")
    return manifest


def _record(staged: Path, published: Recommender | None, examination: Examination, forced: bool) -> Record | None:
    """What the next version may be held against."""
    own = None
    if examination.scores:
        own = Record.of(Manifest.read(staged).version, examination.scores["segue"])
    return own if published is None or forced else keep_record(own, record_of(published))


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
