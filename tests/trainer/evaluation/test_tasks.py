"""The ten categories of playlists, and the hidden items of listeners."""

from pathlib import Path

import numpy as np
import pytest

from trainer.dataset import Dataset, build_dataset
from trainer.evaluation.tasks import (
    CATEGORIES,
    assign_categories,
    hide,
    listener_tasks,
    playlist_tasks,
    remove_hidden,
)
from trainer.sources import Interactions, SourceArtist, SourcePlaylist, SourceTrack, read


def a_dataset(*lengths: int, title: str = "t") -> Dataset:
    return build_dataset(
        SourcePlaylist(str(i), title, [SourceTrack(f"{i}:{n}", f"{n}", f"a{n}", f"A{n}") for n in range(length)])
        for i, length in enumerate(lengths)
    )


def test_the_categories_are_those_of_the_challenge():
    assert [(c.name, c.seeds, c.titled, c.random) for c in CATEGORIES] == [
        ("title", 0, True, False),
        ("title+1", 1, True, False),
        ("title+5", 5, True, False),
        ("5", 5, False, False),
        ("title+10", 10, True, False),
        ("10", 10, False, False),
        ("title+25", 25, True, False),
        ("title+25r", 25, True, True),
        ("title+100", 100, True, False),
        ("title+100r", 100, True, True),
    ]


def test_categories_that_show_the_most_choose_first_and_all_get_their_share():
    dataset = a_dataset(*[101] * 4, *[26] * 4, *[11] * 4, *[6] * 4, 2, 2, 1, 1)

    chosen = assign_categories(dataset, range(len(dataset)), 2)

    assert sorted(chosen.values()) == sorted(list(range(10)) * 2)
    assert {index for index, category in chosen.items() if CATEGORIES[category].seeds == 100} == {0, 1, 2, 3}


def test_a_category_that_shows_the_title_gets_no_playlist_without_one():
    chosen = assign_categories(a_dataset(*[30] * 40, title=""), range(40), 5)

    assert {CATEGORIES[category].name for category in chosen.values()} == {"5", "10"}


def test_a_task_shows_seeds_and_hides_the_rest(small_world: Path):
    dataset = build_dataset(read([small_world]))
    tasks = playlist_tasks(dataset, assign_categories(dataset, range(len(dataset)), 20), seed=1)

    for task in tasks:
        category, index = CATEGORIES[task.category], task.index
        tracks = [dataset.vocabulary.track_ids[row] for row in dataset.tracks[index]]
        seeds = [seed.id for seed in task.seeds]
        assert len(seeds) == category.seeds
        assert task.hidden
        assert sorted([*seeds, *task.hidden]) == sorted(tracks)
        assert task.title == (dataset.titles[index] if category.titled else "")
        if not category.random:
            assert seeds == tracks[: category.seeds]


def test_seeds_shown_at_random_are_the_same_for_the_same_seed():
    dataset = a_dataset(*[150] * 20)
    chosen = assign_categories(dataset, range(20), 2)

    assert playlist_tasks(dataset, chosen, 1) == playlist_tasks(dataset, chosen, 1)
    assert playlist_tasks(dataset, chosen, 1) != playlist_tasks(dataset, chosen, 2)


@pytest.fixture(scope="module")
def listeners() -> Dataset:
    """Thirty listeners of ten to thirty-nine artists each."""
    lengths = range(10, 40)
    rows = np.concatenate([np.arange(length) for length in lengths]).astype(np.int32)
    return build_dataset(
        [
            Interactions(
                playlist_ids=[f"u{length}" for length in lengths],
                titles=[""] * 30,
                tracks=[],
                artists=[SourceArtist(f"a{number}", "") for number in range(40)],
                owners=np.repeat(np.arange(30, dtype=np.int32), lengths),
                rows=rows,
                counts=rows + np.float32(1),
                positions=None,
                size=0,
            )
        ]
    )


def test_a_fifth_of_each_listener_is_hidden_and_the_rest_shown(listeners: Dataset):
    hidden = hide(listeners, range(20), seed=1)
    tasks = listener_tasks(listeners, range(20), hidden)

    assert len(tasks) == 20
    for task in tasks:
        shown, asked = [seed.id for seed in task.seeds], list(task.hidden)
        whole = [listeners.vocabulary.artist_ids[row] for row in listeners.artists[task.index]]
        assert sorted(shown + asked) == sorted(whole)
        assert len(asked) == round(0.2 * len(whole))
        assert len(task.counts) == len(shown)
    assert hidden[listeners.artists.offsets[20] :].sum() == 0


def test_what_is_hidden_depends_on_the_listener_and_not_on_its_place(listeners: Dataset):
    chosen = np.zeros(len(listeners), bool)
    chosen[5] = True
    alone = listeners.select(chosen)

    found = listener_tasks(listeners, [5], hide(listeners, [5], seed=1))[0]
    assert listener_tasks(alone, [0], hide(alone, [0], seed=1))[0].hidden == found.hidden


def test_what_is_hidden_is_not_learned_from(listeners: Dataset):
    hidden = hide(listeners, range(len(listeners)), seed=1)
    left = remove_hidden(listeners, hidden)

    assert len(left.artists.rows) == len(listeners.artists.rows) - hidden.sum()
    task = listener_tasks(listeners, [7], hidden)[0]
    kept = {left.vocabulary.artist_ids[row] for row in left.artists[7]}
    assert kept == {seed.id for seed in task.seeds}
