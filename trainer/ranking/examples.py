"""Examples for the ranker: candidates of tasks, and which of them are hidden items."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.engine import INPUTS, Pool, Recommender
from trainer.config import TrainingConfig
from trainer.dataset import Dataset
from trainer.dataset.dataset import Bools
from trainer.evaluation.answers import BATCH, seed_playlists
from trainer.evaluation.tasks import Task, hide, listener_tasks, random_tasks, remove_hidden
from trainer.fitting.fit import fit_and_write
from trainer.progress import progress, say
from trainer.timing import Stopwatch

Floats = NDArray[np.float32]

# There are so many first stages, if the playlists that are asked are more than this share of the data; otherwise one.
FOLDS, FOLDED_SHARE = 4, 0.25

# A first stage that has seen all but this share of the data, or less, may be left for the version to start from.
START_SHARE = 0.05
NAME = "the-rankers-first-stage"

# Tasks that are made of each playlist.
TASKS = 2


@dataclass(frozen=True)
class Examples:
    """
    Candidates of tasks, end to end.

    Attributes:
        offsets: int64, shape (n_tasks + 1,). Task i has the candidates from `offsets[i]` up to `offsets[i + 1]`.
        inputs: float32, shape (n, n_inputs).
        solve: float32, shape (n,). Their scores by the first stage.
        hits: bool, shape (n,). Whether each is a hidden item of its task.
        tasks: int64, shape (n_tasks,). The number of the playlist of each task.
    """

    offsets: NDArray[np.int64]
    inputs: Floats
    solve: Floats
    hits: Bools
    tasks: NDArray[np.int64]

    @classmethod
    def of(cls, tasks: Iterable[tuple[Task, Pool, Bools]]) -> Self:
        """Put *tasks* with their candidates and hits end to end."""
        found = list(tasks)
        lengths = [len(hits) for _, _, hits in found]
        return cls(
            np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
            np.concatenate([np.empty((0, len(INPUTS)), np.float32), *(pool.inputs for _, pool, _ in found)]),
            np.concatenate([np.empty(0, np.float32), *(pool.solve for _, pool, _ in found)]),
            np.concatenate([np.empty(0, bool), *(hits for _, _, hits in found)]),
            np.array([task.index for task, _, _ in found], np.int64),
        )

    def __len__(self) -> int:
        return len(self.tasks)


def gather(
    dataset: Dataset, config: TrainingConfig, first_stage: Path | None = None
) -> Iterator[tuple[Task, Pool, Bools]]:
    """
    Yield tasks of random playlists with their candidates and hits.

    No first stage has seen what it is asked for: it would remember it, and the ranker would learn to trust it too
    much. Where the playlists are a large part of the data, each of a few first stages learns from all but a part of
    them (cross-fitting); otherwise, one learns from all others. Of listeners, a part of the items is hidden instead:
    other ones for each first stage, so that few listeners make many tasks.

    Args:
        dataset: the playlists.
        config: the numbers of the first stages, and how many playlists are asked.
        first_stage: an empty directory, where a first stage that has seen nearly all data is left; None for none.
    """
    taught = np.random.default_rng(config.seed).permutation(len(dataset))[: config.ranker_playlists]
    n_folds = FOLDS if len(taught) > FOLDED_SHARE * len(dataset) else 1
    left = first_stage if len(taught) <= START_SHARE * len(dataset) else None
    for number, (learned, tasks) in enumerate(_folds(dataset, taught.tolist(), n_folds, config.seed), 1):
        if len(learned) and tasks:
            yield from _ask(learned, tasks, config, f"{number}/{n_folds}", left)


def _folds(dataset: Dataset, asked: Sequence[int], n_folds: int, seed: int) -> Iterator[tuple[Dataset, list[Task]]]:
    """Yield the data that each first stage learns from, and the tasks that it has not seen, of those *asked*."""
    for number, fold in enumerate(np.array_split(asked, n_folds)):
        if dataset.listening:
            hidden = hide(dataset, asked, seed + number)
            yield remove_hidden(dataset, hidden), listener_tasks(dataset, asked, hidden)
        else:
            others = np.ones(len(dataset), bool)
            others[fold] = False
            yield dataset.select(others), random_tasks(dataset, fold.tolist(), TASKS, seed)


def _ask(
    learned: Dataset, tasks: Sequence[Task], config: TrainingConfig, name: str, left: Path | None
) -> Iterator[tuple[Task, Pool, Bools]]:
    """Fit a first stage on *learned*, which is *left* there, and yield those of *tasks* of which it knows something."""
    say(f"ranker, first stage {name}")
    with tempfile.TemporaryDirectory(prefix="segue-ranker-") as temporary:
        directory = left or Path(temporary)
        fit_and_write(learned, directory, NAME, config.without_indexes(), {}, None, Stopwatch(), keep=True)
        with closing(Recommender.open(directory)) as recommender, progress(len(tasks), "candidates") as bar:
            for start in range(0, len(tasks), BATCH):
                batch = tasks[start : start + BATCH]
                yield from _pools(recommender, batch)
                bar.update(len(batch))


def _pools(recommender: Recommender, tasks: Sequence[Task]) -> Iterator[tuple[Task, Pool, Bools]]:
    catalogue = recommender.artifacts.catalogue
    for task, pool in zip(tasks, recommender.pools(seed_playlists(recommender, tasks)), strict=True):
        if pool is not None and len(pool.rows):
            yield task, pool, np.isin(pool.rows, catalogue.rows_of_ids(task.kind, task.hidden))
