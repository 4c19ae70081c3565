"""
The price of controls, filters and reasons: in NDCG, in the aim of each, and in time.

    python benchmarks/bench_controls.py DATA --models MODELS

DATA: the playlists that the current version of MODELS was trained on. Those that it held out are the tasks. Ten minutes
on the sample of the Million Playlist Dataset.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_ranker import kept_playlists
from machine import describe_machine

from service.engine import Controls, Options, Playlist, Recommender, Store, unit
from service.engine.text import song_name
from trainer.dataset import Dataset, build_dataset
from trainer.evaluation.answers import seed_playlists
from trainer.evaluation.metrics import ndcg
from trainer.evaluation.split import hold_out, tasks_of
from trainer.progress import quiet
from trainer.sources import read

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
    parser.add_argument("--models", type=Path, required=True)
    options = parser.parse_args()
    print(describe_machine())
    with closing(Recommender.open(Store(options.models).current())) as recommender:
        with quiet():
            dataset = build_dataset(read(options.data))
        print_prices(recommender, dataset)
        print_times(recommender, kept_playlists(recommender))


def print_prices(recommender: Recommender, dataset: Dataset) -> None:
    """Print NDCG and what each control is for, over the playlists that the version held out."""
    tasks = tasks_of(dataset, hold_out(dataset), recommender.manifest.numbers["seed"])
    tasks = [task for task in tasks if task.seeds]
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
            measured.append((ndcg(ids, [track.id for track in task.hidden]), *aims(recommender, ids[:TOP])))
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
