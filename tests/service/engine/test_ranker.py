"""The ranker: its arithmetic, and the inputs that it is given."""

import numpy as np
import pytest

from service.engine.exact import RankingVectors
from service.engine.inputs import INPUTS, Candidates, ItemFacts, Query, describe
from service.engine.playlists import NO_VOTES, Votes
from service.engine.pool import sums_of
from service.engine.ranker import Ranker, damp, ranker_shapes

N = len(INPUTS)


def test_damping_keeps_signs_and_order():
    assert damp(np.array([-3, -1, 0, 1, 3], np.float32)) == pytest.approx(np.log([1 / 4, 1 / 2, 1, 2, 4]))


def test_a_score_is_the_mean_of_the_networks():
    weights, biases = np.zeros((2, N, 2), np.float32), np.zeros((2, 1, 2), np.float32)
    weights[0, 0], biases[0, 0] = (1, -1), (0, 0.5)
    out = np.array([[[2], [4]], [[0], [0]]], np.float32), np.array([[[1]], [[3]]], np.float32)
    layers = [(weights, biases), out]
    ranker = Ranker(np.zeros(N, np.float32), np.ones(N, np.float32), layers)
    inputs = np.zeros((3, N), np.float32)
    inputs[:, 0] = np.expm1([2, 0.25, 50])  # damped: 2, .25, and 5, as no input is further from the mean

    first = np.array([2 * 2 + 1, 2 * 0.25 + 4 * 0.25 + 1, 2 * 5 + 1])
    assert ranker.score(inputs) == pytest.approx((first + 3) / 2)


def test_a_ranker_is_read_as_it_was_written():
    random = np.random.default_rng(0)
    arrays = {name: random.random(shape, np.float32) for name, shape in ranker_shapes(2, [5, 3]).items()}

    ranker = Ranker.open(arrays)

    assert (ranker.networks, ranker.units) == (2, [5, 3])
    assert ranker.arrays().keys() == arrays.keys()
    assert all((ranker.arrays()[name] == arrays[name]).all() for name in arrays)


def described(
    seeds: list[int], rows: list[int], votes: Votes, by: list[int], alike: Votes = NO_VOTES, **of_query: object
) -> dict[str, list[float]]:
    """Return the inputs by name, for items that lie on the axes of their space; item i has the popularity i + 1."""
    vectors = np.eye(len(by), dtype=np.float32)
    facts = ItemFacts(
        RankingVectors.of(vectors), np.arange(1, len(by) + 1, dtype=np.int32), np.array(by, np.int32),
        np.array([10, 20], np.int32),
    )  # fmt: skip
    query = Query(**{"x": np.ones(len(by), np.float32), "seeds": seeds,
                     "strengths": np.ones(len(seeds), np.float32), "artists": (), "n_unknown": 0, "n_terms": 0,
                     "titled": False, **of_query})  # fmt: skip
    solve = np.array(rows, np.float32) + 1
    found = Candidates(
        np.array(rows), vectors[rows], solve, sums_of(np.array(rows), votes), sums_of(np.array(rows), alike)
    )
    nearest, nearest_title = (each.similarities[0] if len(each.similarities) else 0.0 for each in (votes, alike))
    inputs = describe(query, found, nearest, nearest_title, facts)
    return dict(zip(INPUTS, inputs.T.tolist(), strict=True))


ONE_VOTE = Votes(np.array([2, 3]), np.array([0.5, 0.25], np.float32), np.array([0.7, 0.1], np.float32))


def test_scores_are_relative_and_ranked():
    inputs = described([0], [1, 2, 3], ONE_VOTE, [-1] * 4)

    assert inputs["solve_ratio"] == pytest.approx([1, 3 / 2, 2])  # of fewer than 50, the last is the reference
    assert inputs["solve_rank"] == pytest.approx(np.log([3, 2, 1]))
    assert inputs["votes_rank"] == pytest.approx(np.log([3, 1, 2]))
    assert inputs["votes_lift"] == pytest.approx([0, 0.5 / 3**0.5, 0.25 / 2])
    assert inputs["nearest"] == pytest.approx([0.7] * 3)


