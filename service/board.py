"""What each worker serves, posted where all of them can read it: a file a worker in a directory that they share."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

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
        looked_s: when it last finished looking for something new, by the monotonic clock that processes share.
    """

    pid: int
    standing: Standing
    looked_s: float


class Board:
    """The posts of all workers in *directory*."""

    def __init__(self, directory: Path):
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def post(self, standing: Standing) -> None:
        """Post how this process stands, now that it has looked."""
        path = self._path(os.getpid())
        staged = path.with_suffix(".new")
        staged.write_text(json.dumps({**asdict(standing), "looked_s": time.monotonic()}))
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

    def remove(self, pid: int) -> None:
        """Take down what the worker *pid*, which is gone, posted."""
        self._path(pid).unlink(missing_ok=True)

    def _path(self, pid: int) -> Path:
        return self._directory / f"{pid}.json"
