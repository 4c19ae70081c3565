"""Teaches the ranker, and leaves it out if it orders worse than the first stage."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from service.engine import Pool, Ranker, damp, standardize
from trainer.config import TrainingConfig
from trainer.dataset import Dataset
from trainer.dataset.dataset import Bools
from trainer.evaluation.tasks import Task
from trainer.interruptible import run_interruptibly
from trainer.progress import progress, say
from trainer.ranking.examples import Examples, gather
from trainer.ranking.judgement import Judgement, judge

Floats = NDArray[np.float32]

# Of every so many playlists, one does not teach: it is asked afterwards.
ASKED_OF = 10

# Candidates of a task that are no hits and teach, at most.
MISSES = 200

# Fewer hits or playlists than that teach nothing.
LEAST_HITS, LEAST_ASKED = 1000, 10

UNITS, BATCH_ROWS, RATE, PENALTY = (64, 32), 2048, 0.002, 1e-4

# An input with a smaller deviation is constant.
CONSTANT = 1e-6

# Passes over the examples, within which a fit takes the wanted number of steps.
EPOCHS_LEAST, EPOCHS_MOST = 4, 20


@dataclass(frozen=True)
class Taught:
    """A ranker, and how well it orders the candidates of playlists that did not teach it."""

    ranker: Ranker
    judgement: Judgement


def teach(dataset: Dataset, config: TrainingConfig, first_stage: Path | None = None) -> Taught | None:
    """
    Teach a ranker on playlists of *dataset*; see `gather` for its arguments.

    Returns:
        The ranker; None if *config* wants none, if there are too few playlists, or if the ranker is not better than
        the first stage. The run says which.
    """
    if not config.ranker_playlists:
        return None
    random = np.random.default_rng(config.seed)
    asked: list[tuple[Task, Pool, Bools]] = []
    taught = Examples.of(set_aside(gather(dataset, config, first_stage), asked, random))
    checked = Examples.of(asked)
    if taught.hits.sum() < LEAST_HITS or len(checked) < LEAST_ASKED:
        say("no ranker: there are too few playlists to learn from; answers are ordered by the first stage")
        return None
    return check(fit_ranker(taught, config), checked, config.seed)


def check(ranker: Ranker, asked: Examples, seed: int) -> Taught | None:
    """Return *ranker* with the judgement on it by the tasks of *asked*; None if the first stage is as good."""
    judged = judge(ranker, asked, seed)
    say(f"ranker: {judged}" if judged.better else f"no ranker, as it is not better than the first stage: {judged}")
    return Taught(ranker, judged) if judged.better else None


def set_aside(
    tasks: Iterable[tuple[Task, Pool, Bools]], asked: list[tuple[Task, Pool, Bools]], random: np.random.Generator
) -> Iterator[tuple[Task, Pool, Bools]]:
    """Yield the *tasks* that teach, with some of their misses; append one of each other playlist to *asked*."""
    seen = set()
    for task, pool, hits in tasks:
        if task.index % ASKED_OF == 0:
            if task.index not in seen:
                asked.append((task, pool, hits))
            seen.add(task.index)
            continue
        misses = np.flatnonzero(~hits)
        chosen = random.choice(misses, min(MISSES, len(misses)), replace=False)
        kept = np.concatenate((np.flatnonzero(hits), chosen))
        yield task, Pool(pool.rows[kept], pool.solve[kept], pool.inputs[kept]), hits[kept]


def fit_ranker(taught: Examples, config: TrainingConfig) -> Ranker:
    """Fit the networks of a ranker to the examples of *taught*, each from its own random numbers."""
    damped = damp(taught.inputs)
    mean = damped.mean(axis=0)
    deviation = np.array([column.std() for column in damped.T])  # over all at once, it would copy them
    deviation[deviation < CONSTANT] = np.inf  # nothing was learned of an input that never changed
    del damped
    values = standardize(taught.inputs, mean, deviation)
    epochs = min(max(config.ranker_steps * BATCH_ROWS // len(values), EPOCHS_LEAST), EPOCHS_MOST)
    networks = run_interruptibly(
        lambda: _fit_networks(values, taught.hits, epochs, range(config.seed, config.seed + config.ranker_networks))
    )
    weights = [np.stack(each).astype(np.float32) for each in zip(*(found.coefs_ for found in networks), strict=True)]
    biases = [
        np.stack(each)[:, None].astype(np.float32)
        for each in zip(*(found.intercepts_ for found in networks), strict=True)
    ]
    return Ranker(mean, deviation, list(zip(weights, biases, strict=True)))


def _fit_networks(values: Floats, hits: Bools, epochs: int, seeds: Sequence[int]) -> list[MLPClassifier]:
    """Fit a network for each of *seeds*, one on each processor at the same time."""
    with (
        warnings.catch_warnings(),
        progress(len(seeds) * epochs, "ranker") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return list(pool.map(lambda seed: _fit_network(values, hits, epochs, seed, bar.update), seeds))


def _fit_network(values: Floats, hits: Bools, epochs: int, seed: int, done: Callable[[float], object]) -> MLPClassifier:
    """Fit a network to standardised inputs, and call *done* after each epoch."""
    network = MLPClassifier(
        UNITS, batch_size=min(BATCH_ROWS, len(values)), learning_rate_init=RATE, alpha=PENALTY, random_state=seed
    )
    for _ in range(epochs):
        network.partial_fit(values, hits, classes=[False, True])
        done(1)
    return network
