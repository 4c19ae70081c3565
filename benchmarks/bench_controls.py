"""
The price of controls, filters and reasons: in NDCG, in the aim of each, and in time.

    python benchmarks/bench_controls.py DATA [--part price|time]

DATA: playlists, as `train` takes them. A version is trained on some of them, and the others are to be continued, as in
`evaluate`. A quarter of an hour on the sample of the Million Playlist Dataset.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_ranker import kept_playlists
from machine import describe_machine

from service.engine import Controls, Options, Playlist, Recommender, unit
from service.engine.text import song_name
from trainer.config import FULL
from trainer.dataset import Dataset, build_dataset
from trainer.evaluation.answers import seed_playlists
from trainer.evaluation.metrics import ndcg
from trainer.evaluation.split import split
from trainer.evaluation.tasks import Task
from trainer.fitting.fit import fit_and_write
from trainer.progress import quiet
from trainer.ranking.teach import teach
from trainer.sources import read
from trainer.timing import Stopwatch

CONTROLS = {
    "none": Controls(),
    "max_per_artist 1": Controls(max_per_artist=1),
    "max_per_artist 3": Controls(max_per_artist=3),
    "distinct": Controls(distinct=True),
    "discover": Controls(discover=True),
    "popularity -1": Controls(popularity=-1.0),
    "popularity -0.5": Controls(popularity=-0.5),
    "popularity 0.5": Controls(popularity=0.5),
    "popularity 1": Controls(popularity=1.0),
    "diversity 0.2": Controls(diversity=0.2),
    "diversity 0.5": Controls(diversity=0.5),
    "diversity 1": Controls(diversity=1.0),
    "vary": Controls(vary=1),
}
SHARES = (0.9, 0.5, 0.1, 0.01, 0.001)
K, TOP, TURNS = 500, 10, 300


def main() -> None:
    parser = argparse.ArgumentParser(description="The price of controls, filters and reasons.")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--part", choices=("price", "time"))
    options = parser.parse_args()
    print(describe_machine())
    with quiet():
        learned, tasks = split(build_dataset(read(options.data)), FULL.seed)
    with trained(learned) as recommender:
        if options.part != "time":
            print_prices(recommender, [task for task in tasks if task.seeds])
        if options.part != "price":
            print_times(recommender, kept_playlists(recommender))


@contextmanager
def trained(learned: Dataset) -> Iterator[Recommender]:
    """Open a version that is trained on *learned*, with a ranker."""
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as directory:
        with quiet():
            taught = teach(learned, FULL)
            ranker = taught.ranker if taught else None
            fit_and_write(learned, Path(directory), "controls", FULL, {}, None, Stopwatch(), ranker)
        with closing(Recommender.open(Path(directory))) as recommender:
            yield recommender


def print_prices(recommender: Recommender, tasks: Sequence[Task]) -> None:
    """Print NDCG and what each control is for, over playlists that the version has not seen."""
    playlists = seed_playlists(recommender, tasks)
    print(f"{len(tasks):,} playlists with tracks; the first {TOP} of an answer")
    print(f"{'':18}{'NDCG':>8}{'artists':>9}{'playlists':>11}{'distance':>10}{'songs twice':>13}{'kept':>7}")
    plain: list[set[str]] = []
    for name, controls in CONTROLS.items():
        measured, heads = [], []
        for task, playlist in zip(tasks, playlists, strict=True):
            (answer,) = recommender.recommend([playlist], Options(K, controls=controls))
            ids = answer.found.ids
            heads.append(set(ids[:TOP]))
            measured.append((ndcg(ids, task.hidden), *aims(recommender, ids[:TOP])))
        plain = plain or heads
        gain, artists, popularity, distance, twice = np.mean(measured, axis=0)
        kept = np.mean([len(head & before) / TOP for head, before in zip(heads, plain, strict=True)])
        print(
            f"{name:18}{gain:>8.4f}{artists:>9.2f}{popularity:>11.0f}{distance:>10.3f}{twice:>13.3f}{kept:>7.2f}",
            flush=True,
        )


def aims(recommender: Recommender, ids: Sequence[str]) -> tuple[float, float, float, float]:
    """The artists among tracks, their mean popularity, their mean distance by cosine, and the repeated songs."""
    found = recommender.look_up("tracks", ids)
    rows, _ = recommender.artifacts.catalogue.rows("tracks", ids)
    vectors = unit(recommender.artifacts.candidates["tracks"].ranking.take(np.array(rows)))
    n = len(rows)
    distance = float((n * n - (vectors @ vectors.T).sum()) / max(n * (n - 1), 1))
    songs = [(track.artist.id if track.artist else "", song_name(track.name)) for track in found]
    artists = {track.artist.id if track.artist else track.id for track in found}
    return len(artists), float(np.mean([track.popularity for track in found])), distance, n - len(set(songs))


def print_times(recommender: Recommender, playlists: Sequence[Playlist]) -> None:
    """Print the times of answers with each wish, in turns with the plain answer."""
    n_tracks = recommender.manifest.shape.tracks
    everything = recommender.popular("tracks", n_tracks).ids
    asked: dict[str, Callable[[Playlist], object]] = {
        name: lambda playlist, controls=controls: recommender.recommend([playlist], Options(100, controls=controls))
        for name, controls in CONTROLS.items()
    }
    asked["k = 20"] = lambda playlist: recommender.recommend([playlist], Options(20))
    asked["k = 20, explain"] = lambda playlist: recommender.recommend([playlist], Options(20, explain=True))
    random = np.random.default_rng(0)
    counts = np.sort([track.popularity for track in recommender.popular("tracks", n_tracks)])
    for share in SHARES:
        where = {"playlists": {"gte": int(counts[-max(int(share * n_tracks), 1)])}}
        asked[f"the best known {share:.1%}"] = lambda playlist, where=where: recommender.recommend(
            [replace(playlist, where=where)], Options(100)
        )
    among = [everything[row] for row in random.choice(n_tracks, min(10_000, n_tracks), replace=False).tolist()]
    asked["among 10,000"] = lambda playlist: recommender.recommend([replace(playlist, among=among)], Options(100))
    times: dict[str, list[float]] = {name: [] for name in asked}
    for turn in range(TURNS):
        for name, ask in asked.items():
            started = time.perf_counter()
            ask(playlists[turn % len(playlists)])
            times[name].append(time.perf_counter() - started)
    plain = statistics.median(times["none"])
    for name, of_name in times.items():
        median = statistics.median(of_name)
        print(f"{name:24}{1000 * median:>8.2f} ms{median / plain:>7.2f}")
    print_batch(recommender, playlists)


def print_batch(recommender: Recommender, playlists: Sequence[Playlist]) -> None:
    """Print the time of a batch relative to its playlists one by one."""
    batch, ratios = list(playlists[:100]), []
    for _ in range(7):
        started = time.perf_counter()
        for playlist in batch:
            recommender.recommend([playlist], Options(100))
        alone = time.perf_counter() - started
        started = time.perf_counter()
        recommender.recommend(batch, Options(100))
        ratios.append((time.perf_counter() - started) / alone)
    print(f"a batch of {len(batch)}: {statistics.median(ratios):.2f} of one by one")


if __name__ == "__main__":
    main()
