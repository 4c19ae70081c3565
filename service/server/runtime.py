"""The runtime directory: files that the workers of one service share."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

log = logging.getLogger("segue")

PREFIX, LOCK = "segue-", "lock"
WORKER_BYTES = 1 << 20  # metrics of a worker and of those that it replaces, its status, its share of the rates
# Each request writes its counts to mapped files, which must not wait for a disk.
IN_MEMORY = Path("/dev/shm")


@contextmanager
def runtime_directory(parent: Path | None, n_workers: int = 1) -> Iterator[Path]:
    """
    Create the runtime directory, name it in the environment of the workers, and remove it at the end.

    Directories of services that were killed are removed as well. If *parent* has no room for the files of the workers,
    the directory is made elsewhere.

    Args:
        parent: default: `/dev/shm` if writable, otherwise the system's temporary directory.
        n_workers: number of workers.

    Raises:
        OSError: no directory can be created.
    """
    parents = _parents(parent)
    for each in parents:
        _remove_abandoned(each)
    with _created(parents, n_workers * WORKER_BYTES) as path:
        directory = Path(path)
        metrics = directory / "metrics"
        os.environ |= {"SEGUE_RUNTIME": path, "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
        with ExitStack() as lock:
            with suppress(OSError):  # without room or locks, the service does without metrics or without the lock
                metrics.mkdir()
                lock.enter_context(_marked(directory))
            yield directory


def _parents(first: Path | None) -> list[Path]:
    """Return the directories in which the runtime directory may be, the best first."""
    found = [first] if first else [each for each in (IN_MEMORY,) if os.access(each, os.W_OK)]
    with suppress(FileNotFoundError):  # there is none that is writable
        found.append(Path(tempfile.gettempdir()))
    return found


def _created(parents: list[Path], n_bytes: int) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix=PREFIX, dir=_roomy(parents, n_bytes), ignore_cleanup_errors=True)
    except OSError as error:
        if error.filename is None:  # it gives the remedy
            raise
        failure = f"the runtime directory cannot be created: {error.filename}: {error.strerror}"
        raise OSError(error.errno, f"{failure}; name another one in SEGUE_RUNTIME") from error


def _roomy(parents: list[Path], n_bytes: int) -> Path:
    """Return the first of *parents* with *n_bytes* free, or the first one."""
    if not parents:
        raise OSError(errno.EACCES, "no directory for temporary files can be written; name one in SEGUE_RUNTIME")
    best = next((each for each in parents if _free_bytes(each) >= n_bytes), parents[0])
    if best != parents[0]:
        log.warning(
            "%s has room for %d bytes, and the workers need %d: using %s; enlarge it, or name another in SEGUE_RUNTIME",
            *(parents[0], _free_bytes(parents[0]), n_bytes, best),
        )
    return best


def _free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


@contextmanager
def _marked(directory: Path) -> Iterator[None]:
    """Hold a lock in *directory*: a lock that nobody holds means that the service was killed."""
    new = directory / "new"
    new.touch()
    with _locked(new):
        new.rename(directory / LOCK)
        yield


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
