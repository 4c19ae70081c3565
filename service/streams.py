"""The standard streams of a command line, whose failures do not end its work."""

import io
import os
import sys
from errno import EBADF, EPIPE
from select import select
from typing import Any, TextIO

STDOUT, STDERR = 1, 2
NOBODY_READS = (EPIPE, EBADF)  # `| head`, `>&-`


class _Stream(io.FileIO):
    """
    A standard stream that drops what it cannot write.

    Attributes:
        failure: the reason of the last loss; None if all was written.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # another process made it non-blocking
                select([], [self], [])
        except OSError as error:
            self.failure = error
            return memoryview(data).nbytes
        return written


def guard_streams() -> None:
    """
    Let no failure of standard output or standard error, such as a closed pipe or a full disk, raise an error.

    Closed streams are opened, for reading alone: otherwise the next file would get the number of one, and then its
    text.
    """
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout, sys.stderr = _guarded(STDOUT, sys.stdout), _guarded(STDERR, sys.stderr)


def output_failure() -> OSError | None:
    """Return the reason why text of standard output is lost; None if none is."""
    sys.stdout.flush()
    raw = getattr(sys.stdout.buffer, "raw", None)
    return raw.failure if isinstance(raw, _Stream) else None


def check_output() -> None:
    """
    Check that the result of a command arrived.

    Raises:
        OSError: text of standard output is lost although somebody reads it.
    """
    failure = output_failure()
    if failure is not None and failure.errno not in NOBODY_READS:
        raise OSError(failure.errno, failure.strerror, "standard output")


def _guarded(descriptor: int, stream: TextIO | None) -> TextIO:
    encoding = "utf-8" if stream is None else stream.encoding
    buffer = io.BufferedWriter(_Stream(descriptor, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=True)
