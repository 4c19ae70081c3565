"""The split into playlists to learn from and playlists to ask for."""

import numpy as np
import pytest

from trainer.dataset import Dataset, build_dataset, playlist_hash
from trainer.dataset.dataset import Hashes
from trainer.errors import NothingToLearn
from trainer.evaluation.split import choose_by_hash, hold_out, split, tasks_of
from trainer.sources import SourcePlaylist, SourceTrack


def hashes(count: int) -> Hashes:
    return np.array([playlist_hash(str(i)) for i in range(count)], np.uint64)


def a_dataset(count: int) -> Dataset:
    return build_dataset(
        SourcePlaylist(str(i), "t", [SourceTrack(f"{i % 7}:{n}", "", "", "") for n in range(8)]) for i in range(count)
    )


def test_the_same_playlists_are_chosen_when_others_are_added():
    few, many = (choose_by_hash(hashes(count), 0.02, 100, 0.1) for count in (10_000, 20_000))

    assert (few == many[:10_000]).all()
    assert 0.015 < many.mean() < 0.025


def test_a_share_that_gives_too_few_grows_up_to_a_limit():
    assert choose_by_hash(hashes(2000), 0.02, 100, 0.1).sum() == 100
    assert 10 < choose_by_hash(hashes(300), 0.02, 100, 0.1).sum() < 60
    assert choose_by_hash(hashes(1), 0.02, 100, 0.1).sum() in (0, 1)


def test_data_that_are_all_held_out_are_refused():
    lowest = min(range(999), key=lambda i: playlist_hash(str(i)))

    with pytest.raises(NothingToLearn, match="--no-holdout"):
        hold_out(build_dataset([SourcePlaylist(str(lowest), "", [SourceTrack("x", "", "", "")])]))


def test_tasks_are_of_the_chosen_playlists_alone():
    dataset = a_dataset(300)
    chosen = hold_out(dataset)

    tasks = tasks_of(dataset, chosen, seed=1)
    assert tasks
    assert all(chosen[task.index] for task in tasks)


def test_playlists_that_are_asked_for_are_not_learned_from():
    dataset = a_dataset(300)

    learned, tasks = split(dataset, seed=1)
    asked = {dataset.playlist_ids[task.index] for task in tasks}
    assert len(learned) + len(asked) == 300
    assert not asked & set(learned.playlist_ids)


def test_too_few_playlists_to_split_are_refused():
    with pytest.raises(NothingToLearn, match="too few"):
        split(a_dataset(1), seed=1)
