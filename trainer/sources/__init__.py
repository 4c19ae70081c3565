"""
Readers of playlists and listening histories: one module for each format, each a stream.

The format is detected from the content, and from the file name only if that is inconclusive.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.config import DEFAULTS, ReadOptions
from trainer.errors import BadInput
from trainer.progress import progress, say
from trainer.sources.account import Account, Group, PassedOver, by_reason, check, group
from trainer.sources.chunked_files import BLOCK_BYTES
from trainer.sources.columns import check_roles
from trainer.sources.inputs import Inputs
from trainer.sources.names import artist_id, track_id
from trainer.sources.search import Search
from trainer.sources.source import Interactions, Source, SourceArtist, SourcePlaylist, SourceTrack

__all__ = [
    "Account",
    "Group",
    "Interactions",
    "PassedOver",
    "Reading",
    "SourceArtist",
    "SourcePlaylist",
    "SourceTrack",
    "artist_id",
    "read",
    "track_id",
]

MOST_NAMED = 20


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
    search = Search(Inputs(options, paths))
    inputs = [(str(path), search.find(path)) for path in paths]
    return Reading(inputs, by_reason(search.passed), options, block_bytes)


@dataclass
class Reading:
    """
    The content of all inputs: an iterable of playlists and batches of table rows, which reports progress.

    Attributes:
        inputs: the path and the sources of each input.
        passed: the files that are not read.
        options: the options that hold for all inputs.
        block_bytes: about how many bytes of a table are read at once.
        groups: how the inputs were understood, complete once all are read.

    Raises:
        BadInput: while it is read: an input cannot be read, or too many of its records are odd.
    """

    inputs: Sequence[tuple[str, Sequence[Source]]]
    passed: Sequence[PassedOver]
    options: ReadOptions
    block_bytes: int
    groups: list[Group] = field(default_factory=list)

    def __iter__(self) -> Iterator[SourcePlaylist | Interactions]:
        sources = [source for _, found in self.inputs for source in found]
        with progress(sum(source.size for source in sources), "reading", "B", in_bytes=True) as bar:
            for source in sources:
                yield from _advancing(_items(source, self.block_bytes), source.size, bar.update)
        self._account()  # not before the bar is closed

    def _account(self) -> None:
        inputs = [
            (path, group(path, [(source.name, source.account) for source in found])) for path, found in self.inputs
        ]
        self.groups += [understood for _, groups in inputs for understood in groups]
        say("\n".join([*self._group_lines(), *self._passed_lines()]))
        for path, groups in inputs:
            check(path, groups, self.options.max_odd)

    def _group_lines(self) -> Iterator[str]:
        for understood in self.groups[:MOST_NAMED]:
            yield from understood.lines()
        more = self.groups[MOST_NAMED:]
        if more:
            yield f"{len(more):,} more kinds of input are in the manifest and the report"

    def _passed_lines(self) -> Iterator[str]:
        yield from map(str, self.passed[:MOST_NAMED])
        more = sum(one.files for one in self.passed[MOST_NAMED:])
        if more:
            yield f"passed over {more:,} more files that hold no data"


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
    except MemoryError as error:
        raise BadInput(f"cannot read {source.name}: the memory is too small for it. Split it into files.") from error
