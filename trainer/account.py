"""What a training run has to tell, gathered for its report."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Kind, Manifest, Recommender
from service.engine.features import normalize_title
from service.engine.retrieval import search_neighbours_exactly, unit
from trainer.dataset import Dataset
from trainer.evaluate import Scores
from trainer.gate import Verdict
from trainer.report import Report
from trainer.steps import Step

LENGTH_BOUNDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
POPULARITY_POINTS = 60
COMMON_WORDS = 25
SEEDS, NEIGHBOURS = 6, 5
# A seed of the neighbours shown has no artist that was shown already, and is sought among so many popular ones.
POPULAR = 200
RECALL_QUERIES = 200
EFFORT_FACTORS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


def give_account(
    recommender: Recommender,
    profile: str,
    dataset: Dataset,
    held_out: NDArray[np.bool_],
    scores: Mapping[str, Scores],
    verdict: Verdict,
    forced: bool,
    steps: Sequence[Step],
) -> Report:
    """
    Gather the report of a run.

    Args:
        recommender: the trained version, as the service opens it.
        profile: what its numbers came from, for a person.
        dataset: all that was read.
        held_out: bool, shape (n_playlists,). What was not trained on.
        scores: of each recommender by name, the trained version first.
        verdict: of the gate.
        forced: whether the version is published in spite of it.
        steps: of the run.
    """
    manifest = recommender.manifest
    return Report(
        version=manifest.version,
        created_at=manifest.created_at,
        kind=recommender.kind,
        profile=profile,
        verdict=("Published: " if verdict.passed else "Published by force: " if forced else "Refused: ")
        + verdict.reason,
        passed=verdict.passed,
        numbers={name: value for name, value in manifest.numbers.items() if isinstance(value, int | float | str)},
        counts=_counts(manifest, dataset, held_out),
        popularity=_popularity(dataset),
        lengths=_lengths(dataset),
        title_words=_title_words(dataset.titles),
        losses=manifest.training["losses"],
        quality={name: found.table() for name, found in scores.items()},
        comparison=_comparison(verdict),
        neighbours=_neighbours(recommender),
        recall={kind: _recall(recommender, kind) for kind in _indexed(recommender)},
        efforts={kind: recommender.artifacts.candidates[kind].effort for kind in _indexed(recommender)},
        steps=[(step.name, step.seconds, step.peak_mib) for step in steps],
        warm_start=_warm_start(manifest),
    )


def unserved(dataset: Dataset, held_out: NDArray[np.bool_]) -> int:
    """How many tracks, or artists, occur in playlists that were held out alone, and so are not served."""
    items = dataset.items
    learned = np.unique(items.select(~held_out).rows)
    return len(np.unique(items.rows)) - len(learned)


def _counts(manifest: Manifest, dataset: Dataset, held_out: NDArray[np.bool_]) -> dict[str, int]:
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
        f"{dataset.kind} in those alone": unserved(dataset, held_out),
        "playlists without tracks": dataset.empty_playlists,
        "playlists with the id of another": dataset.repeated_ids,
    }
    return {name: count for name, count in counts.items() if count}


def _popularity(dataset: Dataset) -> list[tuple[int, int]]:
    counts = dataset.popularity() if dataset.kind == "tracks" else dataset.artist_popularity()
    falling = np.sort(counts)[::-1]
    ranks = np.unique(np.geomspace(1, len(falling), POPULARITY_POINTS).round().astype(int))
    return [(rank, int(falling[rank - 1])) for rank in ranks.tolist()]


def _lengths(dataset: Dataset) -> list[tuple[str, int]]:
    lengths = np.diff(dataset.items.offsets)
    counts = np.bincount(np.searchsorted(LENGTH_BOUNDS, lengths, "right"), minlength=len(LENGTH_BOUNDS) + 1)[1:]
    ends = [bound - 1 for bound in LENGTH_BOUNDS[1:]]
    labels = [f"{low}" if low == high else f"{low}-{high}" for low, high in zip(LENGTH_BOUNDS, ends, strict=False)]
    bins = list(zip([*labels, f"{LENGTH_BOUNDS[-1]}+"], counts.tolist(), strict=True))
    last = max((place for place, (_, count) in enumerate(bins) if count), default=0)
    return bins[: last + 1]


def _title_words(titles: Sequence[str]) -> list[tuple[str, int]]:
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


def _neighbours(recommender: Recommender) -> list[tuple[str, str, list[tuple[str, float]]]]:
    """Of some well-known tracks and artists; of one artist no more than one track."""
    artists = [artist.id for artist in recommender.popular_artists(SEEDS)]
    tracks: dict[str, Any] = {}
    for track in recommender.popular(POPULAR):
        tracks.setdefault(track.artist.id if track.artist else track.id, track)
    found: list[tuple[str, str, list[tuple[str, float]]]] = []
    for track in list(tracks.values())[:SEEDS]:
        similar = recommender.similar_tracks([track.id], NEIGHBOURS)
        found.append(("track", _label(track), [(_label(near), near.score) for near in similar]))
    named = [artist.name for artist in recommender.popular_artists(SEEDS)]
    for artist_id, name in zip(artists, named, strict=True):
        similar_artists = recommender.similar_artists([artist_id], NEIGHBOURS)
        found.append(("artist", name, [(near.name, near.score) for near in similar_artists]))
    return found


def _label(track: Any) -> str:
    name = track.name or track.id
    return f"{name} \N{EM DASH} {track.artist.name}" if track.artist else name


def _indexed(recommender: Recommender) -> list[Kind]:
    return [kind for kind, found in recommender.artifacts.candidates.items() if len(found.index) > 1]


def _recall(recommender: Recommender, kind: Kind) -> list[tuple[int, float, float]]:
    """Effort, recall against exact search, and the median time of a search in milliseconds."""
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
