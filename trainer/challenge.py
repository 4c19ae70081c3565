"""The files of RecSys Challenge 2018: the challenge set, its answers, and submissions."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.dataset import Dataset
from trainer.errors import BadInput
from trainer.evaluation.tasks import UNKNOWN, Task
from trainer.sources import SourceTrack, mpd
from trainer.sources.account import Account, check, group


def write_challenge(directory: Path, dataset: Dataset, tasks: Sequence[Task], answers: Sequence[Sequence[str]]) -> None:
    """Write `challenge_set.json`, `answers.json` and `submission.csv` for *tasks* and their *answers*."""
    directory.mkdir(parents=True, exist_ok=True)
    numbers = _numbers(dataset.playlist_ids)
    pids = [numbers[task.index] for task in tasks]
    shown = [_challenge_playlist(pid, task) for pid, task in zip(pids, tasks, strict=True)]
    hidden = [
        {"pid": pid, "category": task.category, "holdouts": list(task.hidden)}
        for pid, task in zip(pids, tasks, strict=True)
    ]
    _write_json(directory / "challenge_set.json", {"playlists": shown})
    _write_json(directory / "answers.json", {"artist": dataset.vocabulary.artists_by_track(), "answers": hidden})
    write_submission(directory / "submission.csv", pids, answers)


def write_submission(
    path: Path, pids: Sequence[int], answers: Sequence[Sequence[str]], team: str = "Segue", email: str = ""
) -> None:
    """
    Write *answers* as a submission: a line on the team, then a row for each of *pids*.

    The text goes to a temporary file first, so that a submission is complete or not there.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["team_info", team, "main", email])
    writer.writerows([pid, *answer] for pid, answer in zip(pids, answers, strict=True))
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text.getvalue(), encoding="utf-8")
    partial.replace(path)


def read_challenge(path: Path) -> tuple[list[int], list[Task]]:
    """
    Read a published `challenge_set.json`, plain or packed.

    Returns:
        The number (pid) and the task of each playlist.

    Raises:
        BadInput: the file cannot be read, or is no challenge set.
    """
    account = Account("challenge set", unit="tracks")
    found = mpd.read_slice(path, account)
    check(str(path), group(str(path), [(str(path), account)]), 0)  # a submission answers all of them
    tasks = [Task(index, UNKNOWN, playlist.title, playlist.tracks) for index, playlist in enumerate(found)]
    try:
        return [int(playlist.id) for playlist in found], tasks
    except ValueError as error:
        raise BadInput(
            f"cannot read {path}: a pid of a challenge set is a number, and one is not ({error})."
        ) from error


def _numbers(playlist_ids: Sequence[str]) -> Sequence[int]:
    """Return the ids as numbers; the positions if the ids are not distinct numbers."""
    if len(set(playlist_ids)) == len(playlist_ids) and all(id_.isascii() and id_.isdigit() for id_ in playlist_ids):
        return [int(id_) for id_ in playlist_ids]
    return range(len(playlist_ids))


def _challenge_playlist(pid: int, task: Task) -> dict[str, Any]:
    tracks = [
        {
            "pos": position,
            "track_uri": seed.id,
            "track_name": seed.name,
            "artist_uri": seed.artist_id,
            "artist_name": seed.artist_name,
        }
        for position, seed in enumerate(task.seeds)
        if isinstance(seed, SourceTrack)
    ]
    titled = {"name": task.title} if task.title else {}
    counts = {"num_holdouts": len(task.hidden), "num_samples": len(tracks)}
    return {**titled, "pid": pid, **counts, "num_tracks": len(tracks) + len(task.hidden), "tracks": tracks}


def _write_json(path: Path, content: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
