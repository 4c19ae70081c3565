"""The recipe: read, factorize, write, evaluate, publish."""

import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Manifest, Model, Recommender, Store, Weights, new_version
from service.engine.artifacts import add_metrics, write
from trainer.baselines import Continuer, ItemCosine, PlainALS, PlaylistNeighbours, Popularity
from trainer.challenge import (
    ANSWER_TRACKS,
    CATEGORIES,
    Task,
    assign,
    make_tasks,
    partial_path,
    read_challenge,
    track_artists,
    write_challenge,
    write_submission,
)
from trainer.config import TrainingConfig
from trainer.dataset import Dataset, heldout, read_dataset, training_matrix
from trainer.errors import BadInput, NothingToLearn
from trainer.evaluate import Scores, Segue, ask, format_table, ratio, score, summarize
from trainer.factorize import factorize, implicit_version
from trainer.progress import progress, say
from trainer.sources import read

# `train` holds this share of the playlists out, or more where that gives too few to measure anything.
HELDOUT_SHARE = 0.02
HELDOUT_LEAST = 100
HELDOUT_MOST_SHARE = 0.1
ASKED_MOST = 10_000

# `evaluate` asks this many playlists of each category, within these bounds, and learns from the others.
CATEGORY_SHARE = 0.002
CATEGORY_LEAST = 100
CATEGORY_MOST = 1000
EVALUATED_MOST_SHARE = 0.25

Bools = NDArray[np.bool_]


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
        lines = [f"{'segue / ...':<14}{'NDCG':>26}{'R-prec':>26}{'R-prec, title only':>26}"]
        untitled = CATEGORIES.index(next(category for category in CATEGORIES if not category.seeds))
        for name, theirs in others:
            title_only = ours.categories == untitled
            cells = [
                ratio(ours.values[measure], theirs.values[measure], self.seed) for measure in ("ndcg", "r_precision")
            ]
            precision = ours.values["r_precision"][title_only], theirs.values["r_precision"][title_only]
            cells += [ratio(*precision, self.seed)] if title_only.any() else []
            lines.append(f"  {name:<12}" + "".join(f"{cell!s:>26}" for cell in cells))
        return "\n".join(
            [*lines, "each ratio of means with its 95 % interval by a paired bootstrap over the playlists"]
        )


def train(paths: Sequence[Path], models: Path, config: TrainingConfig, hold_out: bool = True) -> Manifest:
    """
    Train on the playlists of *paths* and publish the model in the store *models*.

    A share of the playlists is held out, and the staged version, opened as the service opens it, is evaluated on them
    before it is published. Whatever fails leaves what was published as it was.

    Returns:
        The manifest of the published version.

    Raises:
        TrainerError: the data cannot be read or hold nothing to learn from.
        ModelError: another run is writing to the store, or the staged version cannot be opened.
        OSError: the store cannot be written to.
    """
    store = Store(models)
    with store.writing():
        dataset = _read(paths)
        asked = _held_out(dataset) if hold_out else np.zeros(len(dataset), bool)
        version = new_version()
        with store.staging(version) as staged:
            _fit_and_write(dataset.select(~asked), staged, version, config)
            if asked.any():
                _evaluate_staged(staged, dataset, asked, config.seed)
            manifest = Manifest.read(staged)
            store.publish(staged)
    return manifest


