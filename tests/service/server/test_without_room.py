"""A service whose counters have no room, in memory or anywhere: metrics are lost, answers are not."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.service.server.processes import Running, running, until


def may_mount() -> bool:
    try:
        command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /dev/shm"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_mounts = pytest.mark.skipif(not may_mount(), reason="no namespaces of mounts here")


def answers(service: Running) -> None:
    """Send requests to both workers, each of which counts, and check that none is lost."""
    for path in ("/search?q=love", "/model", "/health/ready", "/search?q=you", "/metrics") * 8:
        assert service.get(path)[0] == 200, service.lines


def kill_a_worker(service: Running) -> None:
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    before = service.logged("serving version")
    os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
    until(lambda: service.logged("serving version") > before)


@needs_mounts
def test_another_directory_is_used_if_memory_has_no_room(store: Path, keys: Path):
    with running(store, 2, "mount -t tmpfs -o size=64k tmpfs /dev/shm", keys=keys) as service:
        answers(service)

        until(lambda: len(service.workers()) == 2)
        assert service.logged("/dev/shm has room for") == 1
        assert service.logged("died") == 0


@needs_mounts
@pytest.mark.parametrize("size", ["4k", "400k"])
def test_no_answer_is_lost_if_no_directory_has_room(size: str, store: Path, keys: Path, tmp_path: Path):
    mount = " && ".join(f"mount -t tmpfs -o size={size} tmpfs {place}" for place in ("/dev/shm", tmp_path))
    with running(store, 2, f"{mount} && export TMPDIR={tmp_path}", keys=keys) as service:
        answers(service)
        kill_a_worker(service)
        answers(service)

        until(lambda: service.logged("metrics of this process are lost"))
        assert service.logged("No space left on device; make room there")
        assert service.logged("died") == service.logged("died (-9)") == 1


@needs_mounts
def test_no_answer_is_lost_if_the_directory_is_filled_and_then_removed_meanwhile(store: Path, keys: Path):
    with running(store, 2, "mount -t tmpfs -o size=4m tmpfs /dev/shm", keys=keys) as service:
        answers(service)
        memory = Path(f"/proc/{service.process.pid}/root/dev/shm")
        for spoil, lost, reason in (
            (fill, "metrics show an old status", "No space left on device"),
            (remove_runtime, "metrics of this process are lost", "No such file or directory"),
        ):
            spoil(memory)
            answers(service)
            kill_a_worker(service)
            answers(service)
            until(lambda lost=lost, reason=reason: any(lost in line and reason in line for line in service.lines))

        assert service.logged("died") == service.logged("died (-9)") == 2


def fill(memory: Path) -> None:
    with suppress(OSError), (memory / "fill").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def remove_runtime(memory: Path) -> None:
    (memory / "fill").unlink()
    shutil.rmtree(next(memory.glob("segue-*")).rename(memory / "removed"))  # at one stroke


@needs_mounts
def test_counts_that_outgrow_the_room_are_lost_and_the_process_goes_on(tmp_path: Path):
    program = (
        "from service.telemetry.counts import Counts; counts = Counts('counts.db'); "
        "[counts.write_value(f'{n:0500}', 1.0, 0.0) for n in range(1000)]; print('alive')"
    )
    mount = f'mount -t tmpfs -o size=100k tmpfs {tmp_path} && cd {tmp_path} && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}

    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout == "alive\n"
