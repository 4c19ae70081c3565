"""What every source yields, whatever its format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Track(NamedTuple):
    """A track of a playlist; an artist without an id of its own has its name as its id, '' where there is none."""

    id: str
    name: str
    artist_id: str
    artist_name: str


class Playlist(NamedTuple):
    """A playlist: its id, its title ('' where it has none) and its tracks by position, which may repeat."""

    id: str
    title: str
    tracks: Sequence[Track]


@dataclass(frozen=True)
class Slice:
    """
    A piece of a source that is read at once.

    Attributes:
        name: where it lies, for a person.
        size: its size in bytes, as `read` will take them.
        read: reads its playlists.
    """

    name: str
    size: int
    read: Callable[[], Sequence[Playlist]]
