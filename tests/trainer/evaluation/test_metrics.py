"""The measures of the challenge, on lists whose values can be worked out by hand."""

import math

import pytest

from trainer.evaluation.metrics import clicks, ndcg, r_precision, r_precision_artist

ARTISTS = {"a": "A", "a2": "A", "a3": "A", "b": "B", "b2": "B", "x": "X", "y": "Y"}


def test_r_precision_is_the_share_of_hits_among_the_first_g():
    assert r_precision(["a", "x", "b"], ["a", "b"]) == 0.5
    assert r_precision(["b", "a", "x"], ["a", "b"]) == 1
    assert r_precision(["x", "y", "a", "b"], ["a", "b"]) == 0


def test_artist_credit_is_a_quarter_for_each_artist_first_met():
    assert r_precision_artist(["a2", "x"], ["a", "b"], ARTISTS) == 0.25 / 2
    assert r_precision_artist(["a2", "b2"], ["a", "b"], ARTISTS) == 0.5 / 2
    assert r_precision_artist(["a2", "a3"], ["a", "b"], ARTISTS) == 0.25 / 2
    assert r_precision_artist(["a", "a2"], ["a", "b"], ARTISTS) == (1 + 0.25) / 2


def test_a_track_without_an_artist_earns_no_credit():
    assert r_precision_artist(["u", "v"], ["w", "z"], {}) == 0


def test_ndcg_discounts_by_the_logarithm_of_the_rank():
    assert ndcg(["a", "b", "x"], ["a", "b"]) == 1
    assert ndcg(["x", "a"], ["a"]) == pytest.approx(1 / math.log2(3))
    assert ndcg(["a", "x", "b"], ["a", "b"]) == pytest.approx((1 + 0.5) / (1 + 1 / math.log2(3)))
    assert ndcg(["x"], ["a"]) == 0


def test_clicks_count_pages_of_ten_before_the_first_hit():
    recommended = [f"n{i}" for i in range(500)]

    assert clicks(recommended, ["n0"]) == 0
    assert clicks(recommended, ["n9"]) == 0
    assert clicks(recommended, ["n10", "n400"]) == 1
    assert clicks(recommended, ["n499"]) == 49
    assert clicks(recommended, ["other"]) == 51


@pytest.mark.parametrize("measure", [r_precision, ndcg, clicks, lambda r, g: r_precision_artist(r, g, {})])
def test_nothing_hidden_is_refused_and_no_success(measure):
    with pytest.raises(ValueError, match="nothing is hidden"):
        measure(["a"], [])


def test_an_answer_of_nothing_scores_nothing():
    assert r_precision([], ["a"]) == 0
    assert ndcg([], ["a"]) == 0
    assert clicks([], ["a"]) == 1
