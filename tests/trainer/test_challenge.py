"""The files of the challenge."""

import csv
import gzip
import json
from pathlib import Path
from typing import TypeAlias

import pytest

from trainer.challenge import read_challenge, write_challenge
from trainer.dataset import Dataset, build_dataset
from trainer.errors import BadInput
from trainer.evaluation.tasks import CATEGORIES, Task, assign_categories, playlist_tasks
from trainer.sources import SourcePlaylist, SourceTrack, read

DAMAGED_GZIP = gzip.compress(b'{"playlists": []}', mtime=0)[:10] + b"\xff" * 9

Written: TypeAlias = tuple[Path, list[Task], Dataset]


@pytest.fixture(scope="module")
def written(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The files of a challenge in a directory, with their tasks and dataset."""
    directory, dataset = tmp_path_factory.mktemp("challenge"), build_dataset(read([small_world]))
    tasks = playlist_tasks(dataset, assign_categories(dataset, range(len(dataset)), 20), seed=1)
    write_challenge(directory, dataset, tasks, [["x", "y"]] * len(tasks))
    return directory, tasks, dataset


def test_the_files_tell_what_was_shown_hidden_and_answered(written: Written):
    directory, tasks, dataset = written
    shown = json.loads((directory / "challenge_set.json").read_text())["playlists"]
    answers = json.loads((directory / "answers.json").read_text())
    rows = list(csv.reader((directory / "submission.csv").read_text().splitlines()))

    assert [playlist["pid"] for playlist in shown] == [answer["pid"] for answer in answers["answers"]]
    assert [answer["holdouts"] for answer in answers["answers"]] == [task.hidden for task in tasks]
    assert all("name" not in p for p, t in zip(shown, tasks, strict=True) if not CATEGORIES[t.category].titled)
    assert set(answers["artist"]) == set(dataset.vocabulary.track_ids)
    assert rows[0][0] == "team_info"
    assert rows[1] == [dataset.playlist_ids[tasks[0].index], "x", "y"]
    assert len(rows) == len(tasks) + 1


def test_a_challenge_set_that_was_written_is_read_again(written: Written, tmp_path: Path):
    directory, tasks, dataset = written
    path = directory / "challenge_set.json"
    (tmp_path / "set.json.gz").write_bytes(gzip.compress(path.read_bytes()))

    for pids, found in (read_challenge(path), read_challenge(tmp_path / "set.json.gz")):
        assert [str(pid) for pid in pids] == [dataset.playlist_ids[task.index] for task in tasks]
        assert [(task.title, list(task.seeds)) for task in found] == [(task.title, list(task.seeds)) for task in tasks]
        assert [task.index for task in found] == list(range(len(tasks)))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"playlists": [{"pid": 1}]}', b"\x1f\x8b\x08", DAMAGED_GZIP, b"\xff"]
)
def test_a_file_that_is_no_challenge_set_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "set.json").write_bytes(content)

    with pytest.raises(BadInput, match=r"set\.json"):
        read_challenge(tmp_path / "set.json")


def test_a_challenge_set_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="No such file"):
        read_challenge(tmp_path / "none.json")


def test_playlists_whose_ids_are_no_numbers_are_numbered_by_position(tmp_path: Path):
    dataset = build_dataset(SourcePlaylist(f"user-{i}", "t", [SourceTrack("x", "", "", "")]) for i in range(5))

    write_challenge(tmp_path, dataset, [Task(3, 0, "t", [], ["x"])], [["x"]])
    assert read_challenge(tmp_path / "challenge_set.json")[0] == [3]
