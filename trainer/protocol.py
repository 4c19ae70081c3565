"""Who is asked, and who is learned from: the same ones whoever asks."""

import numpy as np
from numpy.typing import NDArray

from trainer.challenge import CATEGORIES, Task, assign, make_tasks
from trainer.dataset import Dataset, heldout
from trainer.errors import NothingToLearn
from trainer.listening import hide, listening_tasks, without

# `train` holds this share of the playlists out, or more where that gives too few to measure anything.
HELDOUT_SHARE = 0.02
HELDOUT_LEAST = 100
HELDOUT_MOST_SHARE = 0.1
ASKED_MOST = 10_000

# `evaluate` asks this many playlists of each category, within these bounds, and learns from the others.
CATEGORY_SHARE = 0.002
CATEGORY_LEAST = 100
CATEGORY_MOST = 1000
EVALUATED_MOST_SHARE = 0.25

Bools = NDArray[np.bool_]


def hold_out(dataset: Dataset) -> Bools:
    """
    What `train` keeps from training: bool, shape (n_playlists,).

    Raises:
        NothingToLearn: that leaves nothing to train on.
    """
    asked = heldout(dataset.playlist_ids, HELDOUT_SHARE, HELDOUT_LEAST, HELDOUT_MOST_SHARE)
    if asked.all():
        raise NothingToLearn(
            f"holding playlists out leaves none of {len(dataset)} to train on; give more, or use --no-holdout"
        )
    return asked


def tasks_of(dataset: Dataset, unseen: Bools, seed: int) -> tuple[list[Task], list[int]]:
    """Tasks of *unseen* playlists, bool, shape (n_playlists,), and the index of the playlist of each."""
    candidates = np.flatnonzero(unseen)[:ASKED_MOST].tolist()
    if dataset.listening:
        tasks = listening_tasks(dataset, candidates, hide(dataset, candidates, seed))
        return tasks, [task.pid for task in tasks]
    chosen = assign(dataset, candidates, -(-len(candidates) // len(CATEGORIES)))
    by_category = sorted(chosen, key=lambda index: (chosen[index], index))
    return make_tasks(dataset, chosen, seed), by_category


def split(dataset: Dataset, seed: int) -> tuple[Dataset, list[Task]]:
    """
    What `evaluate` learns from, and what it asks.

    Of playlists, whole ones are held out, in the categories of RecSys Challenge 2018; of what people listened to, a
    fifth of what each did.

    Raises:
        NothingToLearn: there are too few playlists for both.
    """
    if dataset.listening:
        listeners = np.flatnonzero(heldout(dataset.playlist_ids, ASKED_MOST / len(dataset), 1, 1)).tolist()
        hidden = hide(dataset, listeners, seed)
        tasks, learned = listening_tasks(dataset, listeners, hidden), without(dataset, hidden)
    else:
        chosen = _choose(dataset)
        tasks = make_tasks(dataset, chosen, seed)
        asked = np.zeros(len(dataset), bool)
        asked[list(chosen)] = True
        learned = dataset.select(~asked)
    if not len(learned) or not tasks:
        raise NothingToLearn(f"{len(dataset)} playlists are too few to learn from some and to ask others")
    return learned, tasks


def _choose(dataset: Dataset) -> dict[int, int]:
    """The playlists that `evaluate` asks for, and the category of each."""
    per_category = int(np.clip(CATEGORY_SHARE * len(dataset), CATEGORY_LEAST, CATEGORY_MOST))
    per_category = max(1, min(per_category, int(EVALUATED_MOST_SHARE * len(dataset) / len(CATEGORIES))))
    return assign(dataset, range(len(dataset)), per_category)
