"""How long each step of a run took, and how much memory."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


@dataclass(frozen=True)
class Step:
    """A step that is done: its name, how long it took, and the most memory that the process held meanwhile."""

    name: str
    seconds: float
    peak_mib: float


@dataclass
class Steps:
    """The steps of a run, in the order in which they ended."""

    done: list[Step] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"  {step.name:<14}{step.seconds:>10.1f} s{step.peak_mib:>10,.0f} MiB at most" for step in self.done]
        return "\n".join([*lines, f"  {'in all':<14}{sum(step.seconds for step in self.done):>10.1f} s"])

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is done within as the step called *name*."""
        with suppress(OSError):  # where the peak cannot be reset, a step is charged with those before it
            CLEAR.write_text(RESET_PEAK)
        started = time.monotonic()
        yield
        self.done.append(Step(name, time.monotonic() - started, _peak_mib()))


def _peak_mib() -> float:
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
