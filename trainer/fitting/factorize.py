"""Alternating least squares (ALS) by implicit; no other file imports implicit."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from implicit.recommender_base import ModelFitError
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from trainer.config import TrainingConfig
from trainer.errors import BadConfig
from trainer.interruptible import run_interruptibly

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """
    The result of a fit.

    Attributes:
        vectors: float32, shape (n_features, n_factors).
        losses: the training loss after each iteration.
        iteration_s: the mean time of one iteration.
    """

    vectors: Floats
    losses: Sequence[float]
    iteration_s: float


# implicit runs its own threads; those of BLAS would compete with them.
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
        config: factors, regularization, iterations and seed are used.
        step: called after each iteration.
        start: float32, shape (n_features, n_factors). Vectors to start from, which are overwritten; the fit then takes
            `warm_iterations` instead of `iterations`. None to start from random vectors.

    Raises:
        BadConfig: the fit diverges with these numbers.
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
            f"the fit diverged ({error}) with alpha {config.alpha:g} and regularization {config.regularization:g}; "
            "lower alpha or raise regularization"
        ) from error
    return Fit(np.asarray(model.item_factors, np.float32), losses, float(np.mean(seconds)))


def random_vectors(n_features: int, n_factors: int, seed: int) -> Floats:
    """Return random vectors as implicit starts from: float32, shape (n_features, n_factors)."""
    return np.random.default_rng(seed).random((n_features, n_factors), dtype=np.float32) * np.float32(0.01)


def als(factors: int, alpha: float, regularization: float, iterations: int, seed: int) -> AlternatingLeastSquares:
    """Return an unfitted ALS model of implicit."""
    return AlternatingLeastSquares(
        factors=factors,
        alpha=alpha,
        regularization=regularization,
        iterations=iterations,
        random_state=seed,
        num_threads=os.cpu_count() or 1,
    )


def cosine(neighbours: int) -> CosineRecommender:
    """Return implicit's item-item cosine, which keeps *neighbours* of each item."""
    return CosineRecommender(K=neighbours)