def test_votes_by_like_titles_are_relative_and_ranked():
    inputs = described([], [1, 2, 3], NO_VOTES, [-1] * 4, ONE_VOTE)

    assert inputs["titles_ratio"] == [0, 0, 0]  # of fewer than 50, the last is the reference
    assert described([], [2, 3], NO_VOTES, [-1] * 4, ONE_VOTE)["titles_ratio"] == [2, 1]
    assert inputs["titles_rank"] == pytest.approx(np.log([3, 1, 2]))
    assert inputs["nearest_title"] == pytest.approx([0.7] * 3)


def test_a_playlist_without_like_titles_has_zeros():
    inputs = described([0], [1, 2, 3], ONE_VOTE, [-1] * 4)

    assert all(inputs[name] == [0] * 3 for name in ("titles_ratio", "titles_rank", "nearest_title"))


def test_the_playlist_and_the_popularity_of_candidates_are_described():
    inputs = described([0, 1], [2, 3], NO_VOTES, [0, 1, 0, 1], titled=True, n_terms=1)

    assert inputs["popularity"] == pytest.approx(np.log([3, 4]))
    assert inputs["popularity_gap"] == pytest.approx(np.log([3, 4]) - np.log(2) / 2)
    assert inputs["seeds_popularity"] == pytest.approx([np.log(2) / 2] * 2)
    assert inputs["seeds"] == pytest.approx([np.log(3)] * 2)
    assert inputs["distinct_artists"] == [1, 1]
    assert inputs["length"] == [1, 1]
    assert inputs["playlist_length"] == [2, 2]
    assert inputs["solve_cosine"] == pytest.approx([3 / 2, 4 / 2])  # by the scores that were given
    assert inputs["solve_50th"] == [3, 3]  # of fewer than 50, the last
    assert inputs["solve_first"] == pytest.approx([4 / 3] * 2)


def test_the_artists_of_seeds_are_counted():
    inputs = described([0, 1], [2, 3], ONE_VOTE, [0, 1, 0, -1], artists=[0])

    assert inputs["artist_seeds"] == pytest.approx([np.log(2), 0])
    assert inputs["artist_share"] == pytest.approx([0.5, 0])
    assert inputs["artist_named"] == [1, 0]
    assert inputs["share_of_artist"] == pytest.approx([3 / 10, 1])
    assert inputs["artist_votes"] == pytest.approx([100 * 2 / 3, 100 / 3])


def test_cosines_are_with_the_seeds():
    inputs = described([0, 2], [2, 3], NO_VOTES, [-1] * 4)

    assert inputs["cosine_mean"] == pytest.approx([0.5, 0])
    assert inputs["cosine_most"] == inputs["cosine_strongest"] == pytest.approx([1, 0])


def test_the_strongest_seeds_are_compared_apart():
    seeds, strengths = [5, 3, 4, 2, 1, 0], np.array([2, 3, 1, 4, 5, 6], np.float32)  # the weakest is 4

    inputs = described(seeds, [4, 5], NO_VOTES, [-1] * 6, strengths=strengths)

    assert inputs["cosine_most"] == [1, 1]
    assert inputs["cosine_strongest"] == [0, 1]


def test_a_playlist_of_a_title_alone_is_described():
    inputs = described([], [1, 2], NO_VOTES, [0, 0, 1, 1], titled=True, n_terms=3)

    assert inputs["titled"] == [1, 1]
    assert inputs["terms"] == pytest.approx([np.log(4)] * 2)
    assert inputs["seeds"] == inputs["artist_seeds"] == inputs["votes_ratio"] == [0, 0]
    assert all(np.isfinite(values).all() for values in inputs.values())


def test_seeds_that_are_unknown_are_a_share():
    assert described([0], [1], NO_VOTES, [-1] * 4, n_unknown=3)["known_share"] == [0.25]
