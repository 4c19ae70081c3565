"""
Rate limits of keys, counted over all workers.

The generic cell rate algorithm: the state of a bucket is the time at which it is full again. A request moves that time
by 1 / rate, and is refused if the time would then be more than burst / rate ahead of now.

All workers map one small file of buckets. A kernel lock guards it and ends with the process that holds it, so a killed
worker leaves nothing locked. The clock is CLOCK_MONOTONIC, which all processes of a machine share.
"""

import fcntl
import logging
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from service.auth.keys import Key

log = logging.getLogger("segue")

FILE = "rates"
# Two words each: the owner's tag and the time at which it is full. More than the keys seen since the start.
SLOTS = 1 << 14
WORD_BYTES = 8
FILE_BYTES = SLOTS * 2 * WORD_BYTES
SECOND_NS = 1_000_000_000


class RateLimits:
    """
    The buckets of one running service, in the directory that its workers share.

    Each worker opens the file itself, and uses it from one thread: the kernel's lock excludes other processes only.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._descriptor: int | None = _open(directory / FILE)
        except OSError as error:  # requests are answered all the same
            log.warning("each worker counts the rates of keys by itself: %s: %s", directory / FILE, error.strerror)
            self._descriptor = None
        self._map = mmap.mmap(-1 if self._descriptor is None else self._descriptor, FILE_BYTES)
        self._words = memoryview(self._map).cast("q")
        self._places: dict[str, int] = {}

    def take(self, key: Key, now: float | None = None) -> float:
        """
        Count one request of *key*.

        Args:
            now: seconds of the monotonic clock. Default: read it.

        Returns:
            0 if the request is within the rate. Otherwise the seconds until one would be; the request is not counted.
        """
        if key.rate is None or key.burst is None:
            return 0.0
        step = round(SECOND_NS / key.rate)
        with self._locked():
            # Read under the lock: otherwise a request could be counted before the previous one.
            moment = time.monotonic_ns() if now is None else round(now * SECOND_NS)
            slot = self._slot(key.name)
            full_at, wait = count(self._words[slot], moment, step, key.burst)
            self._words[slot] = full_at
        return wait / SECOND_NS

    def close(self) -> None:
        """Close the file. The buckets in it remain."""
        self._words.release()
        self._map.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude the other workers, if they share the buckets."""
        if self._descriptor is None:
            yield
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _slot(self, name: str) -> int:
        """Return the index of the bucket of *name*."""
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
        # Every slot is taken. Two names then share a bucket, which is stricter and not an error.
        return 2 * (home % SLOTS) + 1


def _open(path: Path) -> int:
    """Open the file of buckets at *path*, with room for all: without, a write to the mapped file kills the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, FILE_BYTES)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # some file systems have no locks
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def count(full_at: int, now: int, step: int, burst: int) -> tuple[int, int]:
    """
    Count one request in a bucket.

    Args:
        full_at: time at which the bucket is full, in nanoseconds.
        now: the time, by the same clock.
        step: nanoseconds in which the bucket gains one request.
        burst: requests that a full bucket holds.

    Returns:
        The new time at which the bucket is full, and the nanoseconds until a request is within the rate: 0 if this is.
    """
    # A bucket cannot be emptier than empty, even if its rate was raised or the clock was reset.
    full_at = min(max(full_at, now), now + burst * step)
    wait = full_at + step - (now + burst * step)
    return (full_at, wait) if wait > 0 else (full_at + step, 0)
