"""
The protocol of RecSys Challenge 2018: whole playlists held out in ten categories, and the files of the challenge.

A task is what a category shows of a held-out playlist (its title, some seed tracks) and what it hides.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine import Kind, Playlist, Plays, Recommender
from trainer.dataset import Dataset, hash_share
from trainer.errors import BadInput
from trainer.sources import Artist, Track, mpd

ANSWER_TRACKS = 500


@dataclass(frozen=True)
class Category:
    """What is shown of a playlist: its title or not, and how many of its tracks, the first ones or any."""

    name: str
    seeds: int
    titled: bool = True
    random: bool = False

    def suits(self, tracks: int, title: str) -> bool:
        """Whether a playlist of so many *tracks* leaves something to hide, and has a *title* if that is shown."""
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


# The one category of listeners: a fifth of what each listened to is hidden.
LISTENING = len(CATEGORIES)


@dataclass(frozen=True)
class Task:
    """
    One playlist, or one listener, to continue.

    Attributes:
        pid: its number in the challenge's files.
        category: the index of its category, -1 where that is not told.
        title: '' where it is not shown.
        seeds: the tracks or artists shown.
        held_out: ids of the tracks or artists hidden; none in a published challenge set.
        kind: which of them.
        counts: how often each of *seeds* was played; none where each counts once.
    """

    pid: int
    category: int
    title: str
    seeds: Sequence[Track | Artist]
    held_out: Sequence[str] = ()
    kind: Kind = "tracks"
    counts: Sequence[float] = ()


def category_name(category: int) -> str:
    """The name of the category of this index."""
    return "listening" if category == LISTENING else CATEGORIES[category].name


def assign(dataset: Dataset, candidates: Iterable[int], per_category: int) -> dict[int, int]:
    """
    Give each category up to *per_category* playlists that suit it; those that ask for the most tracks choose first.

    Args:
        dataset: where the playlists are.
        candidates: indexes of the playlists to choose from.
        per_category: how many each category gets, where so many suit it.

    Returns:
        The index of the category for the index of each chosen playlist.
    """
    lengths = np.diff(dataset.tracks.offsets)
    left = sorted(candidates, key=lambda index: (hash_share(dataset.playlist_ids[index]), index))
    chosen: dict[int, int] = {}
    for category in sorted(range(len(CATEGORIES)), key=lambda index: -CATEGORIES[index].seeds):
        suits = CATEGORIES[category].suits
        fitting = [index for index in left if suits(int(lengths[index]), dataset.titles[index])][:per_category]
        chosen |= dict.fromkeys(fitting, category)
        left = [index for index in left if index not in chosen]
    return chosen


def make_tasks(dataset: Dataset, chosen: Mapping[int, int], seed: int) -> list[Task]:
    """The tasks of the *chosen* playlists (index to category), by category; *seed* is of the seeds shown at random."""
    pids = _numbers(dataset.playlist_ids)
    tasks = []
    for index, category in sorted(chosen.items(), key=lambda item: (item[1], item[0])):
        shown, hidden = _split(dataset.tracks[index], CATEGORIES[category], np.random.default_rng((seed, index)))
        tasks.append(
            Task(
                pid=pids[index],
                category=category,
                title=dataset.titles[index] if CATEGORIES[category].titled else "",
                seeds=[dataset.vocabulary.track(row) for row in shown.tolist()],
                held_out=[dataset.vocabulary.track_ids[track] for track in hidden],
            )
        )
    return tasks


def playlists(recommender: Recommender, tasks: Sequence[Task]) -> list[Playlist]:
    """
    What *recommender* is asked for *tasks*.

    A seed that the catalogue does not know may still have an artist that it does; those are passed as artists, by id
    where the id is known and by name otherwise. A listener is asked for with the plays of each artist.
    """
    if tasks and tasks[0].kind == "artists":
        return [Playlist(artists=_mentions(task)) for task in tasks]
    asked = [Playlist(tracks=[seed.id for seed in task.seeds], title=task.title) for task in tasks]
    unknown = [set(what.tracks) for what in recommender.unknown(asked)]
    tracks = ([seed for seed in task.seeds if isinstance(seed, Track)] for task in tasks)
    strangers = [[seed for seed in seeds if seed.id in ids] for seeds, ids in zip(tracks, unknown, strict=True)]
    by_id = [Playlist(artists=[seed.artist_id for seed in seeds if seed.artist_id]) for seeds in strangers]
    unknown_artists = [set(what.artists) for what in recommender.unknown(by_id)]
    return [
        Playlist(playlist.tracks, _artists(seeds, ids), playlist.title)
        for playlist, seeds, ids in zip(asked, strangers, unknown_artists, strict=True)
    ]


def write_challenge(directory: Path, dataset: Dataset, tasks: Sequence[Task], answers: Sequence[Sequence[str]]) -> None:
    """Write `challenge_set.json`, `answers.json` and `submission.csv` of *tasks* and their *answers* to *directory*."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "challenge_set.json", {"playlists": [_challenge_playlist(task) for task in tasks]})
    held_out = [{"pid": task.pid, "category": task.category, "holdouts": list(task.held_out)} for task in tasks]
    _write_json(directory / "answers.json", {"artist": track_artists(dataset), "answers": held_out})
    write_submission(directory / "submission.csv", tasks, answers)


