"""Scores of answers, and their ratios."""

import numpy as np
import pytest

from trainer.evaluation.scores import format_table, ratio, score
from trainer.evaluation.tasks import Task
from trainer.sources import SourceTrack

TASKS = [
    Task(0, 0, "t", [], ["a", "b"]),
    Task(1, 0, "t", [], ["c"]),
    Task(2, 3, "", [SourceTrack("s", "", "", "")], ["d"]),
]


def test_scores_are_means_by_category_and_in_all():
    table = score(TASKS, [["a", "b"], ["x", "y"], ["d", "e"]], {}, n_items=10).table()

    assert set(table) == {"all", "title", "5"}
    assert table["title"]["r_precision"] == 0.5
    assert table["5"]["r_precision"] == 1
    assert table["all"]["r_precision"] == pytest.approx(2 / 3)
    assert [table[name]["playlists"] for name in ("all", "title", "5")] == [3, 2, 1]


def test_coverage_is_the_share_of_the_catalogue_that_any_answer_holds():
    table = score(TASKS, [["a", "b"], ["a", "y"], ["d", "e"]], {}, n_items=10).table()

    assert table["title"]["coverage"] == 0.3
    assert table["all"]["coverage"] == 0.5


def test_a_ratio_of_the_same_values_is_one_without_doubt():
    values = np.random.default_rng(1).random(100)

    assert f"{ratio(values, values, seed=1):.3f}" == "1.000 [1.000, 1.000]"


def test_an_interval_holds_the_ratio_and_narrows_with_more_playlists():
    random = np.random.default_rng(1)
    ours, theirs = random.random(4000) * 1.2, random.random(4000)

    few, many = ratio(ours[:100], theirs[:100], seed=1), ratio(ours, theirs, seed=1)

    for found in (few, many):
        assert found.low < found.value < found.high
    assert many.low < 1.2 < many.high
    assert many.high - many.low < few.high - few.low


def test_a_ratio_to_nothing_has_no_bounds():
    assert f"{ratio(np.ones(3), np.zeros(3), seed=1):.3f}" == "inf [inf, inf]"
    assert f"{ratio(np.zeros(3), np.zeros(3), seed=1):.3f}" == "nan [nan, nan]"


def test_a_table_names_its_columns():
    text = format_table("segue", score(TASKS, [["a"], ["x"], ["d"]], {}, n_items=10).table())

    assert text.splitlines()[0].split() == [
        "segue", "R-prec", "R-prec+artist", "NDCG", "clicks", "coverage", "playlists",
    ]  # fmt: skip
    assert text.splitlines()[1].split()[0] == "all"
