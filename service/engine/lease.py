"""Shared locks on versions, so that nobody removes a version that a process has open."""

import contextlib
import fcntl
import os
from pathlib import Path

from service.engine.files import reading
from service.engine.manifest import MANIFEST


class Lease:
    """A shared lock on a version. It needs no right to write, and ends with this object or with the process."""

    def __init__(self, directory: Path):
        """
        Lock the version in *directory*.

        Raises:
            CorruptModel: the version was removed meanwhile, or cannot be read.
        """
        self._descriptor: int | None = None
        with reading(directory / MANIFEST):
            self._descriptor = os.open(directory / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a file system without locks serves too
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """End the lease. A second call does nothing: another file may have the descriptor's number by then."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    __del__ = close


def in_use(directory: Path) -> bool:
    """Return True if a process on this machine has the version in *directory* open."""
    with (directory / MANIFEST).open("r+b") as file:  # network file systems lock only files opened for writing
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks does not know
            return False
    return False
