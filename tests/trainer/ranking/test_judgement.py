"""The judgement on a ranker: kept only if it is better than its first stage, with the importance of each input."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from service.engine import INPUTS, Ranker
from trainer.ranking.examples import Examples
from trainer.ranking.judgement import judge
from trainer.ranking.teach import check


def examples(*tasks: Mapping[str, Sequence[float]]) -> Examples:
    """Return tasks of three candidates each with some inputs; the first candidate is the hit."""
    inputs = np.zeros((3 * len(tasks), len(INPUTS)), np.float32)
    for task, values in enumerate(tasks):
        for name, column in values.items():
            inputs[3 * task : 3 * task + 3, INPUTS.index(name)] = column
    hits, numbers = np.arange(len(inputs)) % 3 == 0, np.arange(len(tasks))
    solve = inputs[:, INPUTS.index("solve_ratio")]
    return Examples(3 * np.arange(len(tasks) + 1), inputs, solve, hits, numbers)


def ranker(*units: Mapping[str, float]) -> Ranker:
    """Return a ranker that sums the rectified weighted sums of its *units*; their inputs are in units of log(2)."""
    weights, out = np.zeros((1, len(INPUTS), len(units)), "f4"), np.ones((1, len(units), 1), "f4")
    for unit, values in enumerate(units):
        for name, weight in values.items():
            weights[0, INPUTS.index(name), unit] = weight
    layers = [(weights, np.zeros((1, 1, len(units)), "f4")), (out, np.zeros((1, 1, 1), "f4"))]
    return Ranker(np.zeros(len(INPUTS), "f4"), np.full(len(INPUTS), np.log(2), "f4"), layers)


@pytest.mark.parametrize(
    ("by", "weight", "ndcg"),
    [
        ("votes_ratio", 1, 1.0),  # the first candidate alone has votes, and is the hit
        ("solve_ratio", 1, None),  # the order of the first stage is not better than itself
        ("solve_ratio", -1, 1.0),
        ("votes_ratio", -1, None),
    ],
)
def test_a_ranker_that_is_not_better_is_left_out(
    by: str, weight: float, ndcg: float | None, capsys: pytest.CaptureFixture[str]
):
    asked = examples({"votes_ratio": [1, 0, 0], "solve_ratio": [1, 2, 3], "seeds": [1, 1, 1]})

    taught = check(ranker({by: weight, "seeds": 3}), asked, seed=0)

    assert (taught and taught.judgement.ndcg) == ndcg
    assert ("no ranker, as it is not better" in capsys.readouterr().err) == (taught is None)


def test_a_ranker_that_may_be_better_by_chance_alone_stays():
    better, worse = (
        {"votes_ratio": [1, 0, 0], "solve_ratio": [1, 2, 3]},
        {"votes_ratio": [0, 1, 2], "solve_ratio": [3, 2, 1]},
    )

    some, few = (
        judge(ranker({"votes_ratio": 1}), examples(*[better] * n, *[worse] * (20 - n)), seed=0) for n in (9, 2)
    )

    assert (some.ndcg < some.first_ndcg, some.better) == (True, True)
    assert (few.ndcg < few.first_ndcg, few.better) == (True, False)


def test_an_input_is_as_important_as_the_order_that_is_lost_without_it():
    asked = examples(*[{"votes_ratio": [1, 0, 0], "solve_ratio": [1, 2, 3]}] * 50)

    importance = judge(ranker({"votes_ratio": 1}), asked, seed=0).importance

    assert set(importance) == set(INPUTS)
    first, *others = importance.items()
    # A hit at a random place of three: 1, 1 / log2(3) or 1 / 2 instead of 1.
    assert first == ("votes_ratio", pytest.approx(1 - (1 + 1 / np.log2(3) + 1 / 2) / 3, abs=0.1))
    assert all(lost == 0 for _, lost in others)


def test_an_input_of_playlists_is_exchanged_between_them():
    # Where a playlist has a title, the votes count; elsewhere, they count against a candidate.
    solved = {"solve_ratio": [1, 2, 3], "seeds": [1, 1, 1]}
    titled = solved | {"titled": [1, 1, 1], "votes_ratio": [1, 0, 0]}
    untitled = solved | {"titled": [0, 0, 0], "votes_ratio": [0, 1, 1]}
    network = ranker({"titled": 1, "votes_ratio": 1}, {"titled": -3, "votes_ratio": -3, "seeds": 2})
    asked = examples(*[titled, untitled] * 25)

    judged = judge(network, asked, seed=0)

    assert judged.ndcg == 1
    assert judged.importance["titled"] > 0.1
    assert judged.importance["votes_ratio"] > 0.1
