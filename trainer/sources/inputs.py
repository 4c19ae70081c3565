"""The inputs of a run, and the knowledge that their files share."""

import os
from collections.abc import Sequence
from pathlib import Path

from trainer.config import ReadOptions
from trainer.sources.chunked_files import FilePath, ZipMember
from trainer.sources.columns import Columns
from trainer.sources.decisions import Alike
from trainer.sources.file_names import listener_of, without_suffixes
from trainer.sources.headers import NUMBERS

# Roles that are of no account for the decisions.
OF_NO_ACCOUNT = (*NUMBERS, "time")


class Inputs:
    """
    The inputs of a run.

    Attributes:
        options: the options that hold for all of them.
    """

    def __init__(self, options: ReadOptions, paths: Sequence[Path]) -> None:
        self.options = options
        self._folder = os.path.commonpath([_absolute(path) for path in paths]) if paths else ""
        self._archives: dict[str, set[str]] = {}
        self._alike: dict[frozenset[tuple[str, str]], Alike] = {}

    def place(self, file: str) -> str:
        """
        Return the path of *file* without suffixes, below the folder that all inputs have in common.

        It tells the files of a run apart, wherever the folder is. It is "" if the file is the only input.
        """
        below = os.path.relpath(_absolute(file), self._folder)
        return "" if below == "." else without_suffixes(below)

    def remarks_on_listener(self, path: FilePath) -> list[str]:
        """Return a remark if the listener of the file *path*, which names none, has other zip files before it."""
        listener = listener_of(str(path))
        archives = self._archives.setdefault(listener, set())
        archives.update([str(path.root.filename)] if isinstance(path, ZipMember) else [])
        if len(archives) < 2:
            return []
        return [f"several zip files are of one listener, {listener!r}. If they are of several, give each a folder"]

    def alike(self, columns: Columns) -> Alike:
        """Return the tables with the same columns of use as *columns*."""
        roles = frozenset((role, name) for role, name in columns.roles.items() if role not in OF_NO_ACCOUNT)
        return self._alike.setdefault(roles, Alike(columns))


def _absolute(path: str | Path) -> str:
    # `Path.resolve` would follow links, and a linked file keeps its own name; `Path.absolute` would keep `..`.
    return os.path.normpath(Path(path).absolute())
