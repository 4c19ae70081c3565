"""A file that somebody may change while the service runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")


class Watched(Generic[Content]):
    """
    What the file *path* says, read again where it changed.

    A file that cannot be read changes nothing: what it said before stands.

    Attributes:
        content: what it says; None as long as it could never be read.
        refusal: why it cannot be read now, if so.
    """

    def __init__(self, path: Path, read: Callable[[Path], Content], refusals: type[Exception]):
        self._path, self._read, self._refusals = path, read, refusals
        self._seen: tuple[int, ...] | None = None
        self.content: Content | None = None
        self.refusal: str | None = None

    def look(self) -> bool:
        """Read the file where it changed since the last look; returns whether *content* or *refusal* did."""
        stamp = self._stamp()
        if stamp == self._seen and stamp is not None:
            return False
        before = self.content, self.refusal
        try:
            content = self._read(self._path)
        except self._refusals as error:
            self.refusal, self._seen = str(error), stamp
            return before[1] != self.refusal
        if self._stamp() != stamp:  # somebody is writing it: the next look will find it whole
            return False
        self.content, self.refusal, self._seen = content, None, stamp
        return before != (content, None)

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
