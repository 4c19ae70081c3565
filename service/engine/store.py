"""
A store: versions side by side in one directory, one of them current.

    models/
        CURRENT                 the name of the served version
        20261121T211155.204Z-3f2a9c/    a version
        refused/                the last version that was refused; nobody serves it
        .staging-.../           a version that is being written; nobody reads it
        .lock                   locked while a process writes a version
        .pointing               locked for a moment while a process changes CURRENT or removes versions

A version is written to a staging directory, synchronised to disk, renamed, and then named in `CURRENT`, which is
itself replaced by a rename. So a reader sees the whole old version or the whole new one, even if a process is killed.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from errno import ENOTDIR
from pathlib import Path

from service.engine.errors import NoModel, StoreBusy, StoreChanged, UnusableStore
from service.engine.files import check_file, naming, write_text
from service.engine.lease import in_use
from service.engine.locks import locked
from service.engine.manifest import MANIFEST
from service.files import describe_trouble, read_file

CURRENT = "CURRENT"
LOCK, POINTING = ".lock", ".pointing"
REFUSED = "refused"
STAGING = ".staging-"
TIME = "%Y%m%dT%H%M%S.%fZ"
NAME = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)-[\da-f]{6}", re.ASCII)
REMOVALS = 100
MAX_NAME_BYTES = 1 << 12
NEW_POINTER = "remove it, then publish a version or roll back to one"


@dataclass(frozen=True)
class Store:
    """
    The directory that holds the versions of a model.

    Attributes:
        root: the directory.
        needs_locks: if false, changes go on without locks on a file system that has none; then only one process at a
            time may change the store.
    """

    root: Path
    needs_locks: bool = True

    @property
    def pointer(self) -> Path:
        """The file that names the current version."""
        return self.root / CURRENT

    def current(self) -> Path:
        """
        Return the directory of the current version.

        Raises:
            NoModel: no version was published, or the current one is gone.
        """
        train = f"mount the disk that holds it, or publish one with: python -m trainer train DATA --models {self.root}"
        try:
            name = read_file(self.pointer, MAX_NAME_BYTES).decode().strip()
            is_there = self._holds(name)
        except FileNotFoundError:
            where = "holds no published version" if self.root.is_dir() else "does not exist"
            raise NoModel(f"{self.root} {where}; {train}") from None
        except OSError as error:
            raise NoModel(describe_trouble(self.pointer, error)) from error
        except UnicodeDecodeError as error:
            raise NoModel(f"{self.pointer} is not UTF-8: {error}; {train}") from None
        except ValueError as error:
            raise NoModel(f"{self.pointer} cannot be used: {error}; {NEW_POINTER}") from None
        if not is_there:
            raise NoModel(f"{self.pointer} names {name!r}, which is not a version in {self.root}; {train}")
        return self.root / name

    def _holds(self, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):  # of NUL in *name*
            return Path(name).name == name != "" and bool((self.root / name / MANIFEST).stat())
        return False

    def stamp(self) -> tuple[object, ...]:
        """Return a value that changes whenever the current version or one of its files changes."""
        try:
            # Without the pointer itself, which may change after it was read.
            directory = self.current()
            return (directory.name, *((path.name, *_stat(path)) for path in sorted(directory.iterdir())))
        except (NoModel, OSError):
            return ()

    def versions(self) -> list[str]:
        """Return the names of all versions: names that people gave, as those of copies, then the others by time."""
        names = (path.name for path in self.root.glob("[!.]*") if _is_version(path))
        return sorted(names, key=lambda name: (_time_of(name) is not None, name))

    def next_version(self, now: datetime | None = None) -> str:
        """
        Return a name for a version made *now* that comes last among `versions`.

        A name begins with the time. If the clock was set back, it begins with the last time in a name and one
        millisecond, so that versions are in the order of publication.
        """
        last = max(filter(None, map(_time_of, self.versions())), default=datetime.min.replace(tzinfo=UTC))
        moment = max(now or datetime.now(UTC), last + timedelta(milliseconds=1))
        return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"

    def version(self, name: str | None = None) -> Path:
        """
        Return the directory of the version *name*, or of the current version without a name.

        Raises:
            NoModel: there is no such version.
        """
        if name is None:
            return self.current()
        if name not in self.versions():
            raise NoModel(f"{self.root} holds no version {name!r}; it holds: {', '.join(self.versions()) or 'none'}")
        return self.root / name

    def rollback(self, name: str | None = None) -> Path:
        """
        Make the version *name* the current one. Without a name, go back to the newest version before the current one.

        Returns:
            The directory of the version that is current now.

        Raises:
            NoModel: there is no such version.
        """
        with self._pointing():
            directory = self.target(name)
            self._point_at(directory.name)
        return directory

    def target(self, name: str | None = None) -> Path:
        """
        Return the directory of the version that `rollback` would make the current one.

        Raises:
            NoModel: there is no such version.
        """
        if name is None:
            current = self.current().name
            dated = self._dated()
            older = dated[: dated.index(current)] if current in dated else []
            if not older:
                raise NoModel(f"{self.root} holds no version older than {current}, the current one")
            name = older[-1]
        return self.version(name)

    def prune(self, keep: int) -> list[str]:
        """
        Remove all but the newest *keep* of the versions whose names have a time.

        The current version stays, and so do those that a process has open, that this user has no right to, or that
        people named.

        Returns:
            The names of the removed versions.
        """
        with self._pointing():
            dated, current = self._dated(), self.current().name
            pruned = [each for each in dated[:-keep] if each != current and not in_use(self.root / each)]
            for version in pruned:
                # Hide it first, so that a version is there whole or not at all.
                hidden = (self.root / version).rename(self.root / f"{STAGING}{version}")
                shutil.rmtree(hidden)
        return pruned

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """
        Hold the writing lock of the store, and remove the files that a killed run left behind.

        Raises:
            StoreBusy: another process holds it.
            UnusableStore: the file system has no locks, one of its files is no regular one, or its path is not UTF-8.
            OSError: the store cannot be written to.
        """
        self._make_root()
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self.root / LOCK, self.needs_locks, fcntl.LOCK_NB))
            except BlockingIOError:
                raise StoreBusy(f"another run is writing to {self.root}; wait for it to end") from None
            with self._pointing():  # a rollback may be about to rename one of them
                for left in self.root.glob(f"{STAGING}*"):
                    _remove(left)
            yield

    @contextlib.contextmanager
    def staging(self, version: str) -> Iterator[Path]:
        """Make an empty directory for the files of *version*; remove it at the end unless it was published."""
        directory = self.root / f"{STAGING}{version}"
        directory.mkdir()
        try:
            yield directory
        finally:
            _remove(directory)

    def publish(self, staged: Path, over: str | None = None) -> Path:
        """
        Make the version staged in *staged* the current one.

        Args:
            staged: a directory from `staging`.
            over: the version that must be current until then; None for any.

        Returns:
            The directory of the published version.

        Raises:
            StoreChanged: another version than *over* is current.
        """
        for path in (*staged.iterdir(), staged):
            _synchronize(path)
        with self._pointing():
            if over is not None and (current := self.current().name) != over:
                raise StoreChanged(f"the published version was changed from {over} to {current} meanwhile")
            directory = self.root / staged.name.removeprefix(STAGING)
            staged.rename(directory)
            _synchronize(self.root)
            self._point_at(directory.name)
        return directory

    def refuse(self, staged: Path) -> Path:
        """
        Keep the version in *staged* for inspection, in place of the version that was refused before it.

        Returns:
            The directory of the refused version.
        """
        refused = self.root / REFUSED
        shutil.rmtree(refused, ignore_errors=True)
        refused.mkdir()
        return staged.rename(refused / staged.name.removeprefix(STAGING))

    @contextlib.contextmanager
    def _pointing(self) -> Iterator[None]:
        """Hold the lock that protects the list of versions and the pointer."""
        if not self.root.is_dir():
            raise NoModel(f"{self.root} is not a directory; check the path, or train a model")
        with contextlib.suppress(FileNotFoundError):
            check_file(self.pointer, UnusableStore, NEW_POINTER)
        with locked(self.root / POINTING, self.needs_locks):
            yield

    def _dated(self) -> list[str]:
        return [version for version in self.versions() if _time_of(version)]

    def _make_root(self) -> None:
        if os.fsencode(self.root) != str(self.root).encode(errors="replace"):
            raise UnusableStore(f"{self.root} is not UTF-8, and Annoy opens no other paths; rename the directory")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), str(self.root)) from None

    def _point_at(self, version: str) -> None:
        pointer = self.root / f"{STAGING}{CURRENT}"
        try:
            write_text(pointer, f"{version}\n")
            _synchronize(pointer)
            pointer.replace(self.pointer)
        except BaseException:
            _remove(pointer)
            raise
        _synchronize(self.root)


def _is_version(path: Path) -> bool:
    try:
        (path / MANIFEST).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # reading it gives the reason
        return _time_of(path.name) is not None
    return True


def _time_of(name: str) -> datetime | None:
    """Return the time in a *name* from `Store.next_version`; None if it is another name."""
    with contextlib.suppress(ValueError):
        if found := NAME.fullmatch(name):
            return datetime.strptime(found[1], TIME).replace(tzinfo=UTC)
    return None


def _remove(left: Path) -> None:
    for _ in range(REMOVALS):
        if not left.is_dir():
            break
        # A call that a signal interrupted may still write there; the next turn removes its files.
        shutil.rmtree(left, ignore_errors=True)
    else:
        return
    left.unlink(missing_ok=True)


def _stat(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _synchronize(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
