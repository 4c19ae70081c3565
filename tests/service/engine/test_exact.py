"""Exact search equals brute force."""

import numpy as np
import pytest

from service.engine import search_neighbours_exactly, unit
from service.engine.exact import Blocks, RankingVectors, search_exactly

NONE: list[int] = []
SMALL = Blocks(first=64, largest=1024, products=512)  # a few thousand rows are many blocks


def best(vectors: RankingVectors, query: np.ndarray, rows: np.ndarray, k: int) -> list[int]:
    """The *k* best of *rows*, in order."""
    return rows[np.argsort(-vectors.score(rows, query))][:k].tolist()


def ranking(n_rows: int, n_factors: int, seed: int, skew: float = 1.5) -> RankingVectors:
    """Vectors with the long tail of lengths that real ones have, by falling length."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n_rows, n_factors)) * (random.random((n_rows, 1)) ** skew + 0.01)
    vectors *= np.linspace(2, 0.1, n_factors)
    vectors = vectors.astype(np.float32)
    vectors = vectors[np.argsort(-np.linalg.norm(vectors, axis=1), kind="stable")]
    return RankingVectors.of(vectors)


def brute_force(vectors: RankingVectors, query: np.ndarray, k: int, excluded: list[int]) -> set[int]:
    scores = np.hstack(vectors.parts).astype(np.float64) @ query.astype(np.float64)
    scores[excluded] = -np.inf
    order = np.argsort(-scores, kind="stable")
    return set(order[: min(k, len(order) - len(excluded))].tolist())


@pytest.mark.parametrize("k", [1, 10, 100, 700])
@pytest.mark.parametrize("n_factors", [1, 5, 32])
def test_exact_search_equals_brute_force(k: int, n_factors: int):
    vectors = ranking(3000, n_factors, seed=k)
    queries = np.random.default_rng(k + 1).standard_normal((20, n_factors)).astype(np.float32)
    excluded = [sorted(np.random.default_rng(i).choice(3000, 5 * i, replace=False).tolist()) for i in range(20)]

    found = search_exactly(queries, vectors, k, excluded, blocks=SMALL)

    for query, (rows, _), barred in zip(queries, found, excluded, strict=True):
        assert brute_force(vectors, query, k, barred) <= set(rows.tolist())
        assert not set(rows.tolist()) & set(barred)
        assert len(rows) < k + 20  # it ranks, it does not hand back everything


@pytest.mark.parametrize("k", [1, 10, 700])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.9, 1])
def test_exact_search_passes_over_blocked_rows(k: int, share: float):
    vectors, random = ranking(3000, 16, seed=k), np.random.default_rng(k)
    queries = random.standard_normal((20, 16)).astype(np.float32)
    blocked = random.random(3000) < share
    blocked[:3] = True  # those of the greatest length among them
    excluded = [sorted(random.choice(3000, 5 * i, replace=False).tolist()) for i in range(20)]

    found = search_exactly(queries, vectors, k, excluded, blocked, SMALL)

    for query, (rows, _), barred in zip(queries, found, excluded, strict=True):
        both = sorted({*barred, *np.flatnonzero(blocked).tolist()})
        assert brute_force(vectors, query, k, both) <= set(rows.tolist())
        assert not set(rows.tolist()) & set(both)
        assert len(rows) < k + 20


def test_the_sizes_of_blocks_change_no_answer():
    vectors = ranking(9000, 16, seed=2)
    queries = np.random.default_rng(5).standard_normal((10, 16)).astype(np.float32)

    for query in queries:
        answers = [
            best(vectors, query, search_exactly(query[None], vectors, 50, [NONE], blocks=blocks)[0][0], 50)
            for blocks in (SMALL, Blocks(first=1), Blocks(largest=100), Blocks())
        ]
        assert answers == answers[:1] * 4


def test_a_query_finds_the_same_alone_and_in_a_batch():
    vectors = ranking(2000, 16, seed=3)
    queries = np.random.default_rng(4).standard_normal((64, 16)).astype(np.float32)

    together = search_exactly(queries, vectors, 50, [NONE] * 64, blocks=SMALL)

    for query, (rows, scores) in zip(queries, together, strict=True):
        alone, of_alone = search_exactly(query[None], vectors, 50, [NONE], blocks=SMALL)[0]
        assert (alone.tolist(), of_alone.tolist()) == (rows.tolist(), scores.tolist())


def test_a_score_does_not_depend_on_the_other_rows():
    vectors = ranking(500, 33, seed=5)
    query = np.random.default_rng(6).standard_normal(33).astype(np.float32)
    everything = vectors.score(np.arange(500), query)

    for size in (1, 2, 3, 7, 16, 100):
        rows = np.arange(size) * 4
        assert (vectors.score(rows, query) == everything[rows]).all()


def test_rows_of_equal_score_are_all_found():
    vectors = RankingVectors.of(np.ones((300, 4), np.float32))

    ((rows, _),) = search_exactly(np.ones((1, 4), np.float32), vectors, 10, [NONE], blocks=SMALL)

    assert len(rows) == 300


def test_a_query_that_likes_nothing_is_still_answered():
    vectors = ranking(200, 8, seed=8)

    ((rows, _),) = search_exactly(np.zeros((1, 8), np.float32), vectors, 10, [NONE], blocks=SMALL)

    assert len(rows) >= 10


def test_exclusions_that_leave_fewer_than_k_leave_all_the_others():
    vectors = ranking(100, 8, seed=9)

    ((rows, _),) = search_exactly(np.ones((1, 8), np.float32), vectors, 50, [list(range(80))], blocks=SMALL)

    assert sorted(rows.tolist()) == list(range(80, 100))


def test_excluded_rows_do_not_stand_in_the_way_of_others():
    vectors = RankingVectors.of(np.abs(ranking(3000, 8, seed=4).parts[0]))  # longer ones have higher scores
    query, excluded = np.ones(8, np.float32), list(range(995))  # fewer than k are left of the first block

    ((rows, _),) = search_exactly(query[None], vectors, 10, [excluded], blocks=Blocks(first=1000))

    assert brute_force(vectors, query, 10, excluded) == set(rows.tolist())


def test_the_axes_of_two_parts_are_those_of_one():
    whole = ranking(2000, 16, seed=6)
    halves = RankingVectors([whole.parts[0][:, :9], whole.parts[0][:, 9:]], whole.norms, whole.codes)
    query = np.random.default_rng(7).standard_normal(16).astype(np.float32)

    (rows, scores), (others, of_others) = (search_exactly(query[None], each, 50, [NONE])[0] for each in (whole, halves))

    assert sorted(rows) == sorted(others)
    np.testing.assert_allclose(np.sort(scores), np.sort(of_others), rtol=1e-5)


def test_neighbours_have_the_highest_cosine_at_any_length():
    vectors = np.array([[1, 0], [9, 1], [0, 5], [0.1, 0.01]], np.float32)

    rows = search_neighbours_exactly(unit(vectors[:1]), vectors, 3)

    assert rows.tolist() == [[0, 3, 1]] or rows.tolist() == [[0, 1, 3]]


def test_neighbours_that_are_blocked_are_not_found_by_looking_at_every_row():
    vectors = np.random.default_rng(3).standard_normal((1000, 12)).astype(np.float32)
    vectors[500] = 0  # is near to nothing
    queries, blocked = unit(vectors[:20]), np.random.default_rng(4).random(1000) < 0.7
    n_left = 1000 - int(blocked.sum())
    cosines = np.where(blocked, -np.inf, queries.astype(np.float64) @ unit(vectors).astype(np.float64).T)

    for k in (1, 25, n_left):
        rows = search_neighbours_exactly(queries, vectors, k, block_rows=64, blocked=blocked)

        expected = np.argsort(-cosines, axis=1)[:, :k]
        assert (np.sort(rows) == np.sort(expected)).all()
    assert search_neighbours_exactly(queries, vectors, 0, blocked=np.ones(1000, np.bool_)).shape == (20, 0)
