"""How long each step of a run took, and how much memory."""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STATUS = Path("/proc/self/status")
SAMPLE_S = 0.05


@dataclass(frozen=True)
class Step:
    """A step that is done: its name, how long it took, and the most memory that the process held meanwhile."""

    name: str
    seconds: float
    peak_mib: float


@dataclass
class Steps:
    """The steps of a run that begins now, in the order in which they ended."""

    done: list[Step] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        lines = [f"  {step.name:<14}{step.seconds:>10.1f} s{step.peak_mib:>10,.0f} MiB at most" for step in self.done]
        return "\n".join([*lines, f"  {'in all':<14}{time.monotonic() - self.started:>10.1f} s"])

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is done within as the step called *name*."""
        started, before = time.monotonic(), _peak_mib()
        with _sampled() as samples:
            yield
        # A peak of the whole run is known exactly; one below that of an earlier step only as often as it was looked at.
        peak = _peak_mib()
        self.done.append(Step(name, time.monotonic() - started, peak if peak > before else max(samples)))


@contextmanager
def _sampled() -> Iterator[list[float]]:
    """What the process holds, in MiB, looked at again and again by a thread."""
    samples, ended = [_held_mib()], threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            samples.append(max(samples.pop(), _held_mib()))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _peak_mib() -> float:
    return _status_mib("VmHWM:")


def _held_mib() -> float:
    return _status_mib("VmRSS:")


def _status_mib(name: str) -> float:
    """A line of the system's account of this process; where it keeps none, the peak of the run."""
    try:
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
