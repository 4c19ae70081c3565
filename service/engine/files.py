"""Readers and writers whose errors name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.errors import CorruptModel, ModelError
from service.files import check_kind, describe_trouble


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add *path* to errors of the system; the errors of a write or of fsync do not name the file."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """
    Raise the errors of the system as errors of the model: which file, the reason and the remedy.

    Raises:
        CorruptModel: *path* is no regular file, or an error of the system, which is then its cause, occurs inside.
    """
    try:
        check_file(path, CorruptModel, "train or publish again")
        yield
    except OSError as error:
        raise CorruptModel(describe_trouble(path, error)) from error


def check_file(path: Path, refusal: type[ModelError], remedy: str) -> None:
    """
    Raise *refusal* if *path* is something else than a regular file: a named pipe, for example, waits for a writer.

    Raises:
        ModelError: the *refusal*, with the *remedy*.
        OSError: the system does not tell.
    """
    try:
        check_kind(path)
    except ValueError as error:
        raise refusal(f"{path} cannot be used: {error}; {remedy}") from None


def write_text(path: Path, text: str) -> None:
    """Write *text* as UTF-8; half a character, or a byte of a path that is not UTF-8, is written as JSON escapes it."""
    with naming(path):
        path.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write *array* as `np.save` does, but raise if the disk is full: numpy drops its last buffer silently."""
    array = np.ascontiguousarray(array)
    with naming(path), path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
