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
Fields = Mapping[str, Any]


# Plain dataclasses: orjson takes ten times as long over dataclasses with slots.
@dataclass
class Artist:
    """The artist of a track."""

    id: str
    name: str


@dataclass
class Share:
    """The share of a track, an artist or a word of the title of the playlist in the score of an item."""

    share: float
    track: str | None = None
    artist: str | None = None
    title: str | None = None


@dataclass
class Reasons:
    """
    The reasons of an item of an answer.

    Attributes:
        solve: its score by the solve.
        shares: the twenty largest shares of the playlist in it, the largest first.
        rest: the sum of the others, so that all add up to it.
        because: the reasons in words, the strongest first.
    """

    solve: float
    shares: list[Share]
    rest: float
    because: list[str]

    def fields(self) -> Fields:
        """Return them as fields of JSON; a share has the one field that tells what it is of."""
        shares = [{name: value for name, value in vars(share).items() if value is not None} for share in self.shares]
        return {**vars(self), "shares": shares}


@dataclass
class ScoredTrack:
    """A track of an answer; *artist* is None if the data named none."""

    id: str
    name: str
    artist: Artist | None
    score: float
    reasons: Reasons | None = None
    attributes: Mapping[str, Any] | None = None


@dataclass
class ScoredArtist:
    """An artist of an answer."""

    id: str
    name: str
    score: float
    reasons: Reasons | None = None


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
Record = bytes | memoryview  # the JSON of an item without what differs by answer, as `records` describes it


class Items(Sequence[AnyItem], Generic[AnyItem]):
    """
    Items as the JSON that a client gets; Python objects are made of it when somebody asks for them.

    Attributes:
        json: a JSON array.
    """

    def __init__(self, json: bytes, make: Callable[..., AnyItem], length: int):
        self.json = json
        self._make, self._length = make, length

    @property
    def ids(self) -> list[str]:
        """The id of each item, for which no objects are made."""
        return [fields["id"] for fields in orjson.loads(self.json)]

    @cached_property
    def _made(self) -> list[AnyItem]:
        return [self._make(**_with_objects(fields)) for fields in orjson.loads(self.json)]

    @overload
    def __getitem__(self, index: int) -> AnyItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[AnyItem]: ...

    def __getitem__(self, index: int | slice) -> AnyItem | list[AnyItem]:
        return self._made[index]

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.json)

    def __repr__(self) -> str:
        return repr(self._made)


def scored_items(
    kind: Kind, records: Sequence[Record], scores: Sequence[float], more: Sequence[Fields] | None = None
) -> Items[ScoredItem]:
    """Return items of *kind* with these *records*, *scores* and *more* fields."""
    if more is not None:
        records = [
            b"".join((record, b",", orjson.dumps(fields)[1:-1])) for record, fields in zip(records, more, strict=True)
        ]
    return Items(_json(records, b"score", scores), ScoredTrack if kind == "tracks" else ScoredArtist, len(records))


def counted_items(kind: Kind, records: Sequence[Record], popularity: Sequence[int]) -> Items[Item]:
    """Return items of *kind* with these *records* and their *popularity*."""
    return Items(_json(records, b"popularity", popularity), Track if kind == "tracks" else CountedArtist, len(records))


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


def _with_objects(fields: dict[str, Any]) -> dict[str, Any]:
    artist, reasons = fields.get("artist"), fields.get("reasons")
    made: dict[str, Any] = {} if artist is None else {"artist": Artist(**artist)}
    if reasons is not None:
        made["reasons"] = Reasons(**{**reasons, "shares": [Share(**share) for share in reasons["shares"]]})
    return {**fields, **made}
