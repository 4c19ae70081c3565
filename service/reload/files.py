"""A configuration file that is reloaded when it changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from service.files import may_pass, printable

Content = TypeVar("Content")


class ReloadedFile(Generic[Content]):
    """
    The content of a file, read again when the file changes.

    A file that cannot be read changes nothing: the previous content stays in use. A fault of the content lasts until
    the file changes. A fault of the system may pass, so the next poll reads the file again.

    Attributes:
        content: None until the file could be read once.
        refusal: why the file cannot be read now; None if it can.
    """

    def __init__(self, path: Path, read: Callable[[Path], Content], refusals: type[Exception]):
        self._path, self._read, self._refusals = path, read, refusals
        self._seen: tuple[int, ...] | None = None
        self.content: Content | None = None
        self.refusal: str | None = None

    def poll(self) -> bool:
        """Read the file if it changed. Returns True if *content* or *refusal* changed."""
        stamp = self._stamp()
        if stamp == self._seen and stamp is not None:
            return False
        before = self.content, self.refusal
        try:
            content = self._read(self._path)
        except self._refusals as error:
            self.refusal, self._seen = printable(str(error)), None if may_pass(error) else stamp
            return before[1] != self.refusal
        if self._stamp() != stamp:  # it is being written; the next poll finds it whole
            return False
        self.content, self.refusal, self._seen = content, None, stamp
        return before != (content, None)

    @property
    def is_unsettled(self) -> bool:
        """True if another poll may read the file although it has not changed."""
        return self._seen is None

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
