"""Listeners to continue: a fifth of what each listened to is hidden, and asked for by the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trainer.challenge import LISTENING, Task
from trainer.dataset import Dataset, playlist_hash
from trainer.sources import Artist, Track

HIDDEN_SHARE = 0.2

Bools = NDArray[np.bool_]


def hide(dataset: Dataset, listeners: Iterable[int], seed: int) -> Bools:
    """
    Choose what to hide: a fifth of the tracks, or artists, of each of *listeners* (indexes of *dataset*), at random.

    Returns:
        bool, shape (n_entries,), of `dataset.items`; nothing is hidden of one who listened to fewer than three.
    """
    offsets = dataset.items.offsets
    hidden = np.zeros(len(dataset.items.rows), bool)
    for index in listeners:
        start, stop = int(offsets[index]), int(offsets[index + 1])
        random = np.random.default_rng((seed, playlist_hash(dataset.playlist_ids[index])))
        hidden[start + random.choice(stop - start, round(HIDDEN_SHARE * (stop - start)), replace=False)] = True
    return hidden


def listening_tasks(dataset: Dataset, listeners: Iterable[int], hidden: Bools) -> list[Task]:
    """The tasks of those of *listeners* of whom something is *hidden*."""
    items = dataset.items
    tasks = []
    for index in listeners:
        part = slice(items.offsets[index], items.offsets[index + 1])
        rows, of_task = items.rows[part], hidden[part]
        if not of_task.any():
            continue
        counts = [] if items.counts is None else items.counts[part][~of_task].tolist()
        seeds, held_out = (_items(dataset, chosen) for chosen in (rows[~of_task], rows[of_task]))
        tasks.append(Task(index, LISTENING, "", seeds, [item.id for item in held_out], dataset.kind, counts))
    return tasks


def without(dataset: Dataset, hidden: Bools) -> Dataset:
    """*dataset* as if what is *hidden*, as `hide` chose it, had never been listened to."""
    items = dataset.items
    kept = np.concatenate(([0], np.cumsum(~hidden)))
    counts = None if items.counts is None else items.counts[~hidden]
    shown = replace(items, offsets=kept[items.offsets], rows=items.rows[~hidden], counts=counts)
    left = replace(dataset, tracks=shown) if dataset.kind == "tracks" else replace(dataset, artists=shown)
    return left.select(np.ones(len(dataset), bool))


def _items(dataset: Dataset, rows: NDArray[np.integer]) -> Sequence[Track | Artist]:
    make = dataset.vocabulary.track if dataset.kind == "tracks" else dataset.vocabulary.artist
    return [make(row) for row in rows.tolist()]
