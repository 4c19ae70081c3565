"""
The tracks and artists that the engine returns.

Both kinds go through the same methods; they differ in their fields alone. The JSON of an answer has the fields of the
class, in this order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

Kind = Literal["tracks", "artists"]
KINDS: tuple[Kind, ...] = get_args(Kind)


# Plain dataclasses: orjson takes ten times as long over dataclasses with slots.
@dataclass
class Artist:
    """The artist of a track."""

    id: str
    name: str


@dataclass
class ScoredTrack:
    """A track of an answer; *artist* is None if the data named none."""

    id: str
    name: str
    artist: Artist | None
    score: float


@dataclass
class ScoredArtist:
    """An artist of an answer."""

    id: str
    name: str
    score: float


@dataclass
class Track:
    """A track of the catalogue; *artist* is None if the data named none, *popularity* counts playlists."""

    id: str
    name: str
    artist: Artist | None
    popularity: int


@dataclass
class CountedArtist(Artist):
    """An artist of the catalogue; *popularity* counts playlists."""

    popularity: int
    artist: ClassVar[None] = None  # so that every item has an artist or None; it is no field and not in the JSON


Item = Track | CountedArtist
ITEMS: Mapping[Kind, type[Item]] = {"tracks": Track, "artists": CountedArtist}
ScoredItem = ScoredTrack | ScoredArtist
SCORED_ITEMS: Mapping[Kind, Callable[..., ScoredItem]] = {"tracks": ScoredTrack, "artists": ScoredArtist}
