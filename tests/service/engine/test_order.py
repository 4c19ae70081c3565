"""The order of scores: falling, and the same for the same scores."""

import numpy as np
import pytest

from service.engine.order import falling


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_scores_fall(n: int):
    scores = np.random.default_rng(n).standard_normal(n).astype(np.float32)

    assert falling(scores).tolist() == np.argsort(-scores, kind="stable").tolist()


def test_of_equal_scores_the_first_comes_first():
    assert falling(np.array([1, 2, 1, 2, 1], np.float32)).tolist() == [1, 3, 0, 2, 4]


def test_of_equal_scores_the_one_with_the_lower_tie_comes_first():
    scores, ties = np.array([1, 2, 1, -3], np.float32), np.array([7, 9, 5, 0])

    assert falling(scores, ties).tolist() == [1, 2, 0, 3]


def test_the_zeros_are_equal_and_infinity_is_the_highest():
    scores = np.array([0.0, -0.0, np.inf, -np.inf, -1e-38, 1e-38, 0.0], np.float32)

    assert falling(scores).tolist() == [2, 5, 0, 1, 6, 4, 3]
