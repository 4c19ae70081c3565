"""
The exact search on random vectors, as Oryx's published benchmark has them: 1,000,000 items of 50 features, the top 10.

    python benchmarks/bench_search.py [--rows 1000000] [--factors 50] [--k 10]

Oryx 2 answered 70 queries a second exactly, and 437 with locality-sensitive hashing that looks at 30 % of the items, on
32 cores. Random vectors are the hardest case for a search that ends early by their lengths. One thread; the contenders
take turns. faiss takes part if it is installed. NumKong multiplies 64 axes at a time, so the vectors get zeros up to a
multiple of that; a model of 64 or 128 factors, as the profiles have, needs none.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from machine import describe_machine
from threadpoolctl import threadpool_limits

from service.engine.exact import Floats, RankingVectors, search_exactly

QUERIES, BATCH, ROUNDS, AXES = 128, 64, 5, 64

Search = Callable[[Floats], object]


def main() -> None:
    parser = argparse.ArgumentParser(description="the exact search on random vectors.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--factors", type=int, default=50)
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = random.standard_normal((options.rows, options.factors), np.float32)
    vectors = vectors[np.argsort(-np.linalg.norm(vectors, axis=1))]
    queries = random.standard_normal((QUERIES, options.factors), np.float32)
    more = ((0, 0), (0, -options.factors % AXES))
    ranking = RankingVectors.of(np.pad(vectors, more))

    def search(part: Floats) -> list[np.ndarray]:
        found = search_exactly(np.pad(part, more), ranking, options.k, [[]] * len(part))
        return [rows[np.argsort(-scores)[: options.k]] for rows, scores in found]

    contenders: dict[str, tuple[Search, int]] = {
        "Segue, one at a time": (search, 1),
        f"Segue, {BATCH} at a time": (search, BATCH),
        "one full pass, Z @ x, and its best": (lambda part: _best(vectors @ part[0], options.k), 1),
        **_of_faiss(vectors, options.k),
    }
    print(describe_machine())
    recall = _recall(search, vectors, queries, options.k)
    print(f"{options.rows:,} x {options.factors}, top {options.k}; recall {recall:.4f}")
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with threadpool_limits(1):
        for _ in range(ROUNDS):
            for name, (ask, size) in contenders.items():
                started = time.perf_counter()
                for start in range(0, QUERIES, size):
                    ask(queries[start : start + size])
                times[name].append(QUERIES / (time.perf_counter() - started))
    for name, found in times.items():
        print(f"  {name:<40}{statistics.median(found):>8.0f} queries/s")


def _best(scores: Floats, k: int) -> np.ndarray:
    return np.argpartition(scores, -k)[-k:]


def _recall(search: Callable[[Floats], list[np.ndarray]], vectors: Floats, queries: Floats, k: int) -> float:
    truth = [set(_best(vectors @ query, k).tolist()) for query in queries]
    found = search(queries)
    return float(np.mean([len(true & set(rows.tolist())) / k for true, rows in zip(truth, found, strict=True)]))


def _of_faiss(vectors: Floats, k: int) -> dict[str, tuple[Search, int]]:
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: it takes no part")
        return {}
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return {
        "faiss flat, one at a time": (lambda part: index.search(part, k), 1),
        f"faiss flat, {BATCH} at a time": (lambda part: index.search(part, k), BATCH),
    }


if __name__ == "__main__":
    main()
