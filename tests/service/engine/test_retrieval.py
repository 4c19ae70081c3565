"""Exact search equals brute force; neighbours are those that are near."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from service.engine import ModelClosed, finish, retrieval
from service.engine.retrieval import (
    NeighbourIndex,
    RankingVectors,
    leading_axes,
    search_exactly,
    search_neighbours_exactly,
    unit,
)

NONE: list[int] = []


def best(vectors: RankingVectors, query: np.ndarray, rows: np.ndarray, k: int) -> list[int]:
    """The *k* best of *rows*, in order."""
    return rows[np.argsort(-vectors.score(rows, query))][:k].tolist()


def ranking(n_rows: int, n_factors: int, seed: int, skew: float = 1.5) -> RankingVectors:
    """Vectors with the long tail of lengths that real ones have, by falling length, leading axes first."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n_rows, n_factors)) * (random.random((n_rows, 1)) ** skew + 0.01)
    vectors *= np.linspace(2, 0.1, n_factors)
    vectors = vectors.astype(np.float32)
    vectors = vectors[np.argsort(-np.linalg.norm(vectors, axis=1), kind="stable")]
    return RankingVectors.split(vectors @ leading_axes(vectors))


def brute_force(vectors: RankingVectors, query: np.ndarray, k: int, excluded: list[int]) -> set[int]:
    scores = np.hstack((vectors.heads, vectors.tails)).astype(np.float64) @ query.astype(np.float64)
    scores[excluded] = -np.inf
    order = np.argsort(-scores, kind="stable")
    return set(order[: min(k, len(order) - len(excluded))].tolist())


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    """So that a few thousand rows are many blocks."""
    monkeypatch.setattr(retrieval, "FIRST_BLOCK_ROWS", 64)
    monkeypatch.setattr(retrieval, "BLOCK_PRODUCTS", 512)


@pytest.mark.parametrize("k", [1, 10, 100, 700])
@pytest.mark.parametrize("n_factors", [1, 5, 32])
def test_exact_search_equals_brute_force(k: int, n_factors: int):
    vectors = ranking(3000, n_factors, seed=k)
    queries = np.random.default_rng(k + 1).standard_normal((20, n_factors)).astype(np.float32)
    excluded = [sorted(np.random.default_rng(i).choice(3000, 5 * i, replace=False).tolist()) for i in range(20)]

    found = finish(search_exactly(queries, vectors, k, excluded))

    for query, rows, barred in zip(queries, found, excluded, strict=True):
        assert brute_force(vectors, query, k, barred) <= set(rows.tolist())
        assert not set(rows.tolist()) & set(barred)
        assert len(rows) < k + 20  # it ranks, it does not hand back everything


@pytest.mark.parametrize("k", [1, 10, 700])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.9, 1])
def test_what_is_blocked_is_as_if_it_were_not_there(k: int, share: float):
    vectors, random = ranking(3000, 16, seed=k), np.random.default_rng(k)
    queries = random.standard_normal((20, 16)).astype(np.float32)
    blocked = random.random(3000) < share
    blocked[:3] = True  # those of the greatest length among them
    excluded = [sorted(random.choice(3000, 5 * i, replace=False).tolist()) for i in range(20)]

    found = finish(search_exactly(queries, vectors, k, excluded, blocked))

    for query, rows, barred in zip(queries, found, excluded, strict=True):
        both = sorted({*barred, *np.flatnonzero(blocked).tolist()})
        assert brute_force(vectors, query, k, both) <= set(rows.tolist())
        assert not set(rows.tolist()) & set(both)
        assert len(rows) < k + 20


def test_a_query_alone_finds_what_it_finds_among_others():
    vectors = ranking(2000, 16, seed=3)
    queries = np.random.default_rng(4).standard_normal((64, 16)).astype(np.float32)

    together = finish(search_exactly(queries, vectors, 50, [NONE] * 64))

    for query, rows in zip(queries, together, strict=True):
        alone = finish(search_exactly(query[None], vectors, 50, [NONE]))[0]
        assert best(vectors, query, alone, 50) == best(vectors, query, rows, 50)


def test_a_score_does_not_depend_on_what_is_scored_along_with_it():
    vectors = ranking(500, 33, seed=5)
    query = np.random.default_rng(6).standard_normal(33).astype(np.float32)
    everything = vectors.score(np.arange(500), query)

    for size in (1, 2, 3, 7, 16, 100):
        rows = np.arange(size) * 4
        assert (vectors.score(rows, query) == everything[rows]).all()


def test_rows_of_equal_score_are_all_found():
    vectors = RankingVectors.split(np.ones((300, 4), np.float32))

    (rows,) = finish(search_exactly(np.ones((1, 4), np.float32), vectors, 10, [NONE]))

    assert len(rows) == 300


def test_a_query_that_likes_nothing_is_still_answered():
    vectors = ranking(200, 8, seed=8)

    (rows,) = finish(search_exactly(np.zeros((1, 8), np.float32), vectors, 10, [NONE]))

    assert len(rows) >= 10


def test_exclusions_that_leave_fewer_than_k_leave_all_the_others():
    vectors = ranking(100, 8, seed=9)

    (rows,) = finish(search_exactly(np.ones((1, 8), np.float32), vectors, 50, [list(range(80))]))

    assert sorted(rows.tolist()) == list(range(80, 100))


