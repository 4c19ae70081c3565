"""Time and memory of each step of a run."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """A finished step: its name, its duration, and the peak memory of the process from its start to the step's end."""

    name: str
    seconds: float
    peak_mib: float


@dataclass
class Stopwatch:
    """Measures the steps of a run, which starts now; the steps are listed in the order in which they ended."""

    done: list[Step] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        lines = [
            f"  {step.name:<12}{step.seconds:>10.1f} s{step.peak_mib:>9,.0f} MiB peak so far" for step in self.done
        ]
        return "\n".join([*lines, f"  {'in total':<12}{time.monotonic() - self.started:>10.1f} s"])

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the enclosed code as the step called *name*; a step that fails is not listed."""
        started = time.monotonic()
        yield
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        self.done.append(Step(name, time.monotonic() - started, peak_mib))
