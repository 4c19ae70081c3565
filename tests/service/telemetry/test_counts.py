"""Counts: in a file with room, and without harm where there is none."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from service.telemetry.counts import FIRST_BYTES, Counts, log_loss


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def saved(path: Path) -> dict[str, float]:
    return {key: value for key, value, *_ in MmapedDict.read_all_values_from_file(str(path))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counter_1.db"


def test_counts_are_in_the_file_that_the_library_reads(path: Path):
    counts = Counts(str(path))
    counts.write_value("one", 1.0, 0.0)
    for number in range(4000):
        counts.write_value(f"more {number}", float(number), 0.0)

    assert saved(path) == {"one": 1.0} | {f"more {number}": float(number) for number in range(4000)}
    assert counts.read_value("more 7") == (7.0, 0.0)
    counts.close()


def test_the_room_of_the_file_is_allocated_before_it_is_mapped(path: Path):
    counts = Counts(str(path))

    assert path.stat().st_blocks * 512 >= FIRST_BYTES
    for number in range(4000):
        counts.read_value(f"more {number}")
    assert path.stat().st_blocks * 512 >= path.stat().st_size > FIRST_BYTES
    counts.close()


def test_without_room_nothing_is_counted_and_no_empty_file_is_left(path: Path, caplog: pytest.LogCaptureFixture):
    with files_of_at_most(FIRST_BYTES - 1):
        counts = Counts(str(path))
    counts.write_value("one", 1.0, 0.0)

    assert counts.read_value("one") == (0.0, 0.0)
    assert not path.exists()
    counts.close()


def test_counts_freeze_when_the_room_ends(path: Path):
    counts = Counts(str(path))
    counts.write_value("one", 1.0, 0.0)
    with files_of_at_most(FIRST_BYTES):
        for number in range(4000):
            counts.write_value(f"more {number}", 1.0, 0.0)
    counts.write_value("one", 2.0, 0.0)

    assert saved(path)["one"] == 1.0
    assert 1000 < len(saved(path)) < 4000


def test_a_loss_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for _ in range(3):
        Counts(str(tmp_path / "gone" / "counter_1.db"))
        log_loss()

    assert sum("metrics of this process are lost" in line for line in caplog.messages) <= 1