def test_a_step_looks_at_few_rows_however_many_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retrieval, "STEP_ROWS", 100)
    monkeypatch.setattr(retrieval, "BLOCK_PRODUCTS", 1 << 20)
    likes_nothing = np.zeros((1, 8), np.float32)  # and so looks at every row

    steps = sum(1 for _ in search_exactly(likes_nothing, ranking(3000, 8, seed=10), 10, [NONE]))

    assert steps >= 30


def test_turning_the_axes_changes_no_inner_product():
    vectors = np.random.default_rng(1).standard_normal((50, 12)).astype(np.float32)
    rotation = leading_axes(vectors)
    turned = vectors @ rotation

    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-4)
    assert (np.diff((turned**2).sum(axis=0)) <= 1e-3).all()


def test_neighbours_are_those_of_highest_cosine_whatever_their_length():
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


def test_an_index_searched_to_its_end_equals_exact_search(tmp_path: Path):
    vectors = np.random.default_rng(2).standard_normal((400, 16)).astype(np.float32)
    index = NeighbourIndex.build(tmp_path / "a.ann", vectors, n_trees=5, seed=1)
    truth = search_neighbours_exactly(unit(vectors[:30]), vectors, 10)

    for row in range(30):
        assert index.search(unit(vectors[row]), 10, 400 * 5).tolist() == truth[row].tolist()


def test_calibration_finds_the_least_effort_that_reaches_the_recall(tmp_path: Path):
    vectors = np.random.default_rng(2).standard_normal((3000, 24)).astype(np.float32)
    index = NeighbourIndex.build(tmp_path / "a.ann", vectors, n_trees=10, seed=1)

    popularity = np.ones(3000, np.int32)
    popularity[::3] = 1_000_000_000  # so that these are the ones that are asked

    effort, recall = index.calibrate(vectors, popularity, target=0.9, k=10, seed=3)

    queries = np.arange(0, 3000, 3)
    truth = search_neighbours_exactly(unit(vectors[queries]), vectors, 10)
    assert index.recall(vectors, queries, truth, effort) == pytest.approx(recall, abs=1e-4)
    assert recall >= 0.9
    assert index.recall(vectors, queries, truth, round(effort / 2)) < 0.9


def test_an_index_file_can_be_read_by_others_than_its_owner(tmp_path: Path):
    NeighbourIndex.build(tmp_path / "a.ann", np.eye(4, dtype=np.float32), n_trees=2, seed=1)

    assert (tmp_path / "a.ann").stat().st_mode & 0o444 == 0o444


def test_an_index_of_another_dimension_is_refused(tmp_path: Path):
    NeighbourIndex.build(tmp_path / "a.ann", np.eye(7, dtype=np.float32), n_trees=2, seed=1)

    with pytest.raises(OSError, match="multiple"):
        NeighbourIndex(tmp_path / "a.ann", 16)


def test_an_audit_counts_the_true_neighbours_that_a_search_finds(tmp_path: Path):
    vectors = np.random.default_rng(2).standard_normal((2000, 24)).astype(np.float32)
    index = NeighbourIndex.build(tmp_path / "a.ann", vectors, n_trees=4, seed=1)
    shares = []

    for effort in (20, 100, 400, 2000 * 4):
        seeds = [3, 77]
        query = unit(unit(vectors[seeds]).sum(axis=0))
        near = [row for row in np.argsort(-(unit(vectors) @ query)) if row not in seeds][:20]
        found = [row for row in index.search(query, 22, effort).tolist() if row not in seeds][:20]

        assert index.audit(vectors, query, seeds, 20, effort) == (20, len({*near} & {*found}))
        shares.append(len({*near} & {*found}))
    assert shares[0] < shares[-1] == 20


def test_to_an_audit_a_row_as_near_as_the_last_is_as_good(tmp_path: Path):
    vectors = np.repeat(np.eye(8, dtype=np.float32), 50, axis=0) * np.linspace(1, 2, 400, dtype=np.float32)[:, None]
    index = NeighbourIndex.build(tmp_path / "a.ann", vectors, n_trees=2, seed=1)

    assert index.audit(vectors, vectors[0], [0], 10, 1000) == (10, 10)


def test_an_audit_asks_for_no_more_than_there_is(tmp_path: Path):
    vectors = np.random.default_rng(2).standard_normal((5, 4)).astype(np.float32)
    index = NeighbourIndex.build(tmp_path / "a.ann", vectors, n_trees=2, seed=1)

    assert index.audit(vectors, unit(vectors[0]), [0], 20, 1000) == (4, 4)
    assert index.audit(vectors[:1], unit(vectors[0]), [0], 20, 1000) == (0, 0)


def test_an_index_is_not_unmapped_in_the_midst_of_an_audit(tmp_path: Path):
    vectors = np.random.default_rng(2).standard_normal((50, 4)).astype(np.float32)
    index = NeighbourIndex.build(tmp_path / "a.ann", vectors, n_trees=2, seed=1)
    annoy, searching, unmapped, order = index._index, Event(), Event(), []

    class Watched:
        def get_nns_by_vector(self, *asked: object) -> list[int]:
            searching.set()
            unmapped.wait(0.2)  # long enough, were nothing in the way
            order.append("searched")
            return list(annoy.get_nns_by_vector(*asked))

        def unload(self) -> None:
            order.append("unmapped")
            unmapped.set()

    index._index = Watched()
    with ThreadPoolExecutor() as pool:
        audit = pool.submit(index.audit, vectors, unit(vectors[0]), [0], 5, 100)
        searching.wait()
        index.close()

        assert audit.result() == (5, 5)
    assert order == ["searched", "unmapped"]
    with pytest.raises(ModelClosed):
        index.audit(vectors, unit(vectors[0]), [0], 5, 100)
