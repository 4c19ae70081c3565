"""Output that is made in parts, and appears whole or not at all."""

import operator
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from trainer.errors import BadInput
from trainer.output import each_in_turn, written_whole


@pytest.mark.parametrize("n", [0, 1, 20])
def test_parts_come_in_their_order(n: int):
    assert list(each_in_turn(str, range(n), n)) == [str(number) for number in range(n)]


one_over = partial(operator.truediv, 1)


@pytest.mark.parametrize("n", [2, 20])
def test_an_error_in_a_part_is_raised(n: int):
    with pytest.raises(ZeroDivisionError):
        list(each_in_turn(one_over, range(n), n))


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_output_that_fails_half_way_leaves_nothing(tmp_path: Path, kind: str):
    with pytest.raises(OSError, match="disk full"), written_whole(tmp_path / "w") as path:
        path.write_text("some") if kind == "file" else path.mkdir()
        raise OSError("disk full")

    assert not list(tmp_path.iterdir())


def test_processes_end_with_the_run_that_started_them(tmp_path: Path):
    run = subprocess.Popen(
        [sys.executable, "-m", "trainer", "synthesize", "--playlists", "1000000", str(tmp_path / "w")],
        stderr=subprocess.DEVNULL,
    )
    while not list(tmp_path.glob(".w.partial/*")):  # by then they work
        assert run.poll() is None
    children = [Path("/proc", pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    assert children or os.cpu_count() == 1

    run.kill()
    run.wait()

    for _ in range(3000):
        if not any(child.exists() for child in children):
            return
        time.sleep(0.01)
    raise AssertionError(f"{children} are still there")


def test_what_was_made_meanwhile_is_not_replaced(tmp_path: Path):
    out = tmp_path / "out"

    with pytest.raises(BadInput, match="it exists already"), written_whole(out) as partial:
        partial.write_text("ours")
        out.write_text("theirs")

    assert out.read_text() == "theirs"
    assert sorted(tmp_path.iterdir()) == [out]
