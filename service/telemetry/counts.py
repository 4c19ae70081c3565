"""Counts in a mapped file that has room for them: on a full disk, a write to a mapped file kills the process."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

log = logging.getLogger("segue")

FIRST_BYTES = 1 << 16  # as prometheus_client begins
ENTRY_BYTES = 32  # an entry has at most as many beside its key
NOTHING = 0.0, 0.0

_losses: list[str] = []  # the first one, until it is logged, and then an empty text


class Counts(MmapedDict):
    """
    The counts of one process, in a file whose room is allocated before it is mapped.

    Without room, the counts in the file freeze and the process goes on.
    """

    _f: Any  # the library's file, and its map; None without room
    _m: Any

    def __init__(self, filename: str):
        self._name = filename
        self._f = self._m = None
        try:
            _allocate(filename)
            super().__init__(filename)
        except OSError as error:
            self._lose(error)

    def read_value(self, key: str) -> tuple[float, float]:
        """Return the value of *key* and its time."""
        try:
            value: tuple[float, float] = NOTHING if self._m is None else super().read_value(key)
        except OSError as error:
            self._lose(error)
            return NOTHING
        return value

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write the *value* of *key*, if the file has room."""
        try:
            if self._m is not None:
                super().write_value(key, value, timestamp)
        except OSError as error:
            self._lose(error)

    def close(self) -> None:
        """Unmap and close the file."""
        if self._m is not None:
            super().close()

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + ENTRY_BYTES > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
        super()._init_value(key)

    def _lose(self, error: OSError) -> None:
        if self._f is not None:
            self._f.close()
        self._f = self._m = None
        if not _losses:
            _losses.append(f"{self._name}: {error.strerror}")


def allocate_counts() -> None:
    """Have prometheus_client write `Counts`. The metrics must be created afterwards."""
    values.MmapedDict = Counts  # type: ignore[attr-defined, assignment]  # the library has no setting for it


def log_loss() -> None:
    """Log the first loss of counts, once. It may have happened before the logs were configured."""
    if _losses and _losses[0]:
        remedy = "make room there, or name another directory in SEGUE_RUNTIME, and start the service again"
        log.warning("requests are answered, and metrics of this process are lost: %s; %s", _losses[0], remedy)
        _losses[0] = ""


def _allocate(filename: str) -> None:
    path = Path(filename)
    try:
        with path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, FIRST_BYTES)
    except OSError:
        with suppress(OSError):  # an empty file is none that `/metrics` can read
            path.unlink(missing_ok=True)
        raise
