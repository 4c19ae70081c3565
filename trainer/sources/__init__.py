"""
Readers of playlists and listening histories: one module for each format, each a stream.

The format is detected from the content, and from the file name only if that is inconclusive.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from trainer.errors import BadInput
from trainer.progress import progress, say
from trainer.sources import lastfm, mpd, table
from trainer.sources.chunked_files import BLOCK_BYTES, read_head
from trainer.sources.columns import check_roles
from trainer.sources.source import Interactions, NotData, Source, SourceArtist, SourcePlaylist, SourceTrack

__all__ = ["Interactions", "SourceArtist", "SourcePlaylist", "SourceTrack", "read"]

FORMATS = (
    "Supported are the Million Playlist Dataset (its zip, or slices like mpd.slice.0-999.json), "
    "Last.fm 360K, HetRec's Last.fm 2K, and tables of interactions: csv, tsv or txt with a header, jsonl or ndjson, "
    "each plain, gzip or Zstandard, and parquet."
)
IGNORED = re.compile(r"readme|licen[cs]e|[._]", re.IGNORECASE)  # these often lie beside data
MOST_NAMED = 20


class _UnknownFormat(NotData):
    pass


def read(
    paths: Sequence[Path], columns: Mapping[str, str] | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[SourcePlaylist | Interactions]:
    """
    Stream the content of all *paths* and report progress.

    Args:
        paths: files and directories, each of any format.
        columns: in tables, the column for a role (see `columns.NAMES`); other roles are found by name.
        block_bytes: about how many bytes of a table are read at once.

    Raises:
        BadInput: one of them does not exist or cannot be read.
    """
    check_roles(columns)
    sources = [source for path in paths for source in _find_sources(path, columns)]
    with progress(sum(source.size for source in sources), "reading", "B", in_bytes=True) as bar:
        for source in sources:
            left = source.size
            for item in _items(source, block_bytes):
                yield item
                if isinstance(item, Interactions):
                    step = min(item.size, left)
                    bar.update(step)
                    left -= step
            bar.update(left)
    for source in sources:  # not before the bar is closed
        for note in source.notes:
            say(f"{source.name}: {note}")


def _items(source: Source, block_bytes: int) -> Iterable[SourcePlaylist | Interactions]:
    try:
        yield from source.read(block_bytes)
    except OSError as error:
        raise BadInput(f"cannot read {source.name}: {error.strerror or error}.") from error


def _find_sources(path: Path, columns: Mapping[str, str] | None) -> list[Source]:
    if not path.exists():
        raise BadInput(f"cannot read {path}: it does not exist.")
    try:
        return _directory_sources(path, columns) if path.is_dir() else _file_sources(path, columns)
    except _UnknownFormat as error:
        raise BadInput(f"{error} {FORMATS}") from None
    except OSError as error:
        raise BadInput(f"cannot read {error.filename or path}: {error.strerror or error}.") from error


def _file_sources(path: Path, columns: Mapping[str, str] | None) -> list[Source]:
    """Return the sources in a file; raise NotData if it has none, BadInput if it is damaged or ambiguous."""
    head = read_head(path)
    found = lastfm.find_in_file(head) or table.find_tables(head, columns) or mpd.find_slices(head)
    if not found:
        raise _UnknownFormat(f"cannot read {path}: its format is unknown.")
    return found


def _directory_sources(path: Path, columns: Mapping[str, str] | None) -> list[Source]:
    """Return the sources in a directory, and report the files that are not data; raise NotData if none is."""
    found, passed = lastfm.find_in_directory(path), list[NotData]()
    for file in [] if found else _files(path):
        try:
            found += _file_sources(file, columns)
        except NotData as error:
            passed.append(error)
    if not found:
        # The error of a file in a known format helps more.
        nothing = _UnknownFormat(f"cannot read {path}: no file in it holds data.")
        raise min([*passed, nothing], key=lambda error: isinstance(error, _UnknownFormat))
    _report(passed, path)
    return found


def _report(passed: Sequence[NotData], path: Path) -> None:
    for error in passed[:MOST_NAMED]:
        say(f"passed over {str(error).removeprefix('cannot read ')}")
    if len(passed) > MOST_NAMED:
        say(f"passed over {len(passed) - MOST_NAMED:,} more files in {path} that hold no data")


def _files(path: Path) -> list[Path]:
    files = [file for file in path.rglob("*") if file.is_file()]
    data = [file for file in files if not any(IGNORED.match(part) for part in file.relative_to(path).parts)]
    return [Path(file) for file in mpd.slices_or_all(map(str, data))]
