"""Rate limits: the arithmetic of one bucket, and buckets that processes share."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import rates
from service.access import Key
from service.rates import RateLimits, count

ROOT = Path(__file__).parents[2]
MADE = datetime(2026, 1, 31, tzinfo=UTC)


def key(name: str = "web", rate: float | None = 10, burst: int = 5) -> Key:
    return Key(name, "0" * 64, frozenset({"use"}), rate, burst, MADE)


@pytest.fixture
def limits(tmp_path: Path) -> RateLimits:
    return RateLimits(tmp_path)


def allowed(limits: RateLimits, key: Key, now: float, tries: int = 100) -> int:
    return sum(limits.take(key, now) == 0 for _ in range(tries))


# One bucket


@pytest.mark.parametrize("now", [0.0, 1e6])
def test_a_rested_key_may_ask_its_burst_at_once(now: float, limits: RateLimits):
    assert allowed(limits, key(), now) == 5


def test_after_its_burst_a_key_may_ask_at_its_rate(limits: RateLimits):
    allowed(limits, key(), 100.0)

    assert [allowed(limits, key(), 100 + tenth / 10) for tenth in range(1, 6)] == [1] * 5
    assert allowed(limits, key(), 100.8) == 3


def test_a_long_rest_gives_no_more_than_the_burst(limits: RateLimits):
    allowed(limits, key(), 100.0)

    assert allowed(limits, key(), 1e7) == 5


def test_a_refusal_says_when_it_would_be_allowed_and_then_it_is(limits: RateLimits):
    allowed(limits, key(), 100.0)

    assert limits.take(key(), 100.04) == pytest.approx(0.06)
    assert limits.take(key(), 100.099) > 0
    assert limits.take(key(), 100.1) == 0


def test_a_refusal_does_not_count(limits: RateLimits):
    allowed(limits, key(), 100.0, tries=10_000)

    assert limits.take(key(), 100.1) == 0


def test_a_key_without_a_rate_is_never_refused(limits: RateLimits):
    assert allowed(limits, key(rate=None, burst=0), 100.0, tries=10_000) == 10_000


def test_each_key_has_a_bucket_of_its_own(limits: RateLimits):
    keys = [key(f"key{number}") for number in range(200)]

    assert [allowed(limits, each, 100.0, 6) for each in keys] == [5] * 200
    assert [allowed(limits, each, 100.0, 1) for each in keys] == [0] * 200


def test_a_key_whose_rate_was_raised_does_not_wait_out_the_old_one(limits: RateLimits):
    allowed(limits, key(rate=0.001, burst=1000), 100.0, 1000)

    assert limits.take(key(rate=10, burst=5), 100.0) == pytest.approx(0.1)


def test_a_clock_that_began_again_locks_nobody_out(limits: RateLimits):
    allowed(limits, key(), 1e9)

    assert limits.take(key(), 5.0) == pytest.approx(0.1)


def test_the_slowest_rate_and_the_largest_burst_fit_the_file(limits: RateLimits):
    slowest = key(rate=0.001, burst=1_000_000)

    assert allowed(limits, slowest, 1e9, 100) == 100


def test_the_clock_is_read_where_none_is_given(limits: RateLimits, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.monotonic_ns", lambda: 7_000_000_000)

    assert [limits.take(key(), None) for _ in range(5)] == [0] * 5
    assert limits.take(key(), 7.0) == limits.take(key()) == pytest.approx(0.1)


@given(
    st.integers(1, 1000),
    st.integers(1, 20),
    st.lists(st.integers(0, 5000), min_size=1, max_size=60),
)
def test_no_span_of_time_lets_through_more_than_the_burst_and_the_rate(step: int, burst: int, pauses: list[int]):
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


# The file that is shared


def test_what_one_worker_counted_another_finds(tmp_path: Path):
    one, other = RateLimits(tmp_path), RateLimits(tmp_path)

    assert allowed(one, key(), 100.0, 3) == 3
    assert allowed(other, key(), 100.0) == 2


def test_what_was_counted_outlives_the_worker(tmp_path: Path):
    one = RateLimits(tmp_path)
    allowed(one, key(), 100.0)
    one.close()

    assert RateLimits(tmp_path).take(key(), 100.0) > 0


def test_keys_that_hash_to_one_place_do_not_share_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rates, "SLOTS", 8)
    limits, other = RateLimits(tmp_path), RateLimits(tmp_path)
    keys = [key(f"key{number}") for number in range(8)]

    assert [allowed(limits, each, 100.0, 6) for each in keys] == [5] * 8
    assert [allowed(other, each, 100.0, 6) for each in reversed(keys)] == [0] * 8


def test_more_keys_than_places_are_limited_more_strictly_and_never_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rates, "SLOTS", 4)
    limits = RateLimits(tmp_path)

    found = [allowed(limits, key(f"key{number}"), 100.0) for number in range(6)]

    assert found == [5, 5, 5, 5, 0, 0]


def test_the_file_is_for_its_owner_alone_and_takes_its_room_at_once(limits: RateLimits, tmp_path: Path):
    stat = (tmp_path / "rates").stat()

    assert stat.st_mode & 0o777 == 0o600
    assert stat.st_blocks * 512 >= stat.st_size == rates.FILE_BYTES


def test_a_link_in_its_place_is_not_followed(tmp_path: Path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "rates").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        RateLimits(tmp_path)
    assert (tmp_path / "elsewhere").stat().st_size == 0


WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from service.access import Key
from service.rates import RateLimits

limits = RateLimits(Path(sys.argv[1]))
key = Key("web", "0" * 64, frozenset({"use"}), 10.0, 3000, datetime.now(UTC))
print("ready", flush=True)
sys.stdin.readline()
print(sum(limits.take(key, 100.0) == 0 for _ in range(3000)), flush=True)
"""


def test_workers_that_hammer_one_bucket_together_are_allowed_its_burst_and_not_one_more(tmp_path: Path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 4
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    found = [int(worker.communicate()[0]) for worker in workers]

    assert sum(found) == 3000


HOLDER = """
import fcntl, signal, sys
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""


def test_a_worker_that_is_killed_holding_the_lock_keeps_nobody_waiting(limits: RateLimits, tmp_path: Path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "rates"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    assert limits.take(key(), 100.0) == 0


def test_a_fork_opens_the_file_anew_because_an_inherited_lock_keeps_nobody_out(limits: RateLimits):
    limits.take(key(), 100.0)
    child = os.fork()
    if child == 0:
        counted = allowed(limits, key(), 100.0, 2)
        os._exit(counted if limits._process == os.getpid() else 99)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 2
    assert allowed(limits, key(), 100.0) == 2
