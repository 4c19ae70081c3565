"""The recipe: read, factorize, write, evaluate, compare, publish."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Artifacts, Kind, Manifest, ModelError, NoModel, Recommender, Shape, Store, new_version
from service.engine.artifacts import amend
from trainer.account import give_account, unserved
from trainer.baselines import Continuer, Popularity, baselines
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
from trainer.config import Configs, TrainingConfig, profile_of
from trainer.dataset import Dataset
from trainer.errors import BadInput, Refused
from trainer.evaluate import HEADINGS, Scores, Segue, ask, format_table, ratio, score, summarize
from trainer.fitting import fit_and_write, hashes, trained_hashes
from trainer.gate import (
    RECORD_PLAYLISTS,
    TOLERANCE,
    Answered,
    Verdict,
    compare,
    compare_with_record,
    find_broken,
    find_collapse,
)
from trainer.intake import read_dataset
from trainer.progress import say
from trainer.protocol import hold_out, split, tasks_of
from trainer.report import render
from trainer.sources import read
from trainer.steps import Steps
from trainer.tune import Budget, tune

TITLE_ONLY = next(index for index, category in enumerate(CATEGORIES) if not category.seeds)
REPORT, METRICS = "report.html", "metrics.json"

# Beyond these, a baseline takes longer than the training that it is compared with, or more memory.
BASELINE_ENTRIES = 2_000_000
COSINE_ITEMS = 30_000

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
class Examination:
    """What the evaluation before publishing found: scores by recommender, the trained version first, and a verdict."""

    scores: Mapping[str, Scores]
    verdict: Verdict


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
            begin = _beginning(published, dataset, asked) if plan.warm else None
            inputs = {"inputs": [str(path) for path in paths], "columns": dict(plan.columns or {})}
            fit_and_write(dataset.select(~asked), staged, version, config, inputs, begin, steps)
            examination = _examine(staged, published, dataset, asked, config, plan, steps)
            refit = plan.refit and bool(asked.any()) and (examination.verdict.passed or plan.force)
            if refit:
                _refit(dataset, staged, config, inputs, steps)
                asked = np.zeros(len(dataset), bool)
            return _finish(store, staged, dataset, asked, config, plan, examination, refit, steps)


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
    artists, n_items = track_artists(dataset), _n_items(learned)
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


def list_versions(models: Path) -> str:
    """
    A table of the versions of the store *models*, the oldest first, for a person to read.

    Raises:
        NoModel: it holds none.
    """
    store = Store(models)
    current = store.current().name
    lines = [f"  {'version':<28}{'playlists':>12}{'tracks':>12}{'NDCG':>8}{'R-prec':>8}{'MiB':>8}  made"]
    for version in store.versions():
        manifest = Manifest.read(store.version(version))
        ndcg, precision = (
            f"{manifest.metrics[name]:.4f}" if manifest.metrics else "-" for name in ("ndcg", "r_precision")
        )
        mib = sum(file["bytes"] for file in manifest.files.values()) >> 20
        counts = f"{manifest.data['playlists']:>12,}{manifest.shape.tracks:>12,}{ndcg:>8}{precision:>8}{mib:>8,}"
        lines.append(f"{'*' if version == current else ' '} {version:<28}{counts}  {_age(manifest.created_at)} ago")
    return "\n".join(lines)


def _age(created_at: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds())
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} seconds"


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
    except NoModel:
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


def _beginning(published: Recommender | None, dataset: Dataset, asked: Bools) -> Artifacts | None:
    """The published version to begin from, unless that has seen so much of what is *asked* that few are left."""
    if published is None:
        return None
    begin = published.artifacts
    unseen = asked & ~np.isin(hashes(dataset.playlist_ids), trained_hashes(begin.directory))
    if unseen.sum() < min(RECORD_PLAYLISTS, asked.sum()):
        say(f"beginning from nothing: {begin.manifest.version} was trained on what is held out now")
        return None
    return begin


def _examine(
    staged: Path,
    published: Recommender | None,
    dataset: Dataset,
    asked: Bools,
    config: TrainingConfig,
    plan: Plan,
    steps: Steps,
) -> Examination:
    """Ask the staged version, the published one and the baselines for what neither version has seen."""
    ids = hashes(dataset.playlist_ids)
    unseen = asked & ~np.isin(ids, trained_hashes(staged))
    tasks, indexes = tasks_of(dataset, unseen, config.seed)
    if not tasks:
        return Examination({}, _judge_size(Manifest.read(staged), published))
    artists = track_artists(dataset)
    with steps.step("evaluating"):
        trained = _answered(staged, tasks, artists)
        say(format_table("held out", trained.scores.table()))
        scores = {"segue": trained.scores}
        verdict, published_scores = _judge(trained, published, tasks, ids[indexes], artists, plan, config.seed)
    if published_scores is not None:
        scores["published"] = published_scores
    with steps.step("baselines"):
        for name, answers in _baseline_answers(dataset.select(~asked), tasks, config.seed, affordable=True):
            scores[name] = score(tasks, answers, artists, trained.n_items)
    return Examination(scores, verdict)


def _answered(directory: Path, tasks: Sequence[Task], artists: Mapping[str, str]) -> Answered:
    recommender = Recommender.open(directory)
    try:
        return _ask_version(recommender, tasks, artists, "evaluating")
    finally:
        recommender.close()


def _ask_version(recommender: Recommender, tasks: Sequence[Task], artists: Mapping[str, str], what: str) -> Answered:
    shape, metrics = recommender.manifest.shape, recommender.manifest.metrics
    n_items = _size(shape, tasks[0].kind)
    answers = ask(Segue(recommender), tasks, what)
    scores = score(tasks, answers, artists, n_items)
    return Answered(recommender.manifest.version, n_items, answers, scores, metrics.get("ndcg"))


def _judge(
    trained: Answered,
    published: Recommender | None,
    tasks: Sequence[Task],
    playlist_hashes: NDArray[np.uint64],
    artists: Mapping[str, str],
    plan: Plan,
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
        recorded = published.manifest.metrics.get("ndcg")
        if recorded:
            return compare_with_record(trained, version, recorded, plan.tolerance, seed), None
        reason = f"{version} has no record, and was trained on what is held out now: it cannot be compared with"
        return Verdict(True, reason, version), None
    asked = [task for task, chosen in zip(tasks, fair, strict=True) if chosen]
    answers = [answer for answer, chosen in zip(trained.answers, fair, strict=True) if chosen]
    before = _ask_version(published, asked, artists, "published")
    after = replace(trained, answers=answers, scores=score(asked, answers, artists, trained.n_items))
    return compare(after, before, plan.tolerance, seed), before.scores if fair.all() else None


def _judge_size(manifest: Manifest, published: Recommender | None) -> Verdict:
    """The verdict where nothing can be asked."""
    if published is not None:
        fault = find_collapse(_size(manifest.shape, published.kind), _size(published.manifest.shape, published.kind))
        if fault is not None:
            return Verdict(False, fault, published.manifest.version)
    return Verdict(True, "there is no held-out playlist to evaluate on")


def _size(shape: Shape, kind: Kind) -> int:
    return shape.tracks if kind == "tracks" else shape.artists


def _refit(dataset: Dataset, staged: Path, config: TrainingConfig, inputs: Mapping[str, Any], steps: Steps) -> None:
    """Replace the version in *staged* by one that began from it and was trained on all of *dataset*."""
    measured = staged.rename(staged.with_name(f"{staged.name}.measured"))
    staged.mkdir()
    recommender = Recommender.open(measured)
    try:
        first = recommender.manifest
        manifest = fit_and_write(dataset, staged, first.version, config, inputs, recommender.artifacts, steps)
        # It began from a version that nobody will find; what that one began from is what counts.
        amend(staged, training={**manifest.training, "warm_start": first.training["warm_start"]})
    finally:
        recommender.close()
        shutil.rmtree(measured, ignore_errors=True)


def _finish(
    store: Store,
    staged: Path,
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
        (staged / METRICS).write_text(text + "\n", encoding="utf-8")
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
    (staged / REPORT).write_text(render(report), encoding="utf-8")
    noted = {"hold_out": plan.hold_out, "refit": refit, "forced": forced, "unserved": missing}
    training = {**Manifest.read(staged).training, **noted, "gate": verdict.content()}
    manifest = amend(staged, metrics=summary, training=training)
    if not verdict.passed and not plan.force:
        kept = store.refuse(staged)
        raise Refused(f"not published: {verdict.reason}; {kept} has it for inspection, --force publishes regardless")
    say(f"published{' by force' if forced else ''}: {verdict.reason}")
    store.publish(staged)
    return manifest


def _answers(learned: Dataset, tasks: Sequence[Task], config: TrainingConfig) -> Iterator[tuple[str, list[list[str]]]]:
    """The name and the answers of Segue and of each baseline, one after another, so that one at a time is in memory."""
    with tempfile.TemporaryDirectory(prefix="segue-evaluate-") as directory:
        fit_and_write(learned, Path(directory), "evaluated", config, {}, None, Steps())
        recommender = Recommender.open(Path(directory))
        try:
            yield "segue", ask(Segue(recommender), tasks, "segue")
        finally:
            recommender.close()
    yield from _baseline_answers(learned, tasks, config.seed)


def _baseline_answers(
    learned: Dataset, tasks: Sequence[Task], seed: int, affordable: bool = False
) -> Iterator[tuple[str, list[list[str]]]]:
    """The name and the answers of each baseline, or of those that do not cost more than the training itself."""
    popularity = Popularity(learned)
    yield "popularity", ask(popularity, tasks, "popularity")
    for name, make in baselines(learned, seed).items():
        if affordable and (
            learned.entries > BASELINE_ENTRIES or (name == "item cosine" and _n_items(learned) > COSINE_ITEMS)
        ):
            say(f"{name} is left out of the report: it would cost more than the training itself")
            continue
        continuer: Continuer = make(popularity)
        yield name, ask(continuer, tasks, name)


def _n_items(dataset: Dataset) -> int:
    return len(dataset.vocabulary.track_ids if dataset.kind == "tracks" else dataset.vocabulary.artist_ids)
