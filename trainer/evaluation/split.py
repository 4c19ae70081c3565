"""The split of the data into playlists to learn from and playlists to ask for."""

import numpy as np

from trainer.dataset.dataset import Bools, Dataset, Hashes
from trainer.errors import NothingToLearn
from trainer.evaluation.tasks import (
    CATEGORIES,
    Task,
    assign_categories,
    hide,
    listener_tasks,
    playlist_tasks,
    remove_hidden,
)

# `train` holds out this share of the playlists, or more if that is too few to measure anything.
HELD_OUT_SHARE = 0.02
HELD_OUT_LEAST = 100
HELD_OUT_MOST_SHARE = 0.1
TASKS_MOST = 10_000
JUDGED_MOST = 5_000  # by the gate

# `evaluate` asks for this share of the playlists in each category, within these bounds.
CATEGORY_SHARE = 0.002
CATEGORY_LEAST = 100
CATEGORY_MOST = 1000
EVALUATED_MOST_SHARE = 0.25


def hold_out(dataset: Dataset) -> Bools:
    """
    Choose the playlists that `train` does not train on: bool, shape (n_playlists,).

    Raises:
        NothingToLearn: no playlist is left to train on.
    """
    held_out = choose_by_hash(dataset.hashes, HELD_OUT_SHARE, HELD_OUT_LEAST, HELD_OUT_MOST_SHARE)
    if held_out.all():
        raise NothingToLearn(
            f"all {len(dataset)} playlists are held out and none is left to train on; add data or use --no-holdout"
        )
    return held_out


def tasks_of(dataset: Dataset, chosen: Bools, seed: int) -> list[Task]:
    """Make tasks of the *chosen* playlists: bool, shape (n_playlists,)."""
    candidates = np.flatnonzero(chosen)[:JUDGED_MOST].tolist()
    if dataset.listening:
        return listener_tasks(dataset, candidates, hide(dataset, candidates, seed))
    categories = assign_categories(dataset, candidates, -(-len(candidates) // len(CATEGORIES)))
    return playlist_tasks(dataset, categories, seed)


def split(dataset: Dataset, seed: int) -> tuple[Dataset, list[Task]]:
    """
    Split *dataset* for `evaluate` into the data to learn from and the tasks.

    Playlists are held out as a whole. Of listeners, a fifth of the items is hidden.

    Raises:
        NothingToLearn: there are too few playlists for both.
    """
    learned, tasks = _split_listeners(dataset, seed) if dataset.listening else _split_playlists(dataset, seed)
    if not len(learned) or not tasks:
        raise NothingToLearn(f"{len(dataset)} playlists are too few to learn from some and ask for others; add data")
    return learned, tasks


def choose_by_hash(hashes: Hashes, share: float, least: int, most_share: float) -> Bools:
    """
    Choose the playlists with the lowest hashes, so that the choice stays the same when others are added.

    Args:
        hashes: uint64, shape (n_playlists,).
        share: the part of the hash's range to choose, 0 to 1.
        least: if *share* gives fewer playlists, it grows until it gives this number.
        most_share: the limit of that growth.

    Returns:
        bool, shape (n_playlists,).
    """
    places = hashes / 2.0**64
    if (places < share).sum() < least:
        enough = np.sort(places)[least - 1] if len(places) >= least else 1.0
        share = min(float(np.nextafter(enough, 2)), most_share)
    return np.asarray(places < share)


def _split_playlists(dataset: Dataset, seed: int) -> tuple[Dataset, list[Task]]:
    per_category = int(np.clip(CATEGORY_SHARE * len(dataset), CATEGORY_LEAST, CATEGORY_MOST))
    per_category = max(1, min(per_category, int(EVALUATED_MOST_SHARE * len(dataset) / len(CATEGORIES))))
    categories = assign_categories(dataset, range(len(dataset)), per_category)
    held_out = np.isin(np.arange(len(dataset)), list(categories))
    return dataset.select(~held_out), playlist_tasks(dataset, categories, seed)


def _split_listeners(dataset: Dataset, seed: int) -> tuple[Dataset, list[Task]]:
    listeners = np.flatnonzero(choose_by_hash(dataset.hashes, TASKS_MOST / len(dataset), 1, 1)).tolist()
    hidden = hide(dataset, listeners, seed)
    return remove_hidden(dataset, hidden), listener_tasks(dataset, listeners, hidden)
