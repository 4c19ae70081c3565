"""
The ranker by its parts: the time of each stage of an answer, and the loss without each group of its inputs.

    python benchmarks/bench_ranker.py DATA [--part time|ablation] [--models MODELS]

DATA: playlists or listening histories, as `train` takes them. The times are those of a version with a ranker, in the
store MODELS or trained here. The losses are those of NDCG on playlists that did not teach the ranker, with one network.
About ten minutes on the sample.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import describe_machine

from service.engine import INPUTS, Options, Playlist, Recommender, Store
from trainer.config import Configs
from trainer.dataset import build_dataset
from trainer.dataset.dataset import Bools
from trainer.evaluation.tasks import Task
from trainer.pipeline import Plan, train
from trainer.progress import quiet
from trainer.ranking.examples import Examples, gather
from trainer.ranking.judgement import mean_ndcg
from trainer.ranking.teach import fit_ranker, set_aside
from trainer.sources import read

GROUPS = {
    "the solve": ("solve_ratio", "solve_rank", "solve_cosine", "solve_first", "solve_50th"),
    "votes of neighbours": ("votes_ratio", "votes_rank", "votes_lift", "artist_votes", "nearest"),
    "cosines to the seeds": ("cosine_mean", "cosine_most", "cosine_strongest"),
    "popularity": ("popularity", "popularity_gap", "artist_popularity", "share_of_artist", "seeds_popularity"),
    "artists": ("artist_seeds", "artist_share", "artist_named", "distinct_artists"),
    "lengths of vectors": ("length", "playlist_length"),
    "like titles": ("titles_ratio", "titles_rank", "nearest_title"),
    "the playlist": ("seeds", "known_share", "titled", "terms"),
}
PLAYLISTS, SEEDS, K = 320, 30, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", type=Path, help="a store with a version with a ranker, so that none is trained")
    parser.add_argument("--part", choices=("time", "ablation"))
    options = parser.parse_args()
    print(describe_machine())
    if options.part != "ablation":
        tell_times(options.data, options.models)
    if options.part != "time":
        ablate(options.data)


def tell_times(data: Path, models: Path | None) -> None:
    """Print the time of an answer by part."""
    with trained(data, models) as store, closing(Recommender.open(Store(store).current())) as opened:
        print(f"an answer to {SEEDS} seeds, k = {K}, median of {PLAYLISTS}:")
        for part, ms in times(opened).items():
            print(f"  {part:28}{ms:6.2f} ms", flush=True)


@contextmanager
def trained(data: Path, models: Path | None) -> Iterator[Path]:
    """Yield *models*, or a new store with a version that is trained on *data*."""
    if models is not None:
        yield models
        return
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as directory:
        train([data], Path(directory), Configs.of(), Plan(baselines=False))
        yield Path(directory)


def times(recommender: Recommender) -> dict[str, float]:
    """Return the median milliseconds of an answer by part; the playlists are kept ones with enough items."""
    stages = recommender.artifacts.stages
    assert stages is not None
    assert stages.ranker is not None
    kept, ranker, asked = stages.pooling.playlists, stages.ranker, kept_playlists(recommender)
    features = recommender.features(asked)
    pools = [pool for pool in recommender.pools(asked) if pool is not None]
    numbers = range(len(asked))
    timed(lambda i: recommender.recommend([asked[i]], Options(K)), numbers)  # the files are read once
    whole = timed(lambda i: recommender.recommend([asked[i]], Options(K)), numbers)
    first = timed(lambda i: recommender.recommend([asked[i]], Options(K, rank=False)), numbers)
    solve = timed(lambda i: recommender.fold_in([asked[i]]), numbers)
    votes = timed(lambda i: kept.vote(*features[i], stages.pooling.n_neighbours), numbers)
    pool = timed(lambda i: recommender.pools([asked[i]]), numbers)
    network = timed(lambda i: ranker.score(pools[i].inputs), numbers)
    return {
        "seeds and solve": solve,
        "votes of the neighbours": votes,
        "candidates and inputs": pool - solve - votes,
        "network": network,
        "order, ids and names": whole - pool - network,
        "ranked, in all": whole,
        "first stage alone": first,
    }


def kept_playlists(recommender: Recommender) -> list[Playlist]:
    """Return the first items of playlists that the version keeps."""
    stages = recommender.artifacts.stages
    assert stages is not None
    kept, ids = stages.pooling.playlists, recommender.artifacts.catalogue.ids(stages.kind)
    long = np.flatnonzero(np.diff(kept.item_offsets) > SEEDS)[:PLAYLISTS]
    return [
        Playlist(**{stages.kind: [ids[row] for row in kept.items[start : start + SEEDS]]})
        for start in kept.item_offsets[long]
    ]


def timed(call: Callable[[int], Any], numbers: range) -> float:
    """Return the median milliseconds of a *call*."""
    seconds = []
    for number in numbers:
        started = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds)


def ablate(data: Path) -> None:
    """Print the NDCG on playlists that did not teach, with all inputs and without each group of them."""
    dataset = build_dataset(read([data]))
    config = replace(Configs.of().for_data(dataset.listening), ranker_networks=1)
    asked: list[tuple[Task, Any, Bools]] = []
    with quiet():
        taught = Examples.of(set_aside(gather(dataset, config), asked, np.random.default_rng(config.seed)))
        checked = Examples.of(asked)
        every = ndcg(taught, checked, (), config)
    print(f"{len(checked):,} tasks: NDCG of the candidates, first stage {mean_ndcg(checked, checked.solve):.4f}")
    print(f"  {'all inputs':28}{every:.4f}", flush=True)
    for group, names in GROUPS.items():
        with quiet():
            found = ndcg(taught, checked, names, config)
        print(f"  {'without ' + group:28}{found:.4f}{100 * (found / every - 1):+7.2f} %", flush=True)


def ndcg(taught: Examples, checked: Examples, left_out: tuple[str, ...], config: Any) -> float:
    """Return the NDCG of a ranker that neither learns from nor sees the inputs that are *left_out*."""
    columns = [INPUTS.index(name) for name in left_out]
    teaching, asking = (replace(each, inputs=without(each.inputs, columns)) for each in (taught, checked))
    return mean_ndcg(asking, fit_ranker(teaching, config).score(asking.inputs))


def without(inputs: Any, columns: list[int]) -> Any:
    """Return *inputs* with zeros in these *columns*."""
    inputs = inputs.copy()
    inputs[:, columns] = 0
    return inputs


if __name__ == "__main__":
    main()
