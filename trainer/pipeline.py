"""The recipe of each command: read, fit, write, evaluate, compare, publish."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from service.engine import (
    Artifacts,
    Kind,
    Manifest,
    ModelError,
    NoModel,
    Ranker,
    Recommender,
    Store,
    StoreChanged,
    amend_version,
    installed_encoder,
    write_text,
)
from trainer.challenge import read_challenge, write_challenge, write_submission
from trainer.config import DEFAULTS, TOLERANCE, Configs, ReadOptions, TrainingConfig, profile_of
from trainer.continuations import check_out, write_continuations
from trainer.dataset import Dataset, build_dataset
from trainer.dataset.dataset import Bools
from trainer.errors import BadInput, NotPublished
from trainer.evaluation.answers import ANSWER_ITEMS, FIRST_STAGE, Segue, ask
from trainer.evaluation.baselines import baseline_answers
from trainer.evaluation.gate import Outcome, find_start, judge, quality_of
from trainer.evaluation.scores import Evaluation, score
from trainer.evaluation.split import hold_out, split
from trainer.evaluation.tasks import Task
from trainer.evaluation.verdict import Quality, Verdict, quality_to_keep
from trainer.fitting.fit import compares_titles, fit_and_write
from trainer.progress import say
from trainer.ranking.teach import teach
from trainer.report.gather import gather, unserved
from trainer.report.page import render
from trainer.sources import read
from trainer.sources.catalogue import check_ids, read_catalogue
from trainer.timing import Stopwatch
from trainer.tune import Budget, tune

REPORT, METRICS = "report.html", "metrics.json"


@dataclass(frozen=True)
class Plan:
    """
    The course of a training run.

    Attributes:
        hold_out: whether some playlists are held out for the evaluation and the gate.
        warm: whether the fit starts from the published version, if there is one.
        refit: whether the held-out playlists are added by another warm fit after the evaluation.
        force: whether the version is published whatever the verdict.
        baselines: whether the evaluation includes the baselines.
        tolerance: the relative fall of NDCG or R-precision that is accepted.
        reading: the options of reading.
        catalogues: tables of what is known of tracks.
        needs_locks: whether a store on a file system without locks is refused.
    """

    hold_out: bool = True
    warm: bool = True
    refit: bool = False
    force: bool = False
    baselines: bool = True
    tolerance: float = TOLERANCE
    reading: ReadOptions = DEFAULTS
    catalogues: Sequence[Path] = ()
    needs_locks: bool = True


def train(paths: Sequence[Path], models: Path, configs: Configs, plan: Plan = Plan()) -> Manifest:
    """
    Train on the playlists of *paths* and publish the model in the store *models*.

    Some playlists are held out. The staged version, opened as the service opens it, and the published one answer them
    before publication. A run that fails leaves the published version unchanged.

    Returns:
        The manifest of the published version.

    Raises:
        NotPublished: the staged version is worse than the published one, or another run published first.
        TrainerError: the data cannot be read or contain too little.
        ModelError: another run is writing to the store, or the staged version cannot be opened.
        OSError: the store cannot be written to.
    """
    store = Store(models, plan.needs_locks)
    with store.writing():
        stopwatch, version = Stopwatch(), store.next_version()
        with stopwatch.step("reading"):
            catalogue = read_catalogue(plan.catalogues) if plan.catalogues else None  # first: a fault costs no reading
            dataset = replace(_read(paths, plan.reading), catalogue=catalogue)
            if catalogue is not None:
                check_ids(catalogue, dataset.vocabulary.track_ids)
        config = configs.for_data(dataset.listening)
        held_out = hold_out(dataset) if plan.hold_out else np.zeros(len(dataset), bool)
        with _current(store) as published, store.staging(version) as staged:
            start = find_start(published, dataset, held_out) if plan.warm else None
            given = {"inputs": [str(path) for path in paths], "columns": dict(plan.reading.columns)}
            inputs = given | dataset.understood()
            learned = dataset.select(~held_out)
            with _ranker(learned, config, version, start, stopwatch) as (ranker, taught, first):
                inputs |= {"ranker": taught}
                fit_and_write(learned, staged, version, config, inputs, first, stopwatch, ranker)
            gate = (config.seed, plan.tolerance, plan.baselines, stopwatch)
            outcome = judge(staged, published, dataset, held_out, *gate)
            forced = plan.force and not outcome.verdict.passed
            refit = plan.refit and bool(held_out.any()) and (outcome.verdict.passed or forced)
            if refit:
                _refit(dataset, staged, config, inputs, stopwatch)
                held_out = np.zeros(len(dataset), bool)
            with stopwatch.step("report"):
                _describe(staged, dataset, held_out, config, outcome, forced, stopwatch)
            missing = unserved(dataset, held_out)
            if missing:
                say(f"{missing:,} {dataset.kind} are in held-out playlists only and not served; --refit adds them")
            facts = {"hold_out": plan.hold_out, "refit": refit, "forced": forced, "unserved": missing}
            with stopwatch.step("publishing"):
                judgement = _judgement(version, published, outcome, forced)
                manifest = amend_version(staged, facts | judgement, outcome.summary())
                _publish(store, staged, published, outcome.verdict, forced)
    say(str(stopwatch))
    say(f"published{' by force' if forced else ''}: {outcome.verdict.reason}")
    return manifest


def evaluate(
    paths: Sequence[Path], configs: Configs, out: Path | None = None, reading: ReadOptions = DEFAULTS
) -> Evaluation:
    """
    Compare Segue with the baselines on held-out playlists, by the protocol of RecSys Challenge 2018.

    Of listening histories, a fifth of the items of each listener is hidden instead.

    Args:
        paths: the data.
        configs: the numbers of Segue's training run.
        out: a directory for `challenge_set.json`, `answers.json` and Segue's `submission.csv`; None for no files.
        reading: the options of reading.

    Raises:
        TrainerError: the data cannot be read or contain too few playlists.
        OSError: *out* cannot be written to.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset = _read(paths, reading)
    config = configs.for_data(dataset.listening)
    if dataset.listening and out is not None:
        raise BadInput("--out needs playlists, and these data are listening histories; leave it out")
    learned, tasks = split(dataset, config.seed)
    say(f"{len(learned):,} playlists to learn from, {len(tasks):,} to continue")
    answers = dict(_answers(learned, tasks, config))
    if out is not None:
        write_challenge(out, dataset, tasks, answers["segue"])
    artists, n_items = dataset.vocabulary.artists_by_track(), len(learned.item_ids)
    return Evaluation({name: score(tasks, found, artists, n_items) for name, found in answers.items()}, config.seed)