def evaluate(paths: Sequence[Path], config: TrainingConfig, out: Path | None = None) -> Evaluation:
    """
    Compare Segue with the baselines on held-out playlists, by the protocol of RecSys Challenge 2018.

    Args:
        paths: the data.
        config: of Segue's own training run.
        out: a directory for `challenge_set.json`, `answers.json` and Segue's `submission.csv`; None for none.

    Raises:
        TrainerError: the data cannot be read or hold too few playlists.
        OSError: *out* cannot be written to.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset = _read(paths)
    per_category = int(np.clip(CATEGORY_SHARE * len(dataset), CATEGORY_LEAST, CATEGORY_MOST))
    per_category = max(1, min(per_category, int(EVALUATED_MOST_SHARE * len(dataset) / len(CATEGORIES))))
    chosen = assign(dataset, range(len(dataset)), per_category)
    tasks = make_tasks(dataset, chosen, config.seed)
    asked = np.zeros(len(dataset), bool)
    asked[list(chosen)] = True
    if asked.all() or not tasks:
        raise NothingToLearn(f"{len(dataset)} playlists are too few to learn from some and to ask others")
    learned = dataset.select(~asked)
    say(f"{len(learned):,} playlists to learn from, {len(tasks):,} others to continue")
    answers = dict(_answers(learned, tasks, config))
    if out is not None:
        write_challenge(out, dataset, tasks, answers["segue"])
    artists, n_tracks = track_artists(dataset), len(learned.vocabulary.track_ids)
    return Evaluation({name: score(tasks, found, artists, n_tracks) for name, found in answers.items()}, config.seed)


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


def _read(paths: Sequence[Path]) -> Dataset:
    dataset = read_dataset(read(paths))
    vocabulary = dataset.vocabulary
    say(
        f"{len(dataset):,} playlists, {len(vocabulary.track_ids):,} tracks, {len(vocabulary.artist_ids):,} artists, "
        f"{len(dataset.tracks.rows):,} distinct entries"
    )
    if dataset.empty_playlists:
        say(f"passed over {dataset.empty_playlists:,} playlists without tracks")
    if dataset.repeated_ids:
        say(f"{dataset.repeated_ids:,} playlists have the id of an earlier one; each is learned from on its own")
    return dataset


def _held_out(dataset: Dataset) -> Bools:
    asked = heldout(dataset.playlist_ids, HELDOUT_SHARE, HELDOUT_LEAST, HELDOUT_MOST_SHARE)
    if asked.all():
        raise NothingToLearn(
            f"holding playlists out leaves none of {len(dataset)} to train on; give more, or use --no-holdout"
        )
    return asked


def _fit_and_write(dataset: Dataset, directory: Path, version: str, config: TrainingConfig) -> None:
    weights = Weights(config.alpha, config.artist_weight, config.title_weight, config.gram_weight)
    matrix = training_matrix(dataset, weights)
    rows, columns = matrix.confidences.shape
    say(f"fitting {config.factors} factors on {rows:,} x {columns:,} with {matrix.confidences.nnz:,} entries")
    with progress(config.iterations, "fitting") as bar:
        vectors = factorize(matrix.confidences, config, bar.update)
    vocabulary = dataset.vocabulary
    model = Model(
        vectors=vectors,
        track_ids=vocabulary.track_ids,
        track_names=vocabulary.track_names,
        track_artists=vocabulary.track_artists,
        track_popularity=dataset.popularity(),
        artist_ids=vocabulary.artist_ids,
        artist_names=vocabulary.artist_names,
        artist_popularity=matrix.artist_popularity,
        words=matrix.words,
        grams=matrix.grams,
        numbers=asdict(config),
        data={
            "playlists": len(dataset),
            "entries": len(dataset.tracks.rows),
            "fingerprint": dataset.fingerprint,
        },
        libraries=_libraries(),
    )
    say("writing vectors, catalogue and indexes")
    started = time.monotonic()
    write(directory, version, datetime.now(UTC).isoformat(timespec="seconds"), model)
    say(f"written in {time.monotonic() - started:.0f} s")


def _evaluate_staged(staged: Path, dataset: Dataset, asked: Bools, seed: int) -> None:
    candidates = np.flatnonzero(asked)
    chosen = assign(dataset, candidates, -(-min(len(candidates), ASKED_MOST) // len(CATEGORIES)))
    tasks = make_tasks(dataset, chosen, seed)
    if not tasks:
        return
    recommender = Recommender.open(staged)
    try:
        answers = ask(Segue(recommender), tasks, "evaluating")
        scores = score(tasks, answers, track_artists(dataset), recommender.manifest.shape.tracks)
    finally:
        recommender.close()
    say(format_table("held out", scores.table()))
    add_metrics(staged, {"held_out_playlists": int(asked.sum()), "by_category": scores.table()}, summarize(scores))


def _answers(learned: Dataset, tasks: Sequence[Task], config: TrainingConfig) -> Any:
    """The name and the answers of Segue and of each baseline, one after another, so that one at a time is in memory."""
    with tempfile.TemporaryDirectory(prefix="segue-evaluate-") as directory:
        _fit_and_write(learned, Path(directory), "evaluated", config)
        recommender = Recommender.open(Path(directory))
        try:
            yield "segue", ask(Segue(recommender), tasks, "segue")
        finally:
            recommender.close()
    popularity = Popularity(learned)
    baselines: dict[str, Any] = {
        "popularity": lambda: popularity,
        "item cosine": lambda: ItemCosine(learned, popularity),
        "plain ALS": lambda: PlainALS(learned, popularity, config.seed),
        "playlist kNN": lambda: PlaylistNeighbours(learned, popularity),
    }
    for name, make in baselines.items():
        continuer: Continuer = make()
        yield name, ask(continuer, tasks, name)


def _libraries() -> dict[str, str]:
    names = ("numpy", "scipy", "annoy")
    return {"python": platform.python_version(), "implicit": implicit_version()} | {
        name: library_version(name) for name in names
    }
