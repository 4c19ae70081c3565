"""Gathers the facts of a training run for its report."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.engine import Kind, Manifest, Recommender, normalize_title, search_neighbours_exactly, unit
from trainer.dataset.dataset import Bools, Dataset
from trainer.evaluation.gate import Outcome
from trainer.evaluation.verdict import Verdict
from trainer.report.page import Report
from trainer.timing import Step

LENGTH_BOUNDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
POPULARITY_POINTS = 60
COMMON_WORDS = 25
# The neighbours of SEEDS tracks are shown, each by another artist, from the most popular SEED_POOL tracks.
SEEDS, NEIGHBOURS, SEED_POOL = 6, 5, 200
RECALL_QUERIES = 100
EFFORT_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2)


def gather(
    recommender: Recommender,
    profile: str,
    dataset: Dataset,
    held_out: Bools,
    outcome: Outcome,
    forced: bool,
    steps: Sequence[Step],
) -> Report:
    """
    Gather the report of a run.

    Args:
        recommender: the trained version, as the service opens it.
        profile: the name of the profile of its numbers.
        dataset: all data that were read.
        held_out: bool, shape (n_playlists,). The playlists that it was not trained on.
        outcome: the outcome of the gate.
        forced: whether the version is published in spite of the verdict.
        steps: the steps of the run so far.
    """
    manifest, verdict = recommender.manifest, outcome.verdict
    result = "Published" if verdict.passed else "Published by force" if forced else "Refused"
    return Report(
        version=manifest.version,
        created_at=manifest.created_at,
        kind=recommender.kind,
        profile=profile,
        verdict=f"{result}: {verdict.reason}",
        passed=verdict.passed,
        numbers={name: value for name, value in manifest.numbers.items() if isinstance(value, int | float | str)},
        inputs=[(group.path, group.summary, group.facts()) for group in dataset.inputs],
        passed_over=[str(files) for files in dataset.passed_over],
        counts=_counts(manifest, dataset, held_out),
        popularity=popularity_points(dataset),
        lengths=length_classes(dataset),
        title_words=common_words(dataset.titles),
        losses=manifest.training["losses"],
        quality={name: scores.table() for name, scores in outcome.scores.items()},
        comparison=_comparison(verdict),
        ranker=_ranker(manifest),
        neighbours=_track_neighbours(recommender) + _artist_neighbours(recommender),
        recall={kind: _recall(recommender, kind) for kind in _indexed(recommender)},
        efforts={kind: recommender.artifacts.candidates[kind].effort for kind in _indexed(recommender)},
        steps=[(step.name, step.seconds, step.peak_mib) for step in steps],
        warm_start=_warm_start(manifest),
    )


def unserved(dataset: Dataset, held_out: Bools) -> int:
    """Count the tracks, or artists, that occur in held-out playlists only and so are not served."""
    items = dataset.items
    learned = np.unique(items.select(~held_out).rows)
    return len(np.unique(items.rows)) - len(learned)


def _counts(manifest: Manifest, dataset: Dataset, held_out: Bools) -> dict[str, int]:
    shape = manifest.shape
    playlists = "listeners" if dataset.listening else "playlists"
    counts = {
        playlists: len(dataset),
        "tracks": len(dataset.vocabulary.track_ids),
        "artists": len(dataset.vocabulary.artist_ids),
        "entries": dataset.entries,
        "title words": shape.words,
        "title 4-grams": shape.grams,
        f"{playlists} held out": int(held_out.sum()),
        f"{dataset.kind} in those only": unserved(dataset, held_out),
        "tracks without an id, joined": dataset.joined_tracks,
        "artists without an id, joined": dataset.joined_artists,
        "playlists without tracks": dataset.empty_playlists,
        "playlists that repeat another": dataset.repeated_playlists,
        "playlists with the id of another": dataset.repeated_ids,
    }
    return {name: count for name, count in counts.items() if count}


def popularity_points(dataset: Dataset) -> list[tuple[int, int]]:
    """Return some points of the long tail: a rank, and the number of playlists of the item with that rank."""
    falling = np.sort(dataset.item_popularity())[::-1]
    ranks = np.unique(np.geomspace(1, len(falling), POPULARITY_POINTS).round().astype(int))
    return [(rank, int(falling[rank - 1])) for rank in ranks.tolist()]


def length_classes(dataset: Dataset) -> list[tuple[str, int]]:
    """Return the number of playlists in each class of length, up to the last class with any."""
    lengths = np.diff(dataset.items.offsets)
    counts = np.bincount(np.searchsorted(LENGTH_BOUNDS, lengths, "right"), minlength=len(LENGTH_BOUNDS) + 1)[1:]
    ends = [bound - 1 for bound in LENGTH_BOUNDS[1:]]
    labels = [f"{low}" if low == high else f"{low}-{high}" for low, high in zip(LENGTH_BOUNDS, ends, strict=False)]
    classes = list(zip([*labels, f"{LENGTH_BOUNDS[-1]}+"], counts.tolist(), strict=True))
    return classes[: int(np.max(np.flatnonzero(counts), initial=0)) + 1]


def common_words(titles: Sequence[str]) -> list[tuple[str, int]]:
    """Return the most frequent words of *titles*, and the number of titles with each."""
    counts: Counter[str] = Counter()
    for title, playlists in Counter(titles).items():
        for word in set(normalize_title(title).split()):
            counts[word] += playlists
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:COMMON_WORDS]


def _comparison(verdict: Verdict) -> dict[str, Any] | None:
    if verdict.changes is None:
        return None
    return {
        "against": verdict.against,
        "playlists": verdict.playlists,
        "overlap": verdict.overlap,
        "changes": {name: (change.value, change.low, change.high) for name, change in verdict.changes.items()},
    }


Neighbours = list[tuple[str, str, list[tuple[str, float]]]]


def _track_neighbours(recommender: Recommender) -> Neighbours:
    by_artist: dict[str, Any] = {}
    for track in recommender.popular("tracks", SEED_POOL):
        by_artist.setdefault(track.artist.id if track.artist else track.id, track)
    seeds = list(by_artist.values())[:SEEDS]
    similar = [recommender.similar("tracks", [seed.id], NEIGHBOURS) for seed in seeds]
    return [
        ("track", _label(seed), [(_label(track), track.score) for track in tracks])
        for seed, tracks in zip(seeds, similar, strict=True)
    ]


def _artist_neighbours(recommender: Recommender) -> Neighbours:
    seeds = recommender.popular("artists", SEEDS)
    similar = [recommender.similar("artists", [seed.id], NEIGHBOURS) for seed in seeds]
    return [
        ("artist", seed.name, [(artist.name, artist.score) for artist in artists])
        for seed, artists in zip(seeds, similar, strict=True)
    ]


def _label(track: Any) -> str:
    name = track.name or track.id
    return f"{name} \N{EM DASH} {track.artist.name}" if track.artist else name


def _indexed(recommender: Recommender) -> list[Kind]:
    return [kind for kind, found in recommender.artifacts.candidates.items() if len(found.index) > 1]


def _recall(recommender: Recommender, kind: Kind) -> list[tuple[int, float, float]]:
    """Measure an index: search effort, recall against exact search, and median time of a search in milliseconds."""
    candidates, numbers = recommender.artifacts.candidates[kind], recommender.manifest.numbers
    vectors = recommender.artifacts.vectors[candidates.rows]
    n_queries, k = min(RECALL_QUERIES, len(vectors)), min(int(numbers["neighbours"]), len(vectors))
    queries = np.random.default_rng(int(numbers["seed"])).choice(len(vectors), n_queries, replace=False)
    truth = search_neighbours_exactly(unit(vectors[queries]), vectors, k)
    found = []
    for effort in sorted({max(k, round(factor * candidates.effort)) for factor in EFFORT_FACTORS}):
        recall = candidates.index.recall(vectors, queries, truth, effort)
        times = []
        for query in queries:
            started = time.perf_counter()
            candidates.index.search(vectors[query], k, effort)
            times.append(1000 * (time.perf_counter() - started))
        found.append((effort, recall, float(np.median(times))))
    return found


def _ranker(manifest: Manifest) -> dict[str, Any] | None:
    taught: Mapping[str, Any] | None = manifest.training.get("ranker")
    if taught is None:
        return None
    return {**taught, "importance": {name.replace("_", " "): lost for name, lost in taught["importance"].items()}}


def _warm_start(manifest: Manifest) -> dict[str, Any] | None:
    training = manifest.training
    if not training["warm_start"]:
        return None
    cold = int(manifest.numbers["iterations"])
    return {
        "from": training["warm_start"]["version"],
        "iterations": training["iterations"],
        "seconds": training["iterations"] * training["iteration_s"],
        "cold_iterations": cold,
        "cold_seconds": cold * training["iteration_s"],
    }
