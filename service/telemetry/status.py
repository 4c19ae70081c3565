"""The status of each worker, as one file a worker in a directory that all workers share."""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

SERVED = "served"
Status = Literal["ready", "degraded", "unready", "stopping"]


@dataclass(frozen=True)
class WorkerStatus:
    """
    The status of a worker.

    Attributes:
        status: `ready`; `degraded` if something newer was refused and the previous state is in use; `unready`;
            `stopping`.
        version: the served version, if any.
        reason: why it is not ready.
        created_at: when the version was trained, ISO 8601.
        polled_s: when its last poll began, by the monotonic clock, which processes share.
    """

    status: Status
    version: str | None = None
    reason: str | None = None
    created_at: str | None = None
    polled_s: float = 0.0


class StatusDirectory:
    """The status files of all workers."""

    def __init__(self, directory: Path):
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def write(self, status: WorkerStatus) -> None:
        """Write the status of this process."""
        self._replace(self._path(os.getpid()), json.dumps(asdict(status)))

    def read(self) -> dict[int, WorkerStatus]:
        """Return the status of each worker by process id."""
        found = {}
        for path in self._directory.glob("*.json"):
            with suppress(FileNotFoundError):  # the worker has just left
                found[int(path.stem)] = WorkerStatus(**json.loads(path.read_text()))
        return found

    def beat(self) -> None:
        """Show that the event loop of this process runs."""
        path = self._path(os.getpid()).with_suffix(".beat")
        path.touch()
        os.utime(path, ns=(time.monotonic_ns(),) * 2)  # a full disk does not prevent this for a file that exists

    def last_beat(self, pid: int) -> int | None:
        """Return a number that changes with each beat of the worker *pid*; None before the first."""
        try:
            return self._path(pid).with_suffix(".beat").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def write_served(self, version: str) -> None:
        """Note that *version* could be opened and is served."""
        self._replace(self._directory / SERVED, version)

    def last_served(self) -> str | None:
        """Return the version that a worker opened last; None if none has."""
        try:
            return (self._directory / SERVED).read_text()
        except FileNotFoundError:
            return None

    def remove(self, pid: int) -> None:
        """Remove the files of the worker *pid*, which has ended."""
        for suffix in (".json", ".beat"):
            self._path(pid).with_suffix(suffix).unlink(missing_ok=True)

    def _path(self, pid: int) -> Path:
        return self._directory / f"{pid}.json"

    def _replace(self, path: Path, text: str) -> None:
        staged = path.with_name(f"{path.name}.{os.getpid()}")
        staged.write_text(text)
        staged.replace(path)