def tune_numbers(
    paths: Sequence[Path],
    configs: Configs,
    fixed: Sequence[str],
    grid: Mapping[str, Sequence[Any]],
    budget: Budget,
    study: Path,
    out: Path,
    reading: ReadOptions = DEFAULTS,
) -> str:
    """
    Search for the best numbers for the data of *paths*; see `tune`.

    Raises:
        TrainerError: the data cannot be read or are too few, or the numbers are out of range.
        OSError: *study* or *out* cannot be written to.
    """
    _check_writable(out)
    dataset = _read(paths, reading)
    return tune(dataset, configs.for_data(dataset.listening), fixed, grid, budget, study, out)


def answer_challenge(challenge_set: Path, models: Path, out: Path, team: str, email: str) -> int:
    """
    Answer a published challenge set with the current version of the store *models*.

    Returns:
        The number of playlists.

    Raises:
        TrainerError: *challenge_set* cannot be read, or the catalogue is too small.
        ModelError: there is no published version that can be opened.
        OSError: *out* cannot be written.
    """
    pids, tasks = read_challenge(challenge_set)
    with closing(Recommender.open(Store(models).current())) as recommender:
        n_tracks = recommender.manifest.shape.tracks
        if any(n_tracks - len(task.seeds) < ANSWER_ITEMS for task in tasks):
            raise BadInput(f"{models} knows {n_tracks} tracks; a submission takes {ANSWER_ITEMS} for each playlist")
        _check_writable(out)
        write_submission(out, pids, ask(Segue(recommender), tasks, "answering"), team, email)
    return len(tasks)


