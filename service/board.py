"""What each worker serves, posted where all of them can read it: a file a worker in a directory that they share."""

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
class Standing:
    """
    How a worker stands.

    Attributes:
        status: `ready`; `degraded` where something newer was refused and the old serves on; `unready`; `stopping`.
        version: the version that it serves, if any.
        reason: why it is not ready.
        created_at: when the version was made, ISO 8601.
    """

    status: Status
    version: str | None = None
    reason: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class Post:
    """
    What one worker posted.

    Attributes:
        pid: of its process.
        standing: how it stands.
        looked_s: when its last look for something new began, by the monotonic clock that processes share.
    """

    pid: int
    standing: Standing
    looked_s: float


class Board:
    """The posts of all workers in *directory*."""

    def __init__(self, directory: Path):
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def post(self, standing: Standing, looked_s: float) -> None:
        """Post how this process stands after a look that began at *looked_s*."""
        path = self._path(os.getpid())
        staged = path.with_suffix(".new")
        staged.write_text(json.dumps({**asdict(standing), "looked_s": looked_s}))
        os.utime(staged, (time.monotonic(),) * 2)
        staged.replace(path)

    def read(self) -> list[Post]:
        """The posts of all workers, by process id."""
        found = []
        for path in self._directory.glob("*.json"):
            try:
                content = json.loads(path.read_text())
            except FileNotFoundError:  # it left meanwhile
                continue
            looked_s = content.pop("looked_s")
            found.append(Post(int(path.stem), Standing(**content), looked_s))
        return sorted(found, key=lambda post: post.pid)

    def beat(self) -> None:
        """Show that this process is not stuck."""
        # By the monotonic clock: a system's time may jump.
        with suppress(FileNotFoundError):  # it has not posted yet
            os.utime(self._path(os.getpid()), (time.monotonic(),) * 2)

    def silent_s(self, pid: int) -> float:
        """For how many seconds the worker *pid* has shown nothing; 0 before it has posted for the first time."""
        try:
            return time.monotonic() - self._path(pid).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def note_served(self, version: str) -> None:
        """Note that *version* could be opened and is served."""
        staged = self._directory / f"{SERVED}.{os.getpid()}"
        staged.write_text(version)
        staged.replace(self._directory / SERVED)

    def last_served(self) -> str | None:
        """The version that any worker took up last; None where none has."""
        try:
            return (self._directory / SERVED).read_text()
        except FileNotFoundError:
            return None

    def remove(self, pid: int) -> None:
        """Take down what the worker *pid*, which is gone, posted."""
        self._path(pid).unlink(missing_ok=True)

    def _path(self, pid: int) -> Path:
        return self._directory / f"{pid}.json"