def write_submission(
    path: Path, tasks: Sequence[Task], answers: Sequence[Sequence[str]], team: str = "Segue", email: str = ""
) -> None:
    """
    Write *answers* as a submission to the challenge: a line on the team, then a row for each task.

    It is written beside *path* first, so that a submission is there whole or not at all.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["team_info", team, "main", email])
    for task, answer in zip(tasks, answers, strict=True):
        writer.writerow([task.pid, *answer])
    partial = partial_path(path)
    partial.write_text(text.getvalue(), encoding="utf-8")
    partial.replace(path)


def partial_path(path: Path) -> Path:
    """Where a submission is written before it is whole."""
    return path.parent / f"{path.name}.partial"


def track_artists(dataset: Dataset) -> dict[str, str]:
    """The name of the artist of each track that has one, by the track's id."""
    vocabulary = dataset.vocabulary
    names = ((id_, vocabulary.artist_name(row)) for row, id_ in enumerate(vocabulary.track_ids))
    return {id_: name for id_, name in names if name}


def read_challenge(path: Path) -> list[Task]:
    """
    Read a published `challenge_set.json`, plain or gzipped.

    Raises:
        BadInput: it is not there, or not that.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    return [Task(int(found.id), -1, found.title, found.tracks) for found in mpd.decode(raw, str(path))]


def _numbers(playlist_ids: Sequence[str]) -> list[int]:
    """The ids as numbers, as the challenge wants them; their places where they are not distinct numbers."""
    if len(set(playlist_ids)) == len(playlist_ids) and all(id_.isascii() and id_.isdigit() for id_ in playlist_ids):
        return [int(id_) for id_ in playlist_ids]
    return list(range(len(playlist_ids)))


def _split(tracks: NDArray[Any], category: Category, random: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    shown = np.zeros(len(tracks), bool)
    if category.random:
        shown[random.choice(len(tracks), category.seeds, replace=False)] = True
    else:
        shown[: category.seeds] = True
    return tracks[shown], tracks[~shown]


def _mentions(task: Task) -> list[str | Plays]:
    if not task.counts:
        return [seed.id for seed in task.seeds]
    return [Plays(seed.id, count) for seed, count in zip(task.seeds, task.counts, strict=True)]


def _artists(seeds: Sequence[Track], unknown_ids: set[str]) -> list[str]:
    named = (
        seed.artist_id if seed.artist_id and seed.artist_id not in unknown_ids else seed.artist_name for seed in seeds
    )
    return list(dict.fromkeys(name for name in named if name))


def _challenge_playlist(task: Task) -> dict[str, Any]:
    tracks = [
        {
            "pos": position,
            "track_uri": seed.id,
            "track_name": seed.name,
            "artist_uri": seed.artist_id,
            "artist_name": seed.artist_name,
        }
        for position, seed in enumerate(task.seeds)
        if isinstance(seed, Track)
    ]
    titled = {"name": task.title} if task.title else {}
    counts = {"num_holdouts": len(task.held_out), "num_samples": len(tracks)}
    return {**titled, "pid": task.pid, **counts, "num_tracks": len(tracks) + len(task.held_out), "tracks": tracks}


def _write_json(path: Path, content: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
