"""Files of an input: those of a directory and its linked directories, or the members of a zip file, each once."""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath

from trainer.sources.chunked_files import FilePath, Head, ZipMember, digest, unpacking
from trainer.sources.source import NotData

# Files and folders of systems and of programs that write data.
IGNORED = re.compile(
    r"\..*|__MACOSX|thumbs\.db|desktop\.ini"
    r"|_(SUCCESS|(started|committed)_.*|temporary|(common_|spark_)?metadata|delta_log)",
    re.IGNORECASE,
)
OFFICE_MEMBERS = {"[Content_Types].xml", "mimetype", "Index/Document.iwa"}

Identity = tuple[int, int]


class Seen:
    """The files that a run found so far, so that each is read once, whatever its names, links, copies and packings."""

    def __init__(self) -> None:
        self._paths: dict[Identity, Path] = {}
        self._by_head: dict[tuple[bytes, str], list[FilePath]] = {}

    def first(self, path: Path) -> Path | None:
        """Return the first path by which this file was found; None if this is the first."""
        found = self._paths.setdefault(_identity(path), path)
        return None if found is path else found

    def same(self, head: Head, title: str) -> FilePath | None:
        """Return the first file with the content that begins with *head*, and with *title*; None if this is it."""
        alike = self._by_head.setdefault((hashlib.blake2b(head.text).digest(), title), [])
        if alike and (head.is_whole or digest(head.path) in map(digest, alike)):
            return alike[0]
        alike.append(head.path)
        return None


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
        infos = archive.infolist()
    if OFFICE_MEMBERS & {info.filename for info in infos}:
        raise NotData(f"cannot read {path}: it is a document of an office program. Save its table as CSV.")
    kept = [info for info in infos if not info.is_dir() and not _is_ignored(info.filename)]
    return sorted((ZipMember(archive, info.filename, info) for info in kept), key=_by_number)


def _walk(directory: Path, walked: set[Identity]) -> Iterator[Path]:
    for entry in directory.iterdir():
        if IGNORED.fullmatch(entry.name):
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
    return any(IGNORED.fullmatch(part) for part in PurePath(name).parts)
