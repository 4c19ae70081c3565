"""The runtime directory: files that the workers of one service share."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, LOCK = "segue-", "lock"
# Each request writes its counts to mapped files, which must not wait for a disk.
IN_MEMORY = Path("/dev/shm")


@contextmanager
def runtime_directory(parent: Path | None) -> Iterator[Path]:
    """
    Create the runtime directory, name it in the environment of the workers, and remove it at the end.

    Directories of services that were killed are removed as well.

    Args:
        parent: default: `/dev/shm` if writable, otherwise the system's temporary directory.
    """
    parent = parent or (IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
    _remove_abandoned(parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True) as path:
        directory = Path(path)
        metrics = directory / "metrics"
        metrics.mkdir()
        new = directory / "new"
        new.touch()
        with _locked(new):
            new.rename(directory / LOCK)  # from now on a lock that nobody holds means that the service was killed
            os.environ |= {"SEGUE_RUNTIME": path, "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
            yield directory


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on *path*, which ends with this process at the latest."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for a writer
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), _locked(lock):
            shutil.rmtree(lock.parent, ignore_errors=True)
