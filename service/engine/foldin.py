"""Fold-in: one least-squares solve for one playlist."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from service.engine.errors import PlaylistError

Floats = NDArray[np.float32]


def gram_matrix(vectors: Floats, regularization: float) -> Floats:
    """
    Return Y'Y + lambda I, the part of the solve that is the same for every playlist.

    Args:
        vectors: float32, shape (n_features, n_factors). Y.
        regularization: lambda of the training run.

    Returns:
        float32, shape (n_factors, n_factors).
    """
    return vectors.T @ vectors + np.float32(regularization) * np.eye(vectors.shape[1], dtype=np.float32)


def fold_in(
    columns: NDArray[np.int32],
    confidences: Floats,
    vectors: Floats,
    gram: Floats,
    dislikes: tuple[NDArray[np.int32], Floats] | None = None,
) -> Floats:
    """
    Solve for the vector of a playlist that training never saw.

    With Y the vectors of all features, F those of this playlist's features and c their confidences, x solves

        (Y'Y + lambda I + F' diag(c - 1) F) x = F' c

    which is one half-step of alternating least squares with the features held still (Hu, Koren and Volinsky,
    "Collaborative Filtering for Implicit Feedback Datasets", 2008, equation 4). A dislike is a feature with the
    preference 0 and a confidence d above 1, which adds D' diag(d - 1) D to the left side and nothing to the right.

    Args:
        columns: int, shape (n_seeds,). Rows of *vectors*, each once, at least one.
        confidences: float32, shape (n_seeds,), each 1 or more; a feature that is absent weighs 1.
        vectors: float32, shape (n_features, n_factors).
        gram: float32, shape (n_factors, n_factors), from `gram_matrix`.
        dislikes: columns and confidences of disliked features; None for none.

    Returns:
        float32, shape (n_factors,).

    Raises:
        PlaylistError: *columns* is empty.
    """
    if not len(columns):
        raise PlaylistError("cannot fold in a playlist of no known features; answer it by popularity")
    left = system(columns, confidences, vectors, gram, dislikes)
    _, x, failure = lapack.sposv(left, vectors[columns].T @ confidences, overwrite_a=True, overwrite_b=True)
    if failure:
        raise ArithmeticError(
            f"the system of {len(columns)} features is not positive definite (LAPACK sposv: {failure}); "
            "train with a higher regularization"
        )
    return np.asarray(x, np.float32)


def system(
    columns: NDArray[np.int32],
    confidences: Floats,
    vectors: Floats,
    gram: Floats,
    dislikes: tuple[NDArray[np.int32], Floats] | None = None,
) -> Floats:
    """Return the left side of the equation of `fold_in`, float32, shape (n_factors, n_factors)."""
    left: Floats = gram
    for of_kind, weights in ((columns, confidences), dislikes or (columns[:0], confidences[:0])):
        if len(of_kind):
            chosen = vectors[of_kind]
            left = np.asarray(left + (chosen.T * (weights - 1)) @ chosen, np.float32)
    return left
