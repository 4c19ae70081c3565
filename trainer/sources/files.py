"""Files of an input: those of a directory and its linked directories, or the members of a zip file, each once."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath

from trainer.sources.chunked_files import FilePath, ZipMember, unpacking
from trainer.sources.source import NotData

IGNORED = re.compile(r"readme|licen[cs]e|[._]", re.IGNORECASE)  # these often lie beside data
OFFICE_MEMBERS = {"[Content_Types].xml", "mimetype", "Index/Document.iwa"}

Identity = tuple[int, int]


class Seen:
    """The files that a run found so far, so that each is read once, whatever the names and links that lead to it."""

    def __init__(self) -> None:
        self._paths: dict[Identity, Path] = {}

    def first(self, path: Path) -> Path | None:
        """Return the first path by which this file was found; None if this is the first."""
        found = self._paths.setdefault(_identity(path), path)
        return None if found is path else found


def directory_files(directory: Path) -> list[Path]:
    """
    Return the files in *directory* and below, also in linked directories, each directory once.

    Names that usually lie beside data are left out. The numbers in the names sort by value.

    Raises:
        OSError: a directory cannot be read.
    """
    return sorted(_walk(directory, {_identity(directory)}), key=_by_number)


def zip_files(path: Path) -> list[FilePath]:
    """
    Return the members of the zip file *path* without those that usually lie beside data.

    Raises:
        NotData: it is a document of an office program.
        BadInput: it is damaged.
    """
    with unpacking(str(path)), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if OFFICE_MEMBERS & set(names):
        raise NotData(f"cannot read {path}: it is a document of an office program. Save its table as CSV.")
    members = [ZipMember(archive, name) for name in names if not name.endswith("/") and not _is_ignored(name)]
    return sorted(members, key=_by_number)


def _walk(directory: Path, walked: set[Identity]) -> Iterator[Path]:
    for entry in directory.iterdir():
        if IGNORED.match(entry.name):
            continue
        if not entry.is_dir():
            yield entry
        elif _identity(entry) not in walked:  # a link may lead to a directory above
            walked.add(_identity(entry))
            yield from _walk(entry, walked)


def _identity(path: Path) -> Identity:
    status = path.stat()
    return status.st_dev, status.st_ino


def _by_number(path: FilePath) -> list[tuple[int, str]]:
    """Return a sort key by which slice 2000 comes before slice 10000."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _is_ignored(name: str) -> bool:
    return any(IGNORED.match(part) for part in PurePath(name).parts)
