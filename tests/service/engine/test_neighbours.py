"""Neighbours are those that are near, and the index knows its own recall."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from service.engine import CorruptModel, ModelClosed, search_neighbours_exactly, unit
from service.engine.neighbours import NeighbourIndex


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

    with pytest.raises(CorruptModel, match="multiple"):
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


def test_an_index_is_not_unmapped_during_the_search_of_an_audit(tmp_path: Path):
    vectors = np.random.default_rng(2).standard_normal((50, 4)).astype(np.float32)
    searching, closed, order = Event(), Event(), []

    class Watched(NeighbourIndex):
        def search(self, *asked: object) -> np.ndarray:
            searching.set()
            closed.wait(0.2)  # long enough to be closed meanwhile, if nothing prevents that
            found = super().search(*asked)
            order.append("searched")
            return found

        def close(self) -> None:
            super().close()
            order.append("closed")
            closed.set()

    index = Watched.build(tmp_path / "a.ann", vectors, n_trees=2, seed=1)
    with ThreadPoolExecutor() as pool:
        audit = pool.submit(index.audit, vectors, unit(vectors[0]), [0], 5, 100)
        searching.wait()
        index.close()

        assert audit.result() == (5, 5)
    assert order == ["searched", "closed"]
    with pytest.raises(ModelClosed):
        index.audit(vectors, unit(vectors[0]), [0], 5, 100)
