"""Reading files that other people keep: the true reason if it fails, and its remedy."""

import errno
import os
import stat
from pathlib import Path

MOUNT = "check the disk or the mount that holds it"
RIGHTS = "let the user of the process read it"
DESCRIPTORS = "raise the limit of open files (ulimit -n)"
SHORTAGES = {
    errno.EMFILE: DESCRIPTORS,
    errno.ENFILE: "raise the system's limit of open files (fs.file-max)",
    errno.ENOMEM: "give the process more memory",
}
REMEDIES = SHORTAGES | {
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.ENOENT: "restore it, or mount the disk that holds it",
    errno.ENOTDIR: "correct the path",
    errno.ELOOP: "correct the link",
}

KINDS = {stat.S_IFDIR: "directory", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}


def describe_trouble(path: Path, error: OSError) -> str:
    """Return a sentence with the file, the system's reason and the remedy of *error*, met while *path* was read."""
    reason = error.strerror or str(error)
    return printable(f"{error.filename or path} cannot be read: {reason}; {REMEDIES.get(error.errno or 0, MOUNT)}")


def may_pass(error: BaseException) -> bool:
    """Return True if *error* was caused by the system, and not by the content of a file."""
    return isinstance(error.__cause__, OSError)


def printable(text: str) -> str:
    """Return *text* as valid Unicode: paths may hold bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_file(path: Path, max_bytes: int) -> bytes:
    """
    Read the regular file *path*.

    Raises:
        ValueError: *path* is something else, as in `check_kind`, or longer than *max_bytes*.
        OSError: the file cannot be read now.
    """
    check_kind(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"it has {size:,} bytes, more than the limit of {max_bytes:,}")
    with open(path, "rb", opener=_open_at_once) as file:
        return file.read(max_bytes)


def check_kind(path: Path) -> None:
    """
    Check that *path* is a regular file.

    Raises:
        ValueError: it is a directory, a named pipe or a device; the message says which.
        OSError: the system does not tell.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(f"it is a {KINDS.get(kind, 'device')}, not a regular file")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for a writer
