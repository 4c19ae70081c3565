"""
How long the machine stood still: a virtual one is withheld its processors now and then, whatever runs on it.

As jHiccup does (Gil Tene), a process on each processor sleeps for a short time, again and again. Where it wakes up
late, nothing else on that processor ran in time either. It goes before all others where it may, so that a busy service
is not taken for a machine that stands still.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

TICK_S, LEAST_S = 0.002, 0.002
Interval = tuple[float, float]


class Standstills:
    """
    Watches the machine while it is entered.

    Attributes:
        found: when it stood still on any processor, in order, by the monotonic clock; known once it was left.
    """

    def __init__(self) -> None:
        self.found: list[Interval] = []
        self._watching: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for processor in range(os.cpu_count() or 1):
            command = [sys.executable, __file__, str(processor)]
            self._watching.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in self._watching:  # to begin takes them a while, before all others
            assert process.stdout is not None
            process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._watching:
            process.terminate()
        said = [process.communicate()[0] for process in self._watching]
        self.found = merge([(start, end) for text in said if text for start, end in json.loads(text)])

    def within(self, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
        """For how many seconds it stood still between each of *starts* and of *ends*; float64, of their shape."""
        if not self.found:
            return np.zeros_like(starts)
        edges = np.array(self.found).ravel()
        passed = np.repeat(np.cumsum(edges[1::2] - edges[::2]), 2)
        passed[::2] -= edges[1::2] - edges[::2]
        return np.asarray(np.interp(ends, edges, passed) - np.interp(starts, edges, passed))

    def describe(self) -> str:
        """How often, how long in all, and how long at most."""
        lengths = [end - start for start, end in self.found] or [0.0]
        return f"{len(self.found)} times, {sum(lengths):.2f} s in all, {1e3 * max(lengths):.0f} ms at most"


def merge(intervals: Sequence[Interval]) -> list[Interval]:
    """*intervals* in order, those that overlap as one."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def watch(processor: int) -> list[Interval]:
    """The times at which *processor* stood still, until SIGTERM."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(OSError, AttributeError):  # elsewhere than on Linux it is left to the system where it runs
        os.sched_setaffinity(0, {processor})
    with contextlib.suppress(OSError):
        os.nice(-19)
    print("watching", flush=True)
    found, before = [], time.monotonic()
    while not stopped:
        time.sleep(TICK_S)  # how late it ends is what is measured
        now = time.monotonic()
        if now - before > TICK_S + LEAST_S:
            found.append((before + TICK_S, now))
        before = now
    return found


if __name__ == "__main__":
    print(json.dumps(watch(int(sys.argv[1]))))
