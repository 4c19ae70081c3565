"""
How often each key may ask, counted by all workers together.

The generic cell rate algorithm: a bucket is one moment, that at which it will be full again. A request moves it on by
1 / rate, and is refused where that would leave it more than burst / rate ahead of now.

All workers map one small file of buckets. A lock of the kernel guards it, which ends with the process that holds it,
so a worker that is killed leaves nothing locked. The clock is CLOCK_MONOTONIC, the same for all processes of a machine.
"""

import fcntl
import mmap
import os
import threading
import time
from hashlib import sha256
from pathlib import Path

from service.access import Key

FILE = "rates"
# Two words each: whose it is, and when it is full again. More keys than anybody has had since the service was started.
SLOTS = 1 << 14
WORD_BYTES = 8
FILE_BYTES = SLOTS * 2 * WORD_BYTES
SECOND_NS = 1_000_000_000


class RateLimits:
    """The buckets of one running service, in a directory that its workers share and nobody else writes to."""

    def __init__(self, directory: Path) -> None:
        """
        Raises:
            OSError: the file cannot be made there, or there is no room for it.
        """
        self._path = directory / FILE
        self._threads = threading.Lock()
        self._open()

    def take(self, key: Key, now: float | None = None) -> float:
        """
        Count one request of *key*.

        Args:
            now: seconds of the monotonic clock; read from it unless given.

        Returns:
            0 where the request is within the rate; else the seconds until one would be, and it is not counted.
        """
        if key.rate is None:
            return 0.0
        step = round(SECOND_NS / key.rate)
        if self._process != os.getpid():
            self._open_anew()
        # The kernel's lock keeps out other processes, and ours other threads: they share the kernel's.
        with self._threads:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                # Read under the lock: else a request could be counted at an earlier moment than the one before it.
                moment = time.monotonic_ns() if now is None else round(now * SECOND_NS)
                slot = self._slot(key.name)
                full_at, wait = count(self._words[slot], moment, step, key.burst)
                self._words[slot] = full_at
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return wait / SECOND_NS

    def close(self) -> None:
        """Let go of the file; the buckets in it stay."""
        self._words.release()
        self._map.close()
        os.close(self._descriptor)

    def _open(self) -> None:
        self._process = os.getpid()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        # Room is taken now: a write to a mapped file on a full disk would kill the process.
        os.posix_fallocate(self._descriptor, 0, FILE_BYTES)
        self._map = mmap.mmap(self._descriptor, FILE_BYTES)
        self._words = memoryview(self._map).cast("q")
        self._places: dict[str, int] = {}

    def _open_anew(self) -> None:
        """After a fork: a lock that was inherited is the very lock of the other process, and keeps neither out."""
        self._threads = threading.Lock()
        self.close()
        self._open()

    def _slot(self, name: str) -> int:
        """The word with the bucket of *name*, where it stays."""
        if name not in self._places:
            self._places[name] = self._claimed(name)
        return self._places[name]

    def _claimed(self, name: str) -> int:
        tag = int.from_bytes(sha256(name.encode()).digest()[:WORD_BYTES], "little", signed=True) | 1
        home = tag >> 1
        for place in range(home, home + SLOTS):
            word = 2 * (place % SLOTS)
            if self._words[word] in (0, tag):
                self._words[word] = tag
                return word + 1
        # Every slot is taken: two names then share a bucket, which is stricter and never an error.
        return 2 * (home % SLOTS) + 1


def count(full_at: int, now: int, step: int, burst: int) -> tuple[int, int]:
    """
    One request on a bucket.

    Args:
        full_at: nanosecond at which the bucket is full.
        now: this nanosecond, of the same clock.
        step: nanoseconds that the bucket takes to gain one request.
        burst: requests that a full bucket holds.

    Returns:
        When the bucket is full now, and the nanoseconds until a request would be within the rate: 0 where this one is.
    """
    # No bucket is emptier than empty: not after its rate was raised, nor by a clock that began again.
    full_at = min(max(full_at, now), now + burst * step)
    wait = full_at + step - (now + burst * step)
    return (full_at, wait) if wait > 0 else (full_at + step, 0)
