"""
Tasks: playlists to continue, of which a part is shown and the rest is hidden.

Playlists follow the ten categories of RecSys Challenge 2018. Listeners have one category: a fifth of their items is
hidden.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Kind
from trainer.dataset.dataset import Bools, Dataset
from trainer.sources import SourceArtist, SourceTrack

HIDDEN_SHARE = 0.2


@dataclass(frozen=True)
class Category:
    """The part of a playlist that is shown: its title or not, and a number of tracks, the first ones or random ones."""

    name: str
    seeds: int
    titled: bool = True
    random: bool = False

    def suits(self, tracks: int, title: str) -> bool:
        """Return whether a playlist of so many *tracks* leaves some to hide, and has a *title* if that is shown."""
        return tracks > self.seeds and (bool(title) or not self.titled)


CATEGORIES = (
    Category("title", 0),
    Category("title+1", 1),
    Category("title+5", 5),
    Category("5", 5, titled=False),
    Category("title+10", 10),
    Category("10", 10, titled=False),
    Category("title+25", 25),
    Category("title+25r", 25, random=True),
    Category("title+100", 100),
    Category("title+100r", 100, random=True),
)
TITLE_ONLY = 0
LISTENING = len(CATEGORIES)  # the one category of listeners
UNKNOWN = -1  # a published challenge set does not state its categories


@dataclass(frozen=True)
class Task:
    """
    One playlist, or one listener, to continue.

    Attributes:
        index: the position of the playlist in its dataset or challenge set.
        category: the index of its category, or `UNKNOWN`.
        title: '' if it is not shown.
        seeds: the tracks or artists that are shown.
        hidden: the ids of the tracks or artists to find; none in a published challenge set.
        kind: the kind of its items.
        counts: the plays of each seed; empty if each counts once.
    """

    index: int
    category: int
    title: str
    seeds: Sequence[SourceTrack | SourceArtist]
    hidden: Sequence[str] = ()
    kind: Kind = "tracks"
    counts: Sequence[float] = ()


def category_name(category: int) -> str:
    """Return the name of the category with this index."""
    return "listening" if category == LISTENING else CATEGORIES[category].name


def assign_categories(dataset: Dataset, candidates: Iterable[int], per_category: int) -> dict[int, int]:
    """
    Give each category up to *per_category* suitable playlists; categories with the most seeds choose first.

    Args:
        dataset: the playlists.
        candidates: indexes of the playlists to choose from.
        per_category: the number of playlists for each category.

    Returns:
        The index of the category for the index of each chosen playlist.
    """
    lengths = np.diff(dataset.tracks.offsets)
    left = sorted(candidates, key=lambda index: (dataset.hashes[index], index))
    chosen: dict[int, int] = {}
    for category in sorted(range(len(CATEGORIES)), key=lambda index: -CATEGORIES[index].seeds):
        suits = CATEGORIES[category].suits
        fitting = [index for index in left if suits(int(lengths[index]), dataset.titles[index])][:per_category]
        chosen |= dict.fromkeys(fitting, category)
        left = [index for index in left if index not in chosen]
    return chosen


def playlist_tasks(dataset: Dataset, chosen: Mapping[int, int], seed: int) -> list[Task]:
    """Make the tasks of the *chosen* playlists (index to category), sorted by category; *seed* picks random tracks."""
    by_category = sorted(chosen.items(), key=lambda item: (item[1], item[0]))
    return [_playlist_task(dataset, index, category, seed) for index, category in by_category]


def random_tasks(dataset: Dataset, playlists: Iterable[int], per_playlist: int, seed: int) -> list[Task]:
    """Make up to *per_playlist* tasks of each of *playlists* (indexes of *dataset*), of random suitable categories."""
    lengths = np.diff(dataset.tracks.offsets)
    tasks = []
    for index in playlists:
        title = dataset.titles[index]
        suiting = [place for place, shows in enumerate(CATEGORIES) if shows.suits(int(lengths[index]), title)]
        chosen = np.random.default_rng((seed, index)).permutation(suiting)[:per_playlist]
        tasks += [_playlist_task(dataset, index, int(category), seed) for category in chosen]
    return tasks


def hide(dataset: Dataset, listeners: Iterable[int], seed: int) -> Bools:
    """
    Choose a random fifth of the items of each of *listeners* (indexes of *dataset*) to hide.

    Returns:
        bool, shape (n_entries,), for `dataset.items`; listeners of fewer than three items lose none.
    """
    offsets = dataset.items.offsets
    hidden = np.zeros(len(dataset.items.rows), bool)
    for index in listeners:
        start, stop = int(offsets[index]), int(offsets[index + 1])
        random = np.random.default_rng((seed, int(dataset.hashes[index])))
        hidden[start + random.choice(stop - start, round(HIDDEN_SHARE * (stop - start)), replace=False)] = True
    return hidden


def listener_tasks(dataset: Dataset, listeners: Iterable[int], hidden: Bools) -> list[Task]:
    """Make the tasks of those *listeners* with *hidden* items, as `hide` chose them."""
    offsets = dataset.items.offsets
    return [
        _listener_task(dataset, index, hidden)
        for index in listeners
        if hidden[offsets[index] : offsets[index + 1]].any()
    ]


def remove_hidden(dataset: Dataset, hidden: Bools) -> Dataset:
    """Return *dataset* without the *hidden* items, as `hide` chose them."""
    items = dataset.items
    kept = np.concatenate(([0], np.cumsum(~hidden)))
    counts = None if items.counts is None else items.counts[~hidden]
    shown = replace(items, offsets=kept[items.offsets], rows=items.rows[~hidden], counts=counts)
    left = replace(dataset, tracks=shown) if dataset.kind == "tracks" else replace(dataset, artists=shown)
    return left.select(np.ones(len(dataset), bool))


def _playlist_task(dataset: Dataset, index: int, category: int, seed: int) -> Task:
    shows = CATEGORIES[category]
    shown, hidden = _divide(dataset.tracks[index], shows, np.random.default_rng((seed, index)))
    title = dataset.titles[index] if shows.titled else ""
    seeds = [dataset.vocabulary.track(row) for row in shown.tolist()]
    return Task(index, category, title, seeds, [dataset.vocabulary.track_ids[row] for row in hidden])


def _divide(tracks: NDArray[Any], category: Category, random: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    shown = np.zeros(len(tracks), bool)
    if category.random:
        shown[random.choice(len(tracks), category.seeds, replace=False)] = True
    else:
        shown[: category.seeds] = True
    return tracks[shown], tracks[~shown]


def _listener_task(dataset: Dataset, index: int, hidden: Bools) -> Task:
    items = dataset.items
    part = slice(items.offsets[index], items.offsets[index + 1])
    rows, mask = items.rows[part], hidden[part]
    make = dataset.vocabulary.track if dataset.kind == "tracks" else dataset.vocabulary.artist
    seeds = [make(row) for row in rows[~mask].tolist()]
    counts = [] if items.counts is None else items.counts[part][~mask].tolist()
    return Task(index, LISTENING, "", seeds, [dataset.item_ids[row] for row in rows[mask]], dataset.kind, counts)
