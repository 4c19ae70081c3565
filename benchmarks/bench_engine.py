"""
The engine beside implicit's own `recommend`, and beside one full pass over the ranking vectors.

    python benchmarks/bench_engine.py [DATA...] [--models MODELS]     default: a synthetic world of 50,000 playlists

One thread throughout. 320 playlists with 30 known seeds each; the contenders take turns of 64 playlists, so that a
change of the machine's speed meets them alike while each finds its own data warm; three rounds of that. The version is
that of the store MODELS, or trained here.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import argparse
import gc
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean, median

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from machine import describe_machine
from scipy.sparse import csr_matrix

from service.engine import Artifacts, Options, Playlist, Recommender, Store, search_neighbours_exactly, unit
from trainer.config import Configs
from trainer.dataset import Dataset, build_dataset
from trainer.pipeline import Plan, train
from trainer.sources import read
from trainer.synthetic.playlists import synthesize

PLAYLISTS, SEEDS, K, BATCH, ROUNDS = 320, 30, 100, 64, 3
EFFORTS = (500, 1000, 2000, 4000, 8000, 16000)


def main() -> None:
    parser = argparse.ArgumentParser(description="The engine beside implicit and beside one full pass.")
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--models", type=Path, help="a store with a version of these data, so that none is trained")
    options = parser.parse_args()
    paths = options.data
    with tempfile.TemporaryDirectory() as directory:
        if not paths:
            paths = [Path(directory, "synthetic-50000")]
            synthesize(paths[0], 50_000, seed=0)
        models = options.models or Path(directory, "models")
        if options.models is None:
            train(paths, models, Configs.of(), Plan(hold_out=False))
        version = Store(models).current()
        print(f"\n{describe_machine()}\ndata: {', '.join(path.name for path in paths)}\n")
        bench_recommend(build_dataset(read(paths)), version)
        bench_neighbours(version)


def playlists_of_30(dataset: Dataset) -> list[Playlist]:
    """The first playlists with 30 tracks or more, cut to their first 30."""
    ids = dataset.vocabulary.track_ids
    long_enough = (dataset.tracks[i] for i in range(len(dataset)) if len(dataset.tracks[i]) >= SEEDS)
    return [
        Playlist([ids[row] for row in rows[:SEEDS]]) for rows, _ in zip(long_enough, range(PLAYLISTS), strict=False)
    ]


def bench_recommend(dataset: Dataset, version: Path) -> None:
    recommender, artifacts = Recommender.open(version), Artifacts.open(version)
    # A given version may not know all tracks of the data.
    playlists = [each for each in playlists_of_30(dataset) if len(recommender.features([each]).columns)]
    queries = recommender.fold_in(playlists)
    tracks = artifacts.candidates["tracks"].ranking
    (ranking,) = tracks.parts
    reference, rows = implicits_own(artifacts, recommender, playlists)
    del dataset
    gc.collect()
    gc.freeze()  # so that the collector does not walk what the benchmark alone holds

    ours, ranked, batched, theirs, passes = [], [], [], [], []
    first = Options(K, rank=False)
    for start in [*range(0, len(playlists), BATCH)] * ROUNDS:
        turn = range(start, min(start + BATCH, len(playlists)))
        ours += timed(lambda i: recommender.recommend([playlists[i]], first), turn)
        ranked += timed(lambda i: recommender.recommend([playlists[i]], Options(K)), turn)
        batch = [playlists[i] for i in turn]
        batched += [seconds / len(batch) for seconds in timed(lambda _: recommender.recommend(batch, first), [0])]
        theirs += timed(lambda i: reference.recommend(0, rows[i], N=K, recalculate_user=True), turn)
        passes += timed(lambda i: ranking @ queries[i], turn)

    shape, own, full, implicit = recommender.manifest.shape, median(ours), median(passes), median(theirs)
    alone, together = mean(ours), mean(batched)
    size = f"{shape.tracks:,} x {shape.factors}"
    print(f"recommend: {len(playlists)} playlists of {SEEDS} seeds, k = {K}, {size}, one thread")
    print(f"  the first stage, names included  median {own * 1e3:6.2f} ms")
    if recommender.ranks:
        alike = median(ranked)
        print(
            f"  ranked, names included           median {alike * 1e3:6.2f} ms   {alike / own:.2f} times the first stage"
        )
    print(f"  implicit's recommend, rows only  median {implicit * 1e3:6.2f} ms   {implicit / own:.2f} times")
    print(
        f"  one full pass, Z @ x             median {full * 1e3:6.2f} ms   the first stage takes {own / full:.2f} of it"
    )
    print(f"  first stage, one at a time       mean   {alone * 1e3:6.2f} ms each")
    print(
        f"  first stage, {BATCH} at a time        mean   {together * 1e3:6.2f} ms each, {together / alone:.2f} of it\n"
    )
    recommender.close()
    artifacts.close()


def implicits_own(
    artifacts: Artifacts, recommender: Recommender, playlists: Sequence[Playlist]
) -> tuple[AlternatingLeastSquares, list["csr_matrix[np.float32]"]]:
    """Implicit's model with the same vectors and the same confidences of the same features."""
    features, space = recommender.features(playlists), artifacts.space
    model = AlternatingLeastSquares(
        factors=artifacts.manifest.shape.factors,
        regularization=artifacts.manifest.numbers["regularization"],
        alpha=1.0,
        num_threads=1,
    )
    model.item_factors = np.array(artifacts.vectors)
    model.user_factors = np.zeros((1, artifacts.manifest.shape.factors), np.float32)
    confidences = space.confidences(features.strengths)
    matrix = csr_matrix((confidences, features.columns, features.offsets), shape=(len(playlists), space.n_features))
    return model, [matrix[index] for index in range(len(playlists))]


def bench_neighbours(version: Path) -> None:
    artifacts = Artifacts.open(version)
    tracks = artifacts.candidates["tracks"]
    vectors, index, own = artifacts.vectors[tracks.rows], tracks.index, tracks.effort
    n_tracks = len(vectors)
    with closing(sqlite3.connect(version / "catalogue.sqlite")) as catalogue:
        popularity = np.array(catalogue.execute("SELECT popularity FROM tracks ORDER BY row").fetchall(), float)[:, 0]
    chance, asked = (
        np.random.default_rng(1).choice(n_tracks, min(500, n_tracks), replace=False, p=weights)
        for weights in (None, popularity / popularity.sum())
    )
    queries = unit(vectors[asked])
    truths = [search_neighbours_exactly(unit(vectors[sample]), vectors, 20) for sample in (asked, chance)]
    exact = timed(lambda i: search_neighbours_exactly(queries[i : i + 1], vectors, 20), range(30))
    print(f"neighbours: top 20 of {n_tracks:,} tracks, {index.n_trees} trees, {len(asked)} tracks asked, one thread")
    print("                  recall: by popularity, by chance")
    print(f"  exact search    1.000   1.000   median {median(exact) * 1e3:6.2f} ms")
    for effort in sorted({*EFFORTS, own}):
        times = timed(lambda i, effort=effort: index.search(queries[i], 20, effort), range(len(queries)))
        likely, any_ = (
            index.recall(vectors, sample, truth, effort) for sample, truth in zip((asked, chance), truths, strict=True)
        )
        mark = "  <- the manifest's effort" if effort == own else ""
        print(f"  effort {effort:>6}   {likely:.3f}   {any_:.3f}   median {median(times) * 1e3:6.2f} ms{mark}")
    artifacts.close()


def timed(call: Callable[[int], object], arguments: Sequence[int]) -> list[float]:
    """Seconds of each call."""
    times = []
    for argument in arguments:
        started = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
