"""The status directory: one file a worker, read by all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.telemetry.status import StatusDirectory, WorkerStatus

ROOT = Path(__file__).parents[3]
READY = WorkerStatus("ready", "v1", None, "2026-01-31T12:00:00Z", 5.0)


@pytest.fixture
def statuses(tmp_path: Path) -> StatusDirectory:
    return StatusDirectory(tmp_path / "run" / "workers")


def test_the_written_status_can_be_read(tmp_path: Path, statuses: StatusDirectory):
    statuses.write(WorkerStatus("unready", reason="the model is being opened"))
    statuses.write(READY)

    assert StatusDirectory(tmp_path / "run" / "workers").read() == {os.getpid(): READY}


def test_each_worker_has_a_status_of_its_own(tmp_path: Path, statuses: StatusDirectory):
    code = (
        "import os, sys; from pathlib import Path; from service.telemetry.status import StatusDirectory, WorkerStatus; "
    )
    code += "StatusDirectory(Path(sys.argv[1])).write(WorkerStatus('stopping', 'v2')); print(os.getpid())"
    command = [sys.executable, "-c", code, tmp_path / "run" / "workers"]
    pid = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    statuses.write(READY)

    assert statuses.read() == {os.getpid(): READY, pid: WorkerStatus("stopping", "v2")}


def test_a_worker_that_leaves_during_reading_is_left_out(tmp_path: Path, statuses: StatusDirectory):
    statuses.write(READY)
    (tmp_path / "run" / "workers" / "1.json").symlink_to("gone")  # listed, but not there any more

    assert statuses.read() == {os.getpid(): READY}


def test_the_last_served_version_is_kept(statuses: StatusDirectory):
    assert statuses.last_served() is None
    for version in ("v1", "v2"):
        statuses.write_served(version)

    assert statuses.last_served() == "v2"
    assert statuses.read() == {}


def test_a_removed_worker_has_no_status(statuses: StatusDirectory):
    statuses.write(READY)
    for _ in range(2):  # again: it does not matter
        statuses.remove(os.getpid())

    assert statuses.read() == {}


def test_readers_find_a_whole_status_at_any_time(tmp_path: Path, statuses: StatusDirectory):
    """A status is replaced, not rewritten: an open file keeps the old one."""
    statuses.write(READY)
    with (tmp_path / "run" / "workers" / f"{os.getpid()}.json").open() as opened:
        statuses.write(WorkerStatus("stopping"))
        assert '"ready"' in opened.read()
    assert [path.suffix for path in (tmp_path / "run" / "workers").iterdir()] == [".json"]