def recommend(
    paths: Sequence[Path], models: Path, out: Path, k: int, kind: Kind | None = None, reading: ReadOptions = DEFAULTS
) -> int:
    """
    Continue all playlists of *paths* with the current version of the store *models* and write them to *out*.

    Returns:
        The number of playlists.

    Raises:
        TrainerError: the data cannot be read, or *out* exists.
        ModelError: there is no published version that can be opened.
        OSError: *out* cannot be written.
    """
    check_out(out)
    version = Store(models).current()
    return write_continuations(_read(paths, reading), version, out, k, kind)


def _check_writable(path: Path) -> None:
    """Raise OSError now, and not after hours of work, if *path* cannot be written."""
    probe = path.with_name(f"{path.name}.partial")
    probe.touch()
    probe.unlink()


def _read(paths: Sequence[Path], reading: ReadOptions) -> Dataset:
    found = read(paths, reading)
    dataset = replace(build_dataset(found), inputs=found.groups, passed_over=found.passed)
    vocabulary = dataset.vocabulary
    say(
        f"{len(dataset):,} {'listeners' if dataset.listening else 'playlists'}, {len(vocabulary.track_ids):,} tracks, "
        f"{len(vocabulary.artist_ids):,} artists, {dataset.entries:,} distinct entries"
    )
    if dataset.joined_tracks:
        say(f"joined {dataset.joined_tracks:,} tracks without an id to the track of the same artist and name")
    if dataset.joined_artists:
        say(f"joined {dataset.joined_artists:,} artists without an id to the artist of the same name")
    if dataset.empty_playlists:
        say(f"skipped {dataset.empty_playlists:,} playlists without tracks")
    if dataset.repeated_playlists:
        say(f"skipped {dataset.repeated_playlists:,} playlists that repeat an earlier one: same id, title and tracks")
    if dataset.repeated_ids:
        say(f"{dataset.repeated_ids:,} playlists have the id of an earlier one; each counts as a playlist of its own")
    return dataset


@contextmanager
def _current(store: Store) -> Iterator[Recommender | None]:
    """
    Open the published version; None if there is none that this release can open.

    Raises:
        ModelError: it cannot be read now. Another version must not be published without a comparison for that.
    """
    try:
        recommender = Recommender.open(store.current())
    except ModelError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        if not isinstance(error, NoModel) or store.pointer.exists():
            say(f"cold start without a comparison, as the published version cannot be opened: {error}")
        yield None
        return
    with closing(recommender):
        yield recommender


@contextmanager
def _ranker(
    learned: Dataset, config: TrainingConfig, version: str, start: Artifacts | None, stopwatch: Stopwatch
) -> Iterator[tuple[Ranker | None, dict[str, Any] | None, Artifacts | None]]:
    """
    Yield the ranker of the version to start from, or one that is taught on *learned*, and the facts on it.

    Also yield the version to start from: *start*, or without one the ranker's first stage, if that was left.
    """
    if not config.ranker_playlists:
        yield None, None, start
        return
    _say_titles(learned, config)
    # A ranker that has not seen the inputs of titles would make nothing of them.
    needs_titles = compares_titles(learned, config)
    if start is not None and start.stages is not None and (start.stages.pooling.titles or not needs_titles):
        say(f"the ranker stays that of {start.manifest.version}")
        yield start.stages.ranker, start.manifest.training.get("ranker"), start
        return
    with ExitStack() as cleanup:
        left = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="segue-first-stage-")))
        with stopwatch.step("ranker"):
            taught = teach(replace(learned, catalogue=None), config, left if start is None else None)
        if any(left.iterdir()):
            start = cleanup.enter_context(closing(Recommender.open(left))).artifacts
        if taught is None:
            yield None, None, start
        else:
            yield taught.ranker, {"version": version, **asdict(taught.judgement)}, start


