"""The verdict on a trained version."""

from dataclasses import replace

import numpy as np
import pytest

from trainer.evaluation.scores import score
from trainer.evaluation.tasks import Task
from trainer.evaluation.verdict import (
    GATED,
    Answered,
    Quality,
    Verdict,
    compare,
    compare_with_quality,
    find_broken,
    find_collapse,
    find_renaming,
    narrowed,
    quality_to_keep,
)
from trainer.sources import SourceTrack

IDS = [f"t{number}" for number in range(1000)]
TASKS = [Task(number, 0, "t", [], IDS[number : number + 5]) for number in range(100)]


def answered(version: str, quality: list[int], n_items: int = 1000, recorded: float = 0) -> Answered:
    """Answers of 20, of which the first *quality* were held out."""
    answers = [
        [*task.hidden[:good], *IDS[200 + task.index : 220 + task.index - good]]
        for task, good in zip(TASKS, quality, strict=True)
    ]
    return Answered(version, n_items, answers, score(TASKS, answers, {}, n_items), a_quality(recorded, 100))


def a_quality(mean: float, playlists: int, error: float = 0.0) -> Quality:
    return Quality("old", playlists, dict.fromkeys(GATED, mean), dict.fromkeys(GATED, error))


def judge(after: list[int], before: list[int], tolerance: float = 0.02, **of_trained: int) -> Verdict:
    return compare(answered("new", after, **of_trained), answered("old", before), tolerance, seed=1)


GOOD = [3] * 100


def test_the_same_answers_pass():
    verdict = judge(GOOD, GOOD)

    assert verdict.passed
    assert verdict.overlap == {10: 1, 50: 1, 100: 1, 500: 1}
    assert verdict.playlists == 100
    assert "against" in verdict.reason


def test_a_clear_fall_is_refused_with_both_figures():
    verdict = judge([2] * 100, GOOD)

    assert not verdict.passed
    assert verdict.reason.startswith("ndcg fell from ")
    assert "100 playlists that neither version was trained on" in verdict.reason
    assert verdict.changes is not None
    assert verdict.changes["ndcg"].high < -0.02


def test_a_fall_within_the_tolerance_passes():
    assert judge([2, *[3] * 99], GOOD).passed


def test_a_fall_beyond_the_tolerance_that_may_be_chance_passes():
    random = np.random.default_rng(3)
    before = random.integers(0, 6, 100)
    after = np.where(random.random(100) < 0.5, before, random.integers(0, 6, 100)) - 0
    after[:2] = 0
    verdict = judge(after.tolist(), before.tolist())

    assert verdict.changes is not None
    assert verdict.changes["ndcg"].low < 0 < verdict.changes["ndcg"].high
    assert verdict.passed


def test_a_gain_passes():
    assert judge([4] * 100, GOOD).passed


def test_a_wider_tolerance_lets_more_pass():
    assert not judge([2] * 100, GOOD).passed
    assert judge([2] * 100, GOOD, tolerance=0.9).passed


def test_a_collapse_of_coverage_is_refused():
    trained = answered("new", GOOD)
    same = [IDS[:20] for _ in TASKS]
    verdict = compare(Answered("new", 1000, same, trained.scores), answered("old", GOOD), 0.02, seed=1)

    assert not verdict.passed
    assert "coverage fell" in verdict.reason


def test_playlists_unlike_those_before_are_refused():
    verdict = compare(answered("new", GOOD), answered("old", GOOD, recorded=0.99), 0.02, seed=1)
    ndcg = float(answered("old", GOOD).scores.values["ndcg"].mean())

    assert ndcg > 0.5 * 0.99
    assert verdict.passed
    verdict = compare(answered("new", [1] * 100), answered("old", [1] * 100, recorded=0.99), 0.02, seed=1)
    assert not verdict.passed
    assert "not like those before" in verdict.reason


def test_a_catalogue_that_fell_by_half_is_refused():
    assert find_collapse(500, 1000) is None
    assert "from 1,000 to 499" in str(find_collapse(499, 1000))


@pytest.mark.parametrize(
    ("n_known", "n_before", "refused"),
    [(0, 1000, True), (99, 1000, True), (100, 1000, False), (0, 1, True), (0, 0, False)],
)
def test_a_catalogue_that_knows_less_than_a_tenth_of_the_popular_ids_is_refused(
    n_known: int, n_before: int, refused: bool
):
    before = [str(number) for number in range(n_before)]

    assert (find_renaming("tracks", before, before[n_known:], before) is not None) == refused


def test_a_catalogue_with_other_ids_is_described_by_ids_of_both_sides():
    described = str(find_renaming("artists", ["kept", *"abcdefghijk"], list("abcdefghijk"), ["kept", "A", "B"]))

    assert "knows 1 of the 12 most popular artists" in described
    assert "ids like 'a', 'b', 'c'; the ids of these data are like 'A', 'B';" in described


def test_where_the_published_version_has_seen_the_playlists_its_past_quality_counts():
    trained = answered("new", GOOD)
    own = Quality.of("old", trained.scores)
    better = replace(own, means={name: 1.5 * mean for name, mean in own.means.items()})

    assert compare_with_quality(trained, "old", own, 0.02).passed
    refused = compare_with_quality(trained, "old", better, 0.02)
    assert not refused.passed
    assert "recorded for old" in refused.reason


def test_a_quality_of_few_playlists_refuses_nothing_that_may_be_chance():
    trained = answered("new", GOOD)
    own = Quality.of("old", trained.scores)
    lucky = replace(own, means={name: 1.1 * mean for name, mean in own.means.items()})

    assert not compare_with_quality(trained, "old", lucky, 0.02).passed
    assert compare_with_quality(trained, "old", replace(lucky, errors=dict.fromkeys(GATED, 0.1)), 0.02).passed


def test_a_quality_gives_way_to_one_of_as_many_playlists_and_not_to_one_of_far_fewer():
    old, new, few = a_quality(0.5, 1000), a_quality(0.4, 600), a_quality(0.9, 30)

    assert quality_to_keep(new, old) is new
    assert quality_to_keep(few, old) is old
    assert quality_to_keep(None, old) is old
    assert quality_to_keep(few, None) is few
    assert quality_to_keep(None, None) is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (["a", "b"], "has 2 of 3"),
        (["a", "b", "b"], "repeated"),
        (["a", "b", "s"], "a seed"),
        (["a", "b", "c"], None),
    ],
)
def test_an_answer_that_breaks_the_contract_is_found(answer: list[str], said: str | None):
    task = Task(7, 1, "t", [SourceTrack("s", "", "", "")], ["x"])

    found = find_broken([task], [answer], k=3, n_items=10)
    assert found is None if said is None else said in str(found)


def test_a_catalogue_too_small_for_k_breaks_nothing():
    assert find_broken([TASKS[0]], [["a", "b"]], k=500, n_items=2) is None


def test_answers_are_narrowed_to_some_of_the_tasks():
    chosen = np.arange(100) < 30
    some = narrowed(answered("new", [3] * 30 + [0] * 70), chosen)

    assert len(some.answers) == 30
    assert some.scores.values["ndcg"].min() > 0
