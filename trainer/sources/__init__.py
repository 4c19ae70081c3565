"""Playlists from files, one module for each format, each a stream: never the whole input in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.errors import BadInput
from trainer.progress import progress
from trainer.sources import mpd
from trainer.sources.records import Playlist, Slice, Track

__all__ = ["Playlist", "Slice", "Track", "read"]


def read(paths: Sequence[Path]) -> Iterator[Playlist]:
    """
    Stream the playlists of all *paths*, reporting progress.

    Raises:
        BadInput: one of them does not exist or cannot be read.
    """
    slices = [slice_ for path in paths for slice_ in _slices(path)]
    with progress(sum(slice_.size for slice_ in slices), "reading", "B", in_bytes=True) as bar:
        for slice_ in slices:
            yield from slice_.read()
            bar.update(slice_.size)


def _slices(path: Path) -> list[Slice]:
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    try:
        return mpd.slices(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
