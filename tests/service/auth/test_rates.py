"""Rate limits: the arithmetic of one bucket, and the file of buckets that processes share."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.keys import Key
from service.auth.rates import FILE_BYTES, SLOTS, RateLimits, count

ROOT = Path(__file__).parents[3]
CREATED = datetime(2026, 1, 31, tzinfo=UTC)


def key(name: str = "web", rate: float | None = 10, burst: int | None = 5) -> Key:
    return Key(name=name, digest="0" * 64, rate=rate, burst=burst, created_at=CREATED)


@pytest.fixture
def limits(tmp_path: Path) -> Iterator[RateLimits]:
    opened = RateLimits(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def other_worker(tmp_path: Path, limits: RateLimits) -> Iterator[RateLimits]:
    """The limits as another worker opens them."""
    opened = RateLimits(tmp_path)
    yield opened
    opened.close()


def allowed(limits: RateLimits, key: Key, now: float, tries: int = 100) -> int:
    return sum(limits.take(key, now) == 0 for _ in range(tries))


# One bucket


@pytest.mark.parametrize("now", [0.0, 1e6])
def test_a_rested_key_may_send_its_burst_at_once(now: float, limits: RateLimits):
    assert allowed(limits, key(), now) == 5


def test_after_its_burst_a_key_may_send_at_its_rate(limits: RateLimits):
    allowed(limits, key(), 100.0)

    assert [allowed(limits, key(), 100 + tenth / 10) for tenth in range(1, 6)] == [1] * 5
    assert allowed(limits, key(), 100.8) == 3


def test_a_long_rest_allows_only_the_burst(limits: RateLimits):
    allowed(limits, key(), 100.0)

    assert allowed(limits, key(), 1e7) == 5


def test_a_refusal_gives_the_time_until_the_next_request(limits: RateLimits):
    allowed(limits, key(), 100.0)

    assert limits.take(key(), 100.04) == pytest.approx(0.06)
    assert limits.take(key(), 100.099) > 0
    assert limits.take(key(), 100.1) == 0


def test_a_refused_request_does_not_count(limits: RateLimits):
    allowed(limits, key(), 100.0, tries=10_000)

    assert limits.take(key(), 100.1) == 0


def test_a_key_without_a_rate_is_never_refused(limits: RateLimits):
    assert allowed(limits, key(rate=None, burst=None), 100.0, tries=10_000) == 10_000


def test_a_key_with_a_raised_rate_need_not_wait_for_the_old_one(limits: RateLimits):
    allowed(limits, key(rate=0.001, burst=1000), 100.0, 1000)

    assert limits.take(key(), 100.0) == pytest.approx(0.1)


def test_a_reset_clock_locks_no_key_out(limits: RateLimits):
    allowed(limits, key(), 1e9)

    assert limits.take(key(), 5.0) == pytest.approx(0.1)


def test_the_slowest_rate_and_the_largest_burst_fit_the_file(limits: RateLimits):
    assert allowed(limits, key(rate=0.001, burst=1_000_000), 1e9, 100) == 100


def test_the_default_time_is_that_of_the_monotonic_clock(limits: RateLimits, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.monotonic_ns", lambda: 7_000_000_000)

    assert [limits.take(key()) for _ in range(5)] == [0] * 5
    assert limits.take(key(), 7.0) == limits.take(key()) == pytest.approx(0.1)


@given(st.integers(1, 1000), st.integers(1, 20), st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_no_span_of_time_allows_more_than_the_burst_and_the_rate(step: int, burst: int, pauses: list[int]):
    now, full_at, moments = 10_000, 0, []
    for pause in pauses:
        now += pause
        full_at, wait = count(full_at, now, step, burst)
        if wait == 0:
            moments.append(now)
        else:
            assert count(full_at, now + wait, step, burst)[1] == 0
            assert count(full_at, now + wait - 1, step, burst)[1] == 1

    for first in range(len(moments)):
        for last in range(first, len(moments)):
            assert last - first + 1 <= burst + (moments[last] - moments[first]) / step


# The shared file


def test_workers_share_the_count_of_a_key(limits: RateLimits, other_worker: RateLimits):
    assert allowed(limits, key(), 100.0, 3) == 3
    assert allowed(other_worker, key(), 100.0) == 2


def test_counts_outlive_the_worker(tmp_path: Path, limits: RateLimits):
    worker = RateLimits(tmp_path)
    allowed(worker, key(), 100.0)
    worker.close()

    assert limits.take(key(), 100.0) > 0


def test_each_key_has_a_bucket_of_its_own(limits: RateLimits, other_worker: RateLimits):
    """Among so many names, about a hundred pairs hash to the same slot."""
    keys = [key(f"key{number}") for number in range(2000)]

    assert {allowed(limits, each, 100.0, 6) for each in keys} == {5}
    assert {allowed(other_worker, each, 100.0, 1) for each in reversed(keys)} == {0}


def test_keys_beyond_the_number_of_slots_share_buckets(limits: RateLimits):
    template, n_keys = key(burst=1), SLOTS + 10
    keys = (template.model_copy(update={"name": f"key{number}"}) for number in range(n_keys))

    assert sum(allowed(limits, each, 100.0, 1) for each in keys) == SLOTS


def test_only_its_owner_can_use_the_file_and_its_space_is_allocated(limits: RateLimits, tmp_path: Path):
    stat = (tmp_path / "rates").stat()

    assert stat.st_mode & 0o777 == 0o600
    assert stat.st_blocks * 512 >= stat.st_size == FILE_BYTES


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "rates").symlink_to(tmp_path / "elsewhere")

    RateLimits(tmp_path).close()
    assert (tmp_path / "elsewhere").stat().st_size == 0


def test_without_a_shared_file_a_worker_counts_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A directory that is full, gone or read-only must not end the service."""
    limits = RateLimits(tmp_path / "gone")

    assert allowed(limits, key(), 1e6) == 5
    assert "each worker counts the rates of keys by itself" in caplog.text
    assert "No such file or directory" in caplog.text
    limits.close()


# Prints how many of 3000 requests are allowed.
WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from service.auth.keys import Key
from service.auth.rates import RateLimits

limits = RateLimits(Path(sys.argv[1]))
key = Key(name="web", digest="0" * 64, rate=10.0, burst=3000, created_at=datetime.now(UTC))
print("ready", flush=True)
sys.stdin.read(1)
print(sum(limits.take(key, 100.0) == 0 for _ in range(3000)))
"""


def test_simultaneous_workers_allow_exactly_the_burst(tmp_path: Path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 4
    for worker in workers:
        worker.stdin.write("go")
        worker.stdin.flush()

    assert sum(int(worker.communicate()[0]) for worker in workers) == 3000


HOLDER = """
import fcntl, signal, sys
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""


def test_a_worker_killed_with_the_lock_blocks_no_other(limits: RateLimits, tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "rates"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    assert limits.take(key(), 100.0) == 0
