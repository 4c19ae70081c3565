"""
The tracks and artists that the engine returns.

Both kinds go through the same methods; they differ in their fields alone. The JSON of an answer has the fields of the
class, in this order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, overload

import orjson

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
ScoredItem = ScoredTrack | ScoredArtist
AnyItem = TypeVar("AnyItem", covariant=True)
Fields = Mapping[str, Any]
Record = bytes | memoryview  # the JSON of an item without what differs by answer, as `records` describes it


class Items(Sequence[AnyItem], Generic[AnyItem]):
    """
    Items as the JSON that a client gets; Python objects are made of it when somebody asks for them.

    Attributes:
        json: a JSON array.
    """

    def __init__(self, json: bytes, make: Callable[..., AnyItem]):
        self.json = json
        self._make = make

    @property
    def ids(self) -> list[str]:
        """The id of each item, for which no objects are made."""
        return [fields["id"] for fields in orjson.loads(self.json)]

    @cached_property
    def _made(self) -> list[AnyItem]:
        return [self._make(**_with_artist(fields)) for fields in orjson.loads(self.json)]

    @overload
    def __getitem__(self, index: int) -> AnyItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[AnyItem]: ...

    def __getitem__(self, index: int | slice) -> AnyItem | list[AnyItem]:
        return self._made[index]

    def __len__(self) -> int:
        return len(self._made)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.json)

    def __repr__(self) -> str:
        return repr(self._made)


def scored_items(kind: Kind, records: Sequence[Record], scores: Sequence[float]) -> Items[ScoredItem]:
    """Return items of *kind* with these *records* and *scores*."""
    return Items(_json(records, b"score", scores), ScoredTrack if kind == "tracks" else ScoredArtist)


def counted_items(kind: Kind, records: Sequence[Record], popularity: Sequence[int]) -> Items[Item]:
    """Return items of *kind* with these *records* and their *popularity*."""
    return Items(_json(records, b"popularity", popularity), Track if kind == "tracks" else CountedArtist)


def item_fields(kind: Kind, id_: str, name: str, artist: str | None = None, artist_name: str | None = None) -> Fields:
    """Return the fields of an item that are the same in every answer."""
    if kind == "artists":
        return {"id": id_, "name": name}
    return {"id": id_, "name": name, "artist": None if artist is None else {"id": artist, "name": artist_name}}


def _json(records: Sequence[Record], field: bytes, values: Sequence[float]) -> bytes:
    if not records:
        return b"[]"
    numbers = orjson.dumps(values)[1:-1].split(b",")
    each = b'%b,"' + field + b'":%b'
    return b"[{" + b"},{".join(map(each.__mod__, zip(records, numbers, strict=True))) + b"}]"


def _with_artist(fields: dict[str, Any]) -> dict[str, Any]:
    artist = fields.get("artist")
    return fields if artist is None else {**fields, "artist": Artist(**artist)}
