"""The search for sources in files, directories and zip files."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainer.errors import BadInput
from trainer.sources import lastfm, listens, mpd, playlist_files, spotify_export, table
from trainer.sources.account import PassedOver
from trainer.sources.chunked_files import ZIP_MAGIC, FilePath, Head, read_head
from trainer.sources.file_names import stem_of
from trainer.sources.files import Seen, directory_files, zip_files
from trainer.sources.foreign import refuse_foreign
from trainer.sources.inputs import Inputs
from trainer.sources.source import NotData, Source

FORMATS = (
    "Supported are the Million Playlist Dataset (its zip, or slices like mpd.slice.0-999.json), "
    "Last.fm 360K, HetRec's Last.fm 2K, Spotify's account data and streaming history, listens of ListenBrainz, "
    "playlist files (m3u, pls, xspf, jspf), iTunes' Library.xml, and "
    "tables of interactions: csv, tsv or txt with a header, jsonl or ndjson, "
    "parquet; each plain, packed with gzip, Zstandard, xz or bzip2, or in a zip file."
)
DESCRIPTION = re.compile(r"(readme|licen[cs]e|copying|changelog)(\.(txt|md|rst|html?|pdf))?", re.IGNORECASE)
NO_FILE = "it is a link to a missing file, or no regular file."


class UnknownFormat(NotData):
    """The format of the file is unknown."""


class Search:
    """
    The search for the sources of all inputs. It finds each file once.

    Attributes:
        passed: the files that hold no data, or were found before.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.passed: list[PassedOver] = []
        self._inputs = inputs
        self._seen = Seen()

    def find(self, path: Path) -> list[Source]:
        """
        Return the sources in an input; none if all were found before.

        Raises:
            BadInput: it does not exist, cannot be read or holds no data.
        """
        if not path.exists():
            raise BadInput(f"cannot read {path}: it does not exist.")
        try:
            return self._in_directory(path) if path.is_dir() else self._in_input(path)
        except UnknownFormat as error:
            raise BadInput(f"{error} {FORMATS}") from None
        except OSError as error:
            raise BadInput(f"cannot read {error.filename or path}: {error.strerror or error}.") from error

    def _in_input(self, path: Path) -> list[Source]:
        if not path.is_file():
            raise BadInput(f"cannot read {path}: it is not a regular file. Write the data to a file first.")
        return self._in_file(path) if self._is_new(path) else []

    def _in_directory(self, path: Path) -> list[Source]:
        files = directory_files(path)
        regular = [file for file in files if file.is_file()]
        self.passed += [PassedOver(str(file), NO_FILE) for file in files if not file.is_file()]
        new = [file for file in regular if self._is_new(file)]
        return self._among(new, path) if new or not regular else []

    def _in_file(self, path: FilePath) -> list[Source]:
        """Return the sources in a file; raise NotData if it has none, BadInput if it is damaged or ambiguous."""
        if DESCRIPTION.fullmatch(path.name):
            raise UnknownFormat(f"cannot read {path}: it is a description by its name. Rename it if it holds data.")
        head = read_head(path)
        refuse_foreign(head)
        if head.raw.startswith(ZIP_MAGIC) or path.suffix.lower() == ".zip":
            return self._in_zip(path)
        found = _recognised(head, self._inputs)
        if not found:
            raise UnknownFormat(f"cannot read {path}: its format is unknown.")
        return [] if self._is_copy(head, found) else found

    def _in_zip(self, path: FilePath) -> list[Source]:
        if not isinstance(path, Path):
            raise NotData(f"cannot read {path}: it is a zip file in a zip file. Unpack it into a directory.")
        return self._among(zip_files(path), path)

    def _among(self, files: Sequence[FilePath], owner: Path) -> list[Source]:
        """Return the sources in the *files* of a directory or zip file; raise NotData if there are none."""
        collection = lastfm.find_collection(files, self._inputs)
        if collection:
            self._leave([file for file in files if file.name not in lastfm.NAMES], "a collection of Last.fm")
            return collection
        slices = [file for file in files if mpd.is_slice(file)]
        if slices:
            # A challenge set, or its answers, may lie there; nothing may be learned from them.
            self._leave([file for file in files if not mpd.is_slice(file)], "slices of the Million Playlist Dataset")
        return self._each(slices or files, owner)

    def _each(self, files: Sequence[FilePath], owner: Path) -> list[Source]:
        found, errors = list[Source](), dict[str, NotData]()
        for file in files:
            try:
                found += self._in_file(file)
            except NotData as error:
                errors[str(file)] = error
        if len(errors) == len(files):
            # The error of a file in a known format helps more.
            nothing = UnknownFormat(f"cannot read {owner}: no file in it holds data.")
            several = [nothing] if len(errors) != 1 else []
            raise min([*several, *errors.values()], key=lambda error: isinstance(error, UnknownFormat))
        self.passed += [PassedOver(file, _reason(file, error)) for file, error in errors.items()]
        return found

    def _leave(self, files: Sequence[FilePath], beside: str) -> None:
        self.passed += [PassedOver(str(file), f"it lies beside {beside}, read alone.") for file in files]

    def _is_copy(self, head: Head, sources: Sequence[Source]) -> bool:
        title = stem_of(head.path.name) if any(source.is_playlist for source in sources) else ""
        first = self._seen.same(head, title)
        if first is not None:
            beside = str(first.parent) == str(head.path.parent)
            where = str(first) if beside else f"a file in {first.parent}"
            self.passed.append(PassedOver(str(head.path), f"it has the same content as {where}, which is read once."))
        return first is not None

    def _is_new(self, path: Path) -> bool:
        first = self._seen.first(path)
        if first is not None:
            self.passed.append(PassedOver(str(path), f"it is the same file as {first}, which is read once."))
        return first is None


def _recognised(head: Head, inputs: Inputs) -> list[Source]:
    return (
        listens.find_listens(head, inputs)
        or spotify_export.find_export(head, inputs)
        or playlist_files.find_playlist_files(head, inputs)
        or lastfm.find_in_file(head, inputs)
        or table.find_tables(head, inputs)
        or mpd.find_slices(head)
    )


def _reason(file: str, error: NotData) -> str:
    return str(error).removeprefix("cannot read ").removeprefix(f"{file}: ")
