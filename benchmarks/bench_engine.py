"""
The engine beside implicit's own `recommend` and beside one full pass over the ranking vectors, on the same playlists.

    python benchmarks/bench_engine.py [DATA...]     default: a synthetic world of 50,000 playlists

One thread throughout. For each of 300 playlists with 30 known seeds the engines take turns, so that a change of the
machine's speed meets them alike; medians are printed.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from machine import describe_machine

from service.engine import Artifacts, Playlist, Recommender, Store
from service.engine.retrieval import search_neighbours_exactly, unit
from trainer.config import FULL
from trainer.dataset import read_dataset
from trainer.pipeline import train
from trainer.sources import read
from trainer.sources.synthetic import synthesize

PLAYLISTS, SEEDS, K, BATCH = 300, 30, 100, 64


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("data", type=Path, nargs="*")
    paths = options.parse_args().data
    with tempfile.TemporaryDirectory() as directory:
        if not paths:
            paths = [Path(directory, "world")]
            synthesize(paths[0], 50_000, seed=0)
        models = Path(directory, "models")
        train(paths, models, FULL, hold_out=False)
        print(describe_machine())
        print(f"data: {', '.join(path.name for path in paths)}")
        version = Store(models).current()
        bench_recommend(paths, version)
        bench_neighbours(version)


def bench_recommend(paths: list[Path], version: Path) -> None:
    dataset = read_dataset(read(paths))
    recommender, artifacts = Recommender.open(version), Artifacts.open(version)
    lists = [rows[:SEEDS] for rows in map(dataset.tracks.__getitem__, range(len(dataset))) if len(rows) >= SEEDS][
        :PLAYLISTS
    ]
    playlists = [Playlist([dataset.vocabulary.track_ids[row] for row in rows]) for rows in lists]
    reference = _implicit(artifacts)
    features = recommender.features(playlists)
    histories = [_history(reference, features, index, artifacts.space) for index in range(len(playlists))]
    queries = recommender.fold_in(playlists)
    ranking = np.array(artifacts.ranking)
    barred = [np.array(artifacts.catalogue.track_rows(playlist.tracks)[0]) for playlist in playlists]
    rows = recommender.manifest.shape
    print(f"{len(playlists)} playlists of {SEEDS} seeds, k = {K}, {rows.tracks:,} x {rows.factors}, one thread")

    ours, theirs, passes = [], [], []
    for index, playlist in enumerate(playlists):
        ours.append(_seconds(lambda: recommender.recommend([playlist], K)))
        theirs.append(_seconds(lambda: reference.recommend(0, histories[index], K, recalculate_user=True)))
        passes.append(_seconds(lambda: ranking @ queries[index]))
    batches = [playlists[start : start + BATCH] for start in range(0, len(playlists) - BATCH + 1, BATCH)]
    batched = [_seconds(lambda: recommender.recommend(batch, K)) / BATCH for batch in batches]
    del barred
    engine, implicit_, full = (statistics.median(times) for times in (ours, theirs, passes))
    each = statistics.median(batched)
    print(f"  engine, names included      {engine * 1e3:7.2f} ms")
    print(f"  implicit, rows only         {implicit_ * 1e3:7.2f} ms   {implicit_ / engine:5.2f} times the engine's")
    print(f"  one full pass               {full * 1e3:7.2f} ms   the engine takes {engine / full:5.2f} of it")
    print(f"  engine, {BATCH} at once, each     {each * 1e3:7.2f} ms   {each / engine:5.2f} of one alone")
    recommender.close()
    artifacts.close()


def bench_neighbours(version: Path) -> None:
    artifacts = Artifacts.open(version)
    n_tracks, numbers = artifacts.space.n_tracks, artifacts.manifest.numbers
    vectors = artifacts.vectors[:n_tracks]
    sample = np.random.default_rng(1).choice(n_tracks, 500, replace=False)
    queries = unit(vectors[sample])
    truth = search_neighbours_exactly(queries, vectors, 20)
    exact = statistics.median(
        _seconds(lambda: search_neighbours_exactly(query[None], vectors, 20)) for query in queries[:30]
    )
    print(f"neighbours: top 20 of {n_tracks:,} tracks, {int(numbers['trees'])} trees, {len(sample)} queries")
    print(f"  exact search                recall 1.000   {exact * 1e3:7.2f} ms")
    own = int(numbers["tracks_effort"])
    for effort in sorted({500, 1000, 2000, 4000, 8000, 16000, own}):
        times = [_seconds(lambda: artifacts.tracks_index.search(query, 20, effort)) for query in queries]
        recall = artifacts.tracks_index.recall(vectors, sample, truth, effort)
        mark = "   <- the manifest's" if effort == own else ""
        print(
            f"  effort {effort:>6}               recall {recall:.3f}   {statistics.median(times) * 1e3:7.2f} ms{mark}"
        )
    artifacts.close()


def _implicit(artifacts: Artifacts) -> AlternatingLeastSquares:
    """Implicit's model with the very vectors that the engine ranks by, tracks alone, so that both do the same work."""
    model = AlternatingLeastSquares(
        factors=artifacts.manifest.shape.factors,
        regularization=artifacts.manifest.numbers["regularization"],
        alpha=1.0,
        num_threads=1,
    )
    model.item_factors = np.array(artifacts.ranking)
    model.user_factors = np.zeros((1, artifacts.manifest.shape.factors), np.float32)
    return model


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
