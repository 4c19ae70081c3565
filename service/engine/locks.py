"""File locks, which some file systems lack."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOLCK, ENOSYS, EOPNOTSUPP
from functools import cache
from pathlib import Path

from service.engine.errors import UnusableStore
from service.engine.files import check_file, naming

NO_LOCKS = (ENOLCK, ENOSYS, EOPNOTSUPP)

log = logging.getLogger("segue")


@contextmanager
def locked(path: Path, required: bool, flags: int = 0) -> Iterator[None]:
    """
    Hold an exclusive lock on the file *path*, which is created if it does not exist.

    Args:
        path: the file.
        required: if false, go on without the lock on a file system that has none.
        flags: `fcntl.LOCK_NB` to raise an error instead of waiting for another process.

    Raises:
        BlockingIOError: another process holds the lock, and *flags* say not to wait.
        UnusableStore: *path* is no regular file, or the file system has no locks, although one is *required*.
        OSError: the file cannot be opened or locked.
    """
    with suppress(FileNotFoundError):
        check_file(path, UnusableStore, "remove it")
    with path.open("ab") as file:
        try:
            with naming(path):
                fcntl.flock(file, fcntl.LOCK_EX | flags)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            if required:
                raise UnusableStore(
                    f"{path} cannot be locked: {error.strerror}; mount its file system with locks (for NFS, start "
                    "rpc.statd or mount with local_lock=flock), or add --without-locks and run one command at a time"
                ) from error
        yield


def share(descriptor: int, directory: Path) -> None:
    """Put a shared lock on the open file *descriptor* of the version in *directory*, if the file system has locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:  # a file system without locks serves too
        _warn(directory.parent, error.strerror)


@cache
def _warn(store: Path, reason: str) -> None:
    """Log, once for each store, that its versions cannot be locked."""
    log.warning("%s has no file locks (%s): its versions are served, but `prune` may remove an open one", store, reason)
