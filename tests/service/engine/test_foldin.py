"""One playlist, one solve."""

import numpy as np
import pytest

from service.engine import PlaylistError, fold_in, gram_matrix

RANDOM = np.random.default_rng(7)
VECTORS = RANDOM.standard_normal((30, 8)).astype(np.float32)
REGULARIZATION = 0.05


def test_it_solves_the_equation_of_its_docstring():
    columns, confidences = np.array([3, 8, 20], np.int32), np.array([21, 5, 1.5], np.float32)

    x = fold_in(columns, confidences, VECTORS, gram_matrix(VECTORS, REGULARIZATION))

    everything = np.ones(30)
    everything[columns] = confidences
    preference = np.zeros(30)
    preference[columns] = 1
    wide = VECTORS.astype(np.float64)
    left = wide.T @ np.diag(everything) @ wide + REGULARIZATION * np.eye(8)
    np.testing.assert_allclose(x, np.linalg.solve(left, wide.T @ (everything * preference)), rtol=1e-4, atol=1e-6)


def test_a_dislike_is_a_feature_of_preference_0_with_a_confidence():
    columns, confidences = np.array([3, 8], np.int32), np.array([21, 5], np.float32)
    disliked, against = np.array([1, 20], np.int32), np.array([9, 2], np.float32)

    x = fold_in(columns, confidences, VECTORS, gram_matrix(VECTORS, REGULARIZATION), (disliked, against))

    everything, preference = np.ones(30), np.zeros(30)
    everything[columns], everything[disliked], preference[columns] = confidences, against, 1
    wide = VECTORS.astype(np.float64)
    left = wide.T @ np.diag(everything) @ wide + REGULARIZATION * np.eye(8)
    np.testing.assert_allclose(x, np.linalg.solve(left, wide.T @ (everything * preference)), rtol=1e-4, atol=1e-6)


def test_the_order_of_the_seeds_does_not_matter():
    gram = gram_matrix(VECTORS, REGULARIZATION)
    columns, confidences = np.array([1, 2, 3], np.int32), np.array([2, 3, 4], np.float32)

    np.testing.assert_allclose(
        fold_in(columns, confidences, VECTORS, gram),
        fold_in(columns[::-1], confidences[::-1], VECTORS, gram),
        rtol=1e-5,
    )


def test_the_gram_matrix_is_not_changed_by_a_solve():
    gram = gram_matrix(VECTORS, REGULARIZATION)
    before = gram.copy()

    fold_in(np.array([1], np.int32), np.array([9], np.float32), VECTORS, gram)

    assert (gram == before).all()


def test_an_empty_playlist_is_refused():
    with pytest.raises(PlaylistError, match="popularity"):
        fold_in(np.empty(0, np.int32), np.empty(0, np.float32), VECTORS, gram_matrix(VECTORS, REGULARIZATION))


def test_an_unsolvable_system_names_the_remedy():
    with pytest.raises(ArithmeticError, match="regularization"):
        fold_in(np.array([0], np.int32), np.array([1], np.float32), VECTORS * 0, gram_matrix(VECTORS * 0, 0))
