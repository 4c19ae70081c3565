"""
Playlists from files, one module for each format, each a stream: never the whole input in memory.

What a file is, its content says; its name is asked only where that says nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from trainer.errors import BadInput
from trainer.progress import progress, say
from trainer.sources import lastfm, mpd, table
from trainer.sources.blocks import ZIP_MAGIC, head
from trainer.sources.records import Artist, Interactions, Playlist, Slice, Track
from trainer.sources.roles import check_roles

__all__ = ["Artist", "Interactions", "Playlist", "Slice", "Track", "read"]

UNDERSTOOD = (
    "what is understood: the Million Playlist Dataset (its zip, a directory of slices like mpd.slice.0-999.json, or a "
    "slice), Last.fm 360K, HetRec's Last.fm 2K, and tables of interactions with a header (csv, tsv, txt, jsonl, "
    "ndjson, gzipped or not, or parquet)"
)


def read(paths: Sequence[Path], columns: Mapping[str, str] | None = None) -> Iterator[Playlist | Interactions]:
    """
    Stream the content of all *paths*, reporting progress.

    Args:
        paths: files and directories, each of any format.
        columns: in tables, the column for a role (see `roles.NAMES`); roles that are left out are found by name.

    Raises:
        BadInput: one of them does not exist or cannot be read.
    """
    check_roles(columns)
    slices = [slice_ for path in paths for slice_ in _slices(path, columns)]
    with progress(sum(slice_.size for slice_ in slices), "reading", "B", in_bytes=True) as bar:
        for slice_ in slices:
            left = slice_.size
            for item in _items(slice_):
                yield item
                if isinstance(item, Interactions):
                    step = min(item.size, left)
                    bar.update(step)
                    left -= step
            bar.update(left)
    for slice_ in slices:  # not while the bar stands in the line
        for note in slice_.notes:
            say(f"{slice_.name}: {note}")


def _slices(path: Path, columns: Mapping[str, str] | None) -> list[Slice]:
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    try:
        found = lastfm.slices(path) or table.slices(path, columns)
        if not found and not _may_be_slices(path):
            raise BadInput(f"{path} is of no format that is understood; {UNDERSTOOD}")
        return found or mpd.slices(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error


def _may_be_slices(path: Path) -> bool:
    """Whether *path* is, by its name or its first byte, what the Million Playlist Dataset comes in."""
    if path.is_dir():
        return any(file.name.lower().endswith(mpd.SUFFIXES) for file in path.rglob("*"))
    named = path.name.lower().endswith((*mpd.SUFFIXES, ".zip"))
    return named or head(path).lstrip().startswith((b"{", b"[", ZIP_MAGIC))


def _items(slice_: Slice) -> Iterable[Playlist | Interactions]:
    try:
        yield from slice_.read()
    except OSError as error:
        raise BadInput(f"{slice_.name} cannot be read: {error.strerror or error}") from error
