"""Answers to tasks: the interface of every recommender under evaluation, and Segue behind it."""

from collections.abc import Sequence
from typing import Protocol

from service.engine import Options, Playlist, Plays, Recommender
from trainer.evaluation.tasks import Task
from trainer.progress import progress
from trainer.sources import SourceTrack

ANSWER_ITEMS = 500

# The name of Segue without its ranker, beside Segue itself.
FIRST_STAGE = "first stage"
BATCH = 64


class Continuer(Protocol):
    """A recommender that answers tasks with ids of tracks or artists."""

    def recommend(self, tasks: Sequence[Task], k: int) -> list[list[str]]:
        """Return *k* ids for each of *tasks*, best first, without its seeds."""
        ...


class Segue:
    """A recommender of the engine that answers tasks, with its ranker or without."""

    def __init__(self, recommender: Recommender, rank: bool = True):
        self._recommender, self._rank = recommender, rank

    def recommend(self, tasks: Sequence[Task], k: int) -> list[list[str]]:
        asked = seed_playlists(self._recommender, tasks)
        answers = self._recommender.recommend(asked, Options(k, tasks[0].kind, self._rank))
        return [answer.found.ids for answer in answers]


def ask(continuer: Continuer, tasks: Sequence[Task], name: str, k: int = ANSWER_ITEMS) -> list[list[str]]:
    """Return *k* ids from *continuer* for each of *tasks*, and show progress under *name*."""
    answers: list[list[str]] = []
    with progress(len(tasks), name) as bar:
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            answers += continuer.recommend(batch, k)
            bar.update(len(batch))
    return answers


def seed_playlists(recommender: Recommender, tasks: Sequence[Task]) -> list[Playlist]:
    """
    Convert *tasks* into playlists for *recommender*.

    A seed that the catalogue does not know may have an artist that it does know. Such artists are added, by id if the
    id is known and by name otherwise. Listeners keep the plays of each artist.
    """
    if tasks and tasks[0].kind == "artists":
        return [Playlist(artists=_plays(task)) for task in tasks]
    asked = [Playlist(tracks=[seed.id for seed in task.seeds], title=task.title) for task in tasks]
    unknown = [set(found.tracks) for found in recommender.unknown(asked)]
    tracks = ([seed for seed in task.seeds if isinstance(seed, SourceTrack)] for task in tasks)
    strangers = [[seed for seed in seeds if seed.id in ids] for seeds, ids in zip(tracks, unknown, strict=True)]
    by_id = [Playlist(artists=[seed.artist_id for seed in seeds if seed.artist_id]) for seeds in strangers]
    unknown_artists = [set(found.artists) for found in recommender.unknown(by_id)]
    return [
        Playlist(playlist.tracks, _artists(seeds, ids), playlist.title)
        for playlist, seeds, ids in zip(asked, strangers, unknown_artists, strict=True)
    ]


def _plays(task: Task) -> list[str | Plays]:
    if not task.counts:
        return [seed.id for seed in task.seeds]
    return [Plays(seed.id, count) for seed, count in zip(task.seeds, task.counts, strict=True)]


def _artists(seeds: Sequence[SourceTrack], unknown_ids: set[str]) -> list[str]:
    named = (
        seed.artist_id if seed.artist_id and seed.artist_id not in unknown_ids else seed.artist_name for seed in seeds
    )
    return list(dict.fromkeys(name for name in named if name))
