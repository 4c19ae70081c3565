"""Alternating least squares by implicit; the only file that imports it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from implicit.recommender_base import ModelFitError
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from trainer.config import TrainingConfig
from trainer.errors import BadConfig
from trainer.threads import run_interruptibly

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """
    What a fit came to.

    Attributes:
        vectors: float32, shape (n_features, n_factors).
        losses: after each iteration.
        iteration_s: how long one iteration took, on average.
    """

    vectors: Floats
    losses: Sequence[float]
    iteration_s: float


# implicit has threads of its own, and those of BLAS would fight with them for as long as the process lives.
threadpool_limits(1, "blas")


def factorize(
    confidences: "csr_matrix[np.float32]",
    config: TrainingConfig,
    step: Callable[[], object] = lambda: None,
    start: Floats | None = None,
) -> Fit:
    """
    Fit one vector for each column of *confidences*.

    implicit reads a stored value as the confidence c of a preference of 1, so its own alpha stays 1.

    Args:
        confidences: float32 CSR, shape (n_playlists, n_features).
        config: factors, regularization, iterations and seed are of use here.
        step: called after each iteration.
        start: float32, shape (n_features, n_factors). Vectors to begin from, overwritten; then `warm_iterations` are
            made instead of `iterations`. None to begin from random ones.

    Raises:
        BadConfig: the numbers make the vectors grow beyond all bounds.
    """
    iterations = config.iterations if start is None else config.warm_iterations
    model = als(config.factors, 1.0, config.regularization, iterations, config.seed)
    model.calculate_training_loss = True
    if start is not None:
        model.item_factors = start
    losses, seconds = [], []

    def note(_: int, elapsed_s: float, loss: float) -> None:
        losses.append(float(loss))
        seconds.append(elapsed_s)
        step()

    try:
        run_interruptibly(lambda: model.fit(confidences, show_progress=False, callback=note))
    except ModelFitError as error:
        raise BadConfig(
            f"the fit came to nothing ({error}) with alpha {config.alpha:g} and regularization "
            f"{config.regularization:g}; lower the one or raise the other"
        ) from error
    return Fit(np.asarray(model.item_factors, np.float32), losses, float(np.mean(seconds)))


def random_vectors(n_features: int, n_factors: int, seed: int) -> Floats:
    """Such vectors as implicit begins from: float32, shape (n_features, n_factors)."""
    return np.random.default_rng(seed).random((n_features, n_factors), dtype=np.float32) * np.float32(0.01)


def als(factors: int, alpha: float, regularization: float, iterations: int, seed: int) -> AlternatingLeastSquares:
    """implicit's own model, for those who compare with it."""
    return AlternatingLeastSquares(
        factors=factors,
        alpha=alpha,
        regularization=regularization,
        iterations=iterations,
        random_state=seed,
        num_threads=os.cpu_count() or 1,
    )


def cosine(neighbours: int) -> CosineRecommender:
    """implicit's item-item cosine, keeping so many *neighbours* of each item."""
    return CosineRecommender(K=neighbours)


def implicit_version() -> str:
    """For the manifest."""
    return version("implicit")
