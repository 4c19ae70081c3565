"""The status of each worker, as one file a worker in a directory that all workers share."""

import json
import os
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
        with suppress(OSError):  # the first write tells
            directory.mkdir(parents=True, exist_ok=True)

    def write(self, status: WorkerStatus) -> None:
        """Write the status of this process."""
        self._replace(self.path(os.getpid()), json.dumps(asdict(status)))

    def read(self) -> dict[int, WorkerStatus]:
        """Return the status of each worker by process id."""
        found = {}
        for path in self._directory.glob("*.json"):
            with suppress(OSError):  # the worker has just left
                found[int(path.stem)] = WorkerStatus(**json.loads(path.read_text()))
        return found

    def write_served(self, version: str) -> None:
        """Note that *version* could be opened and is served."""
        self._replace(self._directory / SERVED, version)

    def last_served(self) -> str | None:
        """Return the version that a worker opened last; None if none has."""
        try:
            return (self._directory / SERVED).read_text()
        except OSError:
            return None

    def remove(self, pid: int) -> None:
        """Remove the status of the worker *pid*, which has ended."""
        with suppress(OSError):
            self.path(pid).unlink()

    def path(self, pid: int) -> Path:
        """Return the status file of the worker *pid*."""
        return self._directory / f"{pid}.json"

    def _replace(self, path: Path, text: str) -> None:
        staged = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            staged.write_text(text)
            staged.replace(path)
        except OSError as error:
            with suppress(OSError):
                staged.unlink()
            raise OSError(error.errno, error.strerror, str(path)) from error
