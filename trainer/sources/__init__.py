"""
Readers of playlists and listening histories: one module for each format, each a stream.

The format is detected from the content, and from the file name only if that is inconclusive.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.config import DEFAULTS, ReadOptions
from trainer.errors import BadInput
from trainer.progress import progress, say
from trainer.sources import lastfm, listens, mpd, playlist_files, spotify_export, table
from trainer.sources.account import Account, Group, group
from trainer.sources.chunked_files import BLOCK_BYTES, read_head
from trainer.sources.columns import check_roles
from trainer.sources.source import (
    Interactions,
    NotData,
    Source,
    SourceArtist,
    SourcePlaylist,
    SourceTrack,
)

__all__ = [
    "Account",
    "Group",
    "Interactions",
    "Reading",
    "SourceArtist",
    "SourcePlaylist",
    "SourceTrack",
    "read",
]

FORMATS = (
    "Supported are the Million Playlist Dataset (its zip, or slices like mpd.slice.0-999.json), "
    "Last.fm 360K, HetRec's Last.fm 2K, and tables of interactions: csv, tsv or txt with a header, jsonl or ndjson, "
    "each plain, gzip or Zstandard, and parquet."
)
IGNORED = re.compile(r"readme|licen[cs]e|[._]", re.IGNORECASE)  # these often lie beside data
MOST_NAMED = 20


class _UnknownFormat(NotData):
    pass


def read(paths: Sequence[Path], options: ReadOptions = DEFAULTS, block_bytes: int = BLOCK_BYTES) -> "Reading":
    """
    Find the data in *paths*: files and directories, each of any format.

    Args:
        paths: the inputs.
        options: the options that hold for all of them.
        block_bytes: about how many bytes of a table are read at once.

    Raises:
        BadInput: one of them does not exist or cannot be read.
    """
    check_roles(options.columns)
    sources = {str(path): _find_sources(path, options) for path in paths}
    return Reading(sources, options, block_bytes)


@dataclass
class Reading:
    """
    The content of all inputs: an iterable of playlists and batches of table rows, which reports progress.

    Attributes:
        sources: the sources of each input.
        options: the options that hold for all inputs.
        block_bytes: about how many bytes of a table are read at once.
        groups: how each input was understood, complete once all are read.

    Raises:
        BadInput: while it is read: an input cannot be read, or too many of its records are odd.
    """

    sources: Mapping[str, Sequence[Source]]
    options: ReadOptions
    block_bytes: int
    groups: list[Group] = field(default_factory=list)

    def __iter__(self) -> Iterator[SourcePlaylist | Interactions]:
        every = [source for found in self.sources.values() for source in found]
        with progress(sum(source.size for source in every), "reading", "B", in_bytes=True) as bar:
            for source in every:
                yield from _advancing(_items(source, self.block_bytes), source.size, bar.update)
        self._account()  # not before the bar is closed

    def _account(self) -> None:
        for path, found in self.sources.items():
            self.groups += group(path, [(source.name, source.account) for source in found])
        for understood in self.groups:
            say("\n".join(understood.lines()))
        for understood in self.groups:
            understood.check(self.options.max_odd)


def _advancing(
    items: Iterable[SourcePlaylist | Interactions], size: int, advance: Callable[[int], Any]
) -> Iterator[SourcePlaylist | Interactions]:
    """Yield *items*, and *advance* by the bytes that each took, *size* in total."""
    left = size
    for item in items:
        yield item
        step = min(item.size, left) if isinstance(item, Interactions) else 0
        advance(step)
        left -= step
    advance(left)


def _items(source: Source, block_bytes: int) -> Iterable[SourcePlaylist | Interactions]:
    try:
        yield from source.read(block_bytes)
    except OSError as error:
        raise BadInput(f"cannot read {source.name}: {error.strerror or error}.") from error


def _find_sources(path: Path, options: ReadOptions) -> list[Source]:
    if not path.exists():
        raise BadInput(f"cannot read {path}: it does not exist.")
    try:
        return _directory_sources(path, options) if path.is_dir() else _file_sources(path, options)
    except _UnknownFormat as error:
        raise BadInput(f"{error} {FORMATS}") from None
    except OSError as error:
        raise BadInput(f"cannot read {error.filename or path}: {error.strerror or error}.") from error


def _file_sources(path: Path, options: ReadOptions) -> list[Source]:
    """Return the sources in a file; raise NotData if it has none, BadInput if it is damaged or ambiguous."""
    head = read_head(path)
    found = (
        listens.find_listens(head, options.min_played_s)
        or spotify_export.find_export(head)
        or playlist_files.find_playlist_files(head)
        or lastfm.find_in_file(head)
        or table.find_tables(head, options.columns)
        or mpd.find_slices(head)
    )
    if not found:
        raise _UnknownFormat(f"cannot read {path}: its format is unknown.")
    return found


def _directory_sources(path: Path, options: ReadOptions) -> list[Source]:
    """Return the sources in a directory, and report the files that are not data; raise NotData if none is."""
    found, passed = lastfm.find_in_directory(path), list[NotData]()
    for file in [] if found else _files(path):
        try:
            found += _file_sources(file, options)
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
