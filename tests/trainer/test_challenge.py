"""The ten categories, and the challenge's files."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from service.engine import Recommender
from trainer.challenge import (
    CATEGORIES,
    Task,
    assign,
    make_tasks,
    playlists,
    read_challenge,
    write_challenge,
)
from trainer.dataset import Dataset
from trainer.errors import BadInput
from trainer.intake import read_dataset
from trainer.sources import Playlist, Track, read

DAMAGED_GZIP = gzip.compress(b'{"playlists": []}', mtime=0)[:10] + b"\xff" * 9


def a_dataset(*lengths: int, title: str = "t") -> Dataset:
    return read_dataset(
        Playlist(str(i), title, [Track(f"{i}:{n}", f"{n}", f"a{n}", f"A{n}") for n in range(length)])
        for i, length in enumerate(lengths)
    )


@pytest.fixture(scope="module")
def tasks_and_dataset(world: Path) -> tuple[list[Task], Dataset]:
    dataset = read_dataset(read([world]))
    return make_tasks(dataset, assign(dataset, range(len(dataset)), 20), seed=1), dataset


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

    chosen = assign(dataset, range(len(dataset)), 2)

    assert sorted(chosen.values()) == sorted(list(range(10)) * 2)
    assert {index for index, category in chosen.items() if CATEGORIES[category].seeds == 100} == {0, 1, 2, 3}


def test_a_category_that_shows_the_title_gets_no_playlist_without_one():
    chosen = assign(a_dataset(*[30] * 40, title=""), range(40), 5)

    assert {CATEGORIES[category].name for category in chosen.values()} == {"5", "10"}


def test_a_task_shows_seeds_and_hides_the_rest(tasks_and_dataset):
    tasks, dataset = tasks_and_dataset
    places = {id_: index for index, id_ in enumerate(dataset.playlist_ids)}

    for task in tasks:
        category, index = CATEGORIES[task.category], places[str(task.pid)]
        tracks = [dataset.vocabulary.track_ids[row] for row in dataset.tracks[index]]
        seeds = [seed.id for seed in task.seeds]
        assert len(seeds) == category.seeds
        assert task.held_out
        assert sorted([*seeds, *task.held_out]) == sorted(tracks)
        assert task.title == (dataset.titles[index] if category.titled else "")
        if not category.random:
            assert seeds == tracks[: category.seeds]


def test_seeds_shown_at_random_are_the_same_for_the_same_seed(world: Path):
    dataset = a_dataset(*[150] * 20)
    chosen = assign(dataset, range(20), 2)

    assert make_tasks(dataset, chosen, 1) == make_tasks(dataset, chosen, 1)
    assert make_tasks(dataset, chosen, 1) != make_tasks(dataset, chosen, 2)


def test_artists_of_unknown_seeds_are_asked_for_by_id_where_known_and_else_by_name(recommender: Recommender):
    known = recommender.popular(1)[0]
    assert known.artist is not None
    seeds = [
        Track(known.id, known.name, known.artist.id, known.artist.name),
        Track("new 1", "x", known.artist.id, "Whatever"),
        Track("new 2", "x", "spotify:artist:unknown", "By Name"),
        Track("new 3", "x", "", "By Name"),
        Track("new 4", "", "", ""),
    ]

    (asked,) = playlists(recommender, [Task(0, -1, "title", seeds)])

    assert asked.tracks == [known.id, "new 1", "new 2", "new 3", "new 4"]
    assert asked.artists == [known.artist.id, "By Name"]
    assert asked.title == "title"


def test_the_challenge_files_say_what_was_shown_hidden_and_answered(tasks_and_dataset, tmp_path: Path):
    tasks, dataset = tasks_and_dataset
    write_challenge(tmp_path / "out", dataset, tasks, [["x", "y"]] * len(tasks))

    shown = json.loads((tmp_path / "out" / "challenge_set.json").read_text())["playlists"]
    answers = json.loads((tmp_path / "out" / "answers.json").read_text())
    rows = list(csv.reader((tmp_path / "out" / "submission.csv").read_text().splitlines()))

    assert [playlist["pid"] for playlist in shown] == [answer["pid"] for answer in answers["answers"]]
    assert all("name" not in p for p, t in zip(shown, tasks, strict=True) if not CATEGORIES[t.category].titled)
    assert set(answers["artist"]) == set(dataset.vocabulary.track_ids)
    assert rows[0][0] == "team_info"
    assert rows[1] == [str(tasks[0].pid), "x", "y"]
    assert len(rows) == len(tasks) + 1


def test_a_challenge_set_that_was_written_is_read_again(tasks_and_dataset, tmp_path: Path):
    tasks, dataset = tasks_and_dataset
    write_challenge(tmp_path, dataset, tasks, [[]] * len(tasks))
    path = tmp_path / "challenge_set.json"
    (tmp_path / "set.json.gz").write_bytes(gzip.compress(path.read_bytes()))

    for found in (read_challenge(path), read_challenge(tmp_path / "set.json.gz")):
        assert [(task.pid, task.title, list(task.seeds)) for task in found] == [
            (task.pid, task.title, list(task.seeds)) for task in tasks
        ]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"playlists": [{"pid": 1}]}', b"\x1f\x8b\x08", DAMAGED_GZIP, b"\xff"]
)
def test_a_file_that_is_no_challenge_set_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "set.json").write_bytes(content)

    with pytest.raises(BadInput, match=r"set\.json"):
        read_challenge(tmp_path / "set.json")


def test_a_challenge_set_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_challenge(tmp_path / "none.json")


def test_playlists_whose_ids_are_no_numbers_are_numbered_by_place():
    dataset = read_dataset(Playlist(f"user-{i}", "t", [Track(str(n), "", "", "") for n in range(3)]) for i in range(5))
    chosen = assign(dataset, range(5), 1)

    assert sorted(task.pid for task in make_tasks(dataset, chosen, 0)) == sorted(chosen)
