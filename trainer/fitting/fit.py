"""From a dataset to the files of a version: build the matrix, fit it, write the model."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from service.engine import (
    Artifacts,
    ItemTable,
    Manifest,
    Model,
    Ranker,
    Weights,
    installed_encoder,
    normalize_title,
    write_version,
)
from trainer.config import TrainingConfig
from trainer.dataset import Dataset
from trainer.dataset.attributes import attribute_columns
from trainer.dataset.matrix import TrainingMatrix, training_matrix
from trainer.fitting.factorize import Fit, factorize
from trainer.fitting.provenance import write_trained_hashes
from trainer.fitting.warm_start import WarmStart, prepare
from trainer.interruptible import run_interruptibly
from trainer.progress import progress, say
from trainer.timing import Stopwatch

LIBRARIES = ("implicit", "numpy", "scipy", "annoy", "segue")


def fit_and_write(
    dataset: Dataset,
    directory: Path,
    version: str,
    config: TrainingConfig,
    training: Mapping[str, Any],
    start: Artifacts | None,
    stopwatch: Stopwatch,
    ranker: Ranker | None = None,
    keep: bool = False,
) -> Manifest:
    """
    Fit a model on *dataset* and write it as *version* into the empty *directory*.

    Args:
        dataset: the playlists to train on.
        directory: the place of its files.
        version: its name.
        config: its numbers.
        training: facts on the run for the manifest; those on the fit are added here.
        start: the version to start from; None for a cold start.
        stopwatch: measures the steps.
        ranker: the ranker to write; None for none.
        keep: whether playlists are kept without a ranker, for one that learns from this version.

    Raises:
        BadConfig: the fit diverges with these numbers.
        OSError: the files cannot be written.
    """
    model = _fit_model(dataset, config, training, start, stopwatch, kept=keep or ranker is not None)
    model = replace(model, ranker=ranker)
    say("writing vectors, catalogue and indexes")
    with stopwatch.step("writing"):
        warm = model.training["warm_start"] is not None
        write_trained_hashes(directory, dataset, start if warm else None)
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        return run_interruptibly(lambda: write_version(directory, version, created_at, model))


def _fit_model(
    dataset: Dataset,
    config: TrainingConfig,
    training: Mapping[str, Any],
    start: Artifacts | None,
    stopwatch: Stopwatch,
    kept: bool,
) -> Model:
    """Return the fitted model without a ranker, and with a sample of the playlists if they are *kept*."""
    with stopwatch.step("matrix"):
        numbers = {**asdict(config), **dataset.count_statistics(config.count_cap)}
        matrix = training_matrix(dataset, Weights.of(numbers))
        warm = None if start is None else prepare(start, dataset, matrix, config)
    with stopwatch.step("fitting"):
        fit = _fit(matrix, config, warm)
    model = _model(dataset, matrix, fit, numbers, {**training, **_facts(fit, warm)})
    if not kept:
        return model
    titles = dataset.titles if compares_titles(dataset, config) else ()
    return replace(model, sample=matrix.sample(dataset.items, titles, config.kept_playlists, config.seed))


def compares_titles(dataset: Dataset, config: TrainingConfig) -> bool:
    """Return whether versions compare titles by their meaning: if *config* says so and the encoder is installed."""
    wanted = config.title_axes > 0 and installed_encoder() is not None
    return wanted and any(map(normalize_title, dataset.titles))


def _fit(matrix: TrainingMatrix, config: TrainingConfig, warm: WarmStart | None) -> Fit:
    rows, columns = matrix.confidences.shape
    iterations = config.iterations if warm is None else config.warm_iterations
    say(f"fitting {config.factors} factors on {rows:,} x {columns:,} with {matrix.confidences.nnz:,} entries")
    with progress(iterations, "fitting") as bar:
        fit = factorize(matrix.confidences, config, bar.update, None if warm is None else warm.vectors)
    if warm is not None:
        seconds, cold = len(fit.losses) * fit.iteration_s, config.iterations * fit.iteration_s
        say(
            f"warm start from {warm.version} ({warm.shared:,} of {columns:,} features): {seconds:.1f} s; "
            f"{config.iterations} iterations of a cold start would take about {cold:.1f} s"
        )
    return fit


def _facts(fit: Fit, warm: WarmStart | None) -> dict[str, Any]:
    return {
        "iterations": len(fit.losses),
        "losses": fit.losses,
        "iteration_s": round(fit.iteration_s, 3),
        "warm_start": None if warm is None else {"version": warm.version, "shared_features": warm.shared},
    }


def _model(
    dataset: Dataset, matrix: TrainingMatrix, fit: Fit, numbers: Mapping[str, Any], training: Mapping[str, Any]
) -> Model:
    vocabulary = dataset.vocabulary
    return Model(
        vectors=fit.vectors,
        items={
            "tracks": ItemTable(vocabulary.track_ids, vocabulary.track_names, dataset.popularity()),
            "artists": ItemTable(vocabulary.artist_ids, vocabulary.artist_names, dataset.artist_popularity()),
        },
        track_artists=vocabulary.track_artists,
        words=matrix.words,
        grams=matrix.grams,
        numbers=numbers,
        data={
            "kind": "listening" if dataset.listening else "playlists",
            "playlists": len(dataset),
            "entries": dataset.entries,
            "fingerprint": dataset.fingerprint,
        },
        training=training,
        attributes=() if dataset.catalogue is None else attribute_columns(dataset.catalogue, vocabulary.track_ids),
        libraries={"python": platform.python_version()} | {name: library_version(name) for name in LIBRARIES},
    )