def _say_titles(learned: Dataset, config: TrainingConfig) -> None:
    if config.ranker_playlists and config.title_axes and any(learned.titles):
        by_meaning, by_words = (
            f"meaning, by {installed_encoder()}",
            "words alone; install segue[titles] for their meaning",
        )
        say(f"titles are compared by their {by_meaning if installed_encoder() else by_words}")


def _refit(
    dataset: Dataset, staged: Path, config: TrainingConfig, inputs: Mapping[str, Any], stopwatch: Stopwatch
) -> None:
    """Replace the version in *staged* by one that starts from it and is trained on all of *dataset*."""
    measured = staged.with_name(f"{staged.name}.measured")
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, measured, ignore_errors=True)
        staged.rename(measured)
        staged.mkdir()
        recommender = cleanup.enter_context(closing(Recommender.open(measured)))
        first = recommender.manifest
        artifacts = recommender.artifacts
        ranker = artifacts.stages.ranker if artifacts.stages else None
        fit_and_write(dataset, staged, first.version, config, inputs, artifacts, stopwatch, ranker)
        # The measured version is removed, so the manifest names the version that it started from.
        amend_version(staged, {"warm_start": first.training["warm_start"]})


def _describe(
    staged: Path,
    dataset: Dataset,
    held_out: Bools,
    config: TrainingConfig,
    outcome: Outcome,
    forced: bool,
    stopwatch: Stopwatch,
) -> None:
    """Add metrics and report to the staged version."""
    if outcome.scores:
        (_, ours), *others = ((name, scores.table()) for name, scores in outcome.scores.items())
        metrics = {"by_category": ours, "others": dict(others)}
        write_text(staged / METRICS, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    with closing(Recommender.open(staged)) as recommender:
        report = gather(recommender, profile_of(config), dataset, held_out, outcome, forced, stopwatch.done)
    write_text(staged / REPORT, render(report))


def _judgement(version: str, published: Recommender | None, outcome: Outcome, forced: bool) -> dict[str, Any]:
    """Return the part of the manifest on the gate, with the quality to compare the next version with."""
    quality = Quality.of(version, outcome.scores["segue"]) if outcome.scores else None
    if published is not None and not forced:
        quality = quality_to_keep(quality, quality_of(published))
    return {"gate": asdict(outcome.verdict), "record": None if quality is None else asdict(quality)}


def _publish(store: Store, staged: Path, published: Recommender | None, verdict: Verdict, forced: bool) -> None:
    """
    Publish the staged version over the *published* one.

    Raises:
        NotPublished: the verdict is against it, or another run published first; the version is kept for inspection.
    """
    if not verdict.passed and not forced:
        kept = store.refuse(staged)
        raise NotPublished(f"not published: {verdict.reason}; inspect it in {kept}, or publish it with --force")
    try:
        store.publish(staged, over=None if published is None else published.manifest.version)
    except StoreChanged as changed:
        raise NotPublished(f"not published: {changed}; inspect it in {store.refuse(staged)}, train again") from changed


def _answers(learned: Dataset, tasks: Sequence[Task], config: TrainingConfig) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the name and the answers of Segue and of each baseline; only one recommender is in memory at a time."""
    with tempfile.TemporaryDirectory(prefix="segue-evaluate-") as directory:
        _say_titles(learned, config)
        taught = teach(learned, config)
        ranker = taught.ranker if taught else None
        fit_and_write(learned, Path(directory), "evaluated", config.without_indexes(), {}, None, Stopwatch(), ranker)
        with closing(Recommender.open(Path(directory))) as recommender:
            yield "segue", ask(Segue(recommender), tasks, "segue")
            if ranker is not None:
                yield FIRST_STAGE, ask(Segue(recommender, rank=False), tasks, FIRST_STAGE)
    yield from baseline_answers(learned, tasks, config.seed)
