"""Files written so that what fails is told: which file, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system name *path*: those of a write or of a synchronisation name no file by themselves."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write *text* as UTF-8."""
    with naming(path):
        path.write_text(text, encoding="utf-8")


def write_array(path: Path, array: NDArray[Any]) -> None:
    """`np.save`, but a full disk is told: numpy drops what its last buffer holds without a word."""
    array = np.ascontiguousarray(array)
    with naming(path), path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
