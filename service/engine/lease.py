"""Shared locks on versions, so that nobody removes a version that a process has open."""

import fcntl
import os
from pathlib import Path

from service.engine.files import reading
from service.engine.locks import NO_LOCKS, share
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
        share(self._descriptor, directory)

    def close(self) -> None:
        """End the lease. A second call does nothing: another file may have the descriptor's number by then."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    __del__ = close


def in_use(directory: Path) -> bool:
    """
    Return True if a process on this machine has the version in *directory* open, or has alone the right to it.

    A file system without locks does not know, and the answer is False.
    """
    try:
        with (directory / MANIFEST).open("r+b") as file:  # network file systems lock only files opened for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in NO_LOCKS
    return False
