"""A dataset to the files of a version: the matrix, the fit, from nothing or from a published version, the writing."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Artifacts, Manifest, Model
from service.engine.artifacts import weights_of, write
from service.engine.files import write_array
from trainer.config import TrainingConfig
from trainer.dataset import Dataset, TrainingMatrix, playlist_hash, training_matrix
from trainer.factorize import Fit, factorize, implicit_version, random_vectors
from trainer.progress import progress, say
from trainer.steps import Steps
from trainer.threads import run_interruptibly

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint64]

TRAINED = "trained.npy"
LEAST_SHARED = 0.5  # of the entries; below it a few iterations do not make up for the rest


@dataclass(frozen=True)
class WarmStart:
    """
    A version to begin from.

    Attributes:
        version: its name.
        vectors: float32, shape (n_features, n_factors), for the features of the new matrix; random where it has none.
        shared: how many features it has.
    """

    version: str
    vectors: Floats
    shared: int


def fit_and_write(
    dataset: Dataset,
    directory: Path,
    version: str,
    config: TrainingConfig,
    training: Mapping[str, Any],
    begin: Artifacts | None,
    steps: Steps,
) -> Manifest:
    """
    Fit a model on *dataset* and write it as *version* into the empty *directory*.

    Args:
        dataset: what to train on.
        directory: where its files go.
        version: its name.
        config: its numbers.
        training: what its manifest says of the run; how it was fitted is added here.
        begin: a version to begin from; None to begin from nothing.
        steps: what is done is noted here.

    Raises:
        BadConfig: the numbers make the fit come to nothing.
        OSError: the files cannot be written.
    """
    with steps.step("matrix"):
        numbers = {**asdict(config), **dataset.counts(config.count_cap)}
        matrix = training_matrix(dataset, weights_of(numbers))
        start = None if begin is None else _warm_start(begin, dataset, matrix, config)
    with steps.step("fitting"):
        fit = _fit(matrix, config, start)
    noted = {
        "iterations": len(fit.losses),
        "losses": fit.losses,
        "iteration_s": round(fit.iteration_s, 3),
        "warm_start": None if start is None else {"version": start.version, "shared_features": start.shared},
    }
    vocabulary = dataset.vocabulary
    model = Model(
        vectors=fit.vectors,
        track_ids=vocabulary.track_ids,
        track_names=vocabulary.track_names,
        track_artists=vocabulary.track_artists,
        track_popularity=dataset.popularity(),
        artist_ids=vocabulary.artist_ids,
        artist_names=vocabulary.artist_names,
        artist_popularity=dataset.artist_popularity(),
        words=matrix.words,
        grams=matrix.grams,
        numbers=numbers,
        data={
            "kind": "listening" if dataset.listening else "playlists",
            "playlists": len(dataset),
            "entries": dataset.entries,
            "fingerprint": dataset.fingerprint,
        },
        training={**training, **noted},
        libraries=_libraries(),
    )
    say("writing vectors, catalogue and indexes")
    with steps.step("writing"):
        write_array(directory / TRAINED, _trained_on(dataset, begin if start else None))
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        return run_interruptibly(lambda: write(directory, version, created_at, model))


def trained_hashes(directory: Path) -> Hashes:
    """
    The playlists that the version in *directory*, or any that it began from, was trained on.

    Returns:
        uint64, sorted: the `playlist_hash` of each.
    """
    hashes: Hashes = np.load(directory / TRAINED, allow_pickle=False)
    return hashes


def hashes(playlist_ids: Sequence[str]) -> Hashes:
    """uint64, one for each of *playlist_ids*."""
    return np.fromiter((playlist_hash(id_) for id_ in playlist_ids), np.uint64, len(playlist_ids))


def _trained_on(dataset: Dataset, begin: Artifacts | None) -> Hashes:
    own = hashes(dataset.playlist_ids)
    return np.unique(own if begin is None else np.concatenate((own, trained_hashes(begin.directory))))


def _fit(matrix: TrainingMatrix, config: TrainingConfig, start: WarmStart | None) -> Fit:
    rows, columns = matrix.confidences.shape
    iterations = config.iterations if start is None else config.warm_iterations
    say(f"fitting {config.factors} factors on {rows:,} x {columns:,} with {matrix.confidences.nnz:,} entries")
    with progress(iterations, "fitting") as bar:
        fit = factorize(matrix.confidences, config, bar.update, None if start is None else start.vectors)
    if start is not None:
        seconds, cold = len(fit.losses) * fit.iteration_s, config.iterations * fit.iteration_s
        say(
            f"began from {start.version} ({start.shared:,} of {columns:,} features) and took {seconds:.1f} s; "
            f"from nothing, {config.iterations} iterations would have taken about {cold:.1f} s"
        )
    return fit


def _warm_start(begin: Artifacts, dataset: Dataset, matrix: TrainingMatrix, config: TrainingConfig) -> WarmStart | None:
    shape, version = begin.manifest.shape, begin.manifest.version
    if shape.factors != config.factors:
        say(f"beginning from nothing: {version} has {shape.factors} factors, and {config.factors} are wanted")
        return None
    words, grams = begin.catalogue.terms()
    old = (begin.catalogue.track_ids(), begin.catalogue.artist_ids(), words, grams)
    new = (dataset.vocabulary.track_ids, dataset.vocabulary.artist_ids, matrix.words, matrix.grams)
    rows = _old_rows(old, new)
    vectors = random_vectors(len(rows), config.factors, config.seed)
    known = rows >= 0
    share = float(known[matrix.confidences.indices].mean())
    if share < LEAST_SHARED:
        say(f"beginning from nothing: {version} knows {share:.0%} of what these data hold")
        return None
    vectors[known] = begin.vectors[rows[known]]
    return WarmStart(version, vectors, int(known.sum()))


def _old_rows(old: Sequence[Sequence[str]], new: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """For each feature of *new*, kind by kind, its row among those of *old*, -1 where it is not there."""
    rows, first = [], 0
    for old_keys, new_keys in zip(old, new, strict=True):
        places = {key: row for row, key in enumerate(old_keys, first)}
        rows.append(np.fromiter((places.get(key, -1) for key in new_keys), np.int64, len(new_keys)))
        first += len(old_keys)
    return np.concatenate(rows)


def _libraries() -> dict[str, str]:
    names = ("numpy", "scipy", "annoy", "segue")
    return {"python": platform.python_version(), "implicit": implicit_version()} | {
        name: library_version(name) for name in names
    }
