"""Requests and responses; their texts and examples are the API reference."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    Tag,
    create_model,
    field_validator,
    model_validator,
)

from service.engine import Kind
from service.settings import Settings

MOST_PLAYS = 1_000_000_000
MOST_FIELDS = 10

KIND = "What is wanted: `tracks`, or `artists`. Tracks unless told otherwise, where the catalogue has any."


def _whole(value: Any) -> Any:
    """As JSON Schema has it: 3.0 is an integer, and true is none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ArtistPlays(BaseModel):
    """An artist, and how often it was played."""

    model_config = ConfigDict(extra="forbid")

    artist: StrictStr = Field(description="Id or name.")
    count: StrictInt = Field(ge=1, le=MOST_PLAYS, description="Plays.")

    _count_is_whole = field_validator("count", mode="before")(_whole)


def _form(mention: Any) -> str | None:
    """Which of the two forms of *mention* is meant; None where it is neither."""
    if isinstance(mention, str):
        return "name"
    # One of many fields is neither: to name each fault of it would keep the worker busy.
    few = isinstance(mention, dict) and len(mention) <= MOST_FIELDS
    return "plays" if few or isinstance(mention, ArtistPlays) else None


# Told apart before they are validated, so that what is wrong with one is said of its own form alone.
Mention = Annotated[
    Annotated[StrictStr, Tag("name")] | Annotated[ArtistPlays, Tag("plays")],
    Discriminator(
        _form,
        custom_error_type="mention",
        custom_error_message='should be an id, a name, or {"artist": id or name, "count": plays}',
    ),
]


class RecommendRequest(BaseModel):
    """
    A playlist, or a listener, to continue.

    All fields are optional; with nothing that is known, the answer is what is popular.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"title": "late night jazz", "k": 10}]})

    # A list of a million faults is left at its first.
    tracks: list[StrictStr] = Field([], fail_fast=True, description="Ids of the tracks that it holds.")
    artists: list[Mention] = Field(
        [],
        fail_fast=True,
        description=(
            "Artists that it names beside its tracks, each an id, a name, or either with a count of plays. Without a "
            "count it counts as in the training data: 1 in playlists, the median in what people listened to."
        ),
    )
    title: StrictStr = Field("", description="Its title.")
    k: StrictInt = Field(100, ge=1, description="How many are wanted.")
    kind: Kind | None = Field(None, description=KIND)
    exclude: list[StrictStr] = Field(
        [],
        fail_fast=True,
        description="What must not be recommended: ids of tracks, or ids or names of artists where those are wanted.",
    )

    _k_is_whole = field_validator("k", mode="before")(_whole)


class SimilarQuery(BaseModel):
    """Tracks or artists, one or several, whose neighbours are wanted: of all of them together."""

    model_config = ConfigDict(extra="forbid")

    track: list[str] = Field([], description="Id of a track; may repeat.")
    artist: list[str] = Field([], description="Id or name of an artist; may repeat.")
    k: int = Field(20, ge=1, description="How many are wanted.")

    @model_validator(mode="after")
    def _names_one_kind(self) -> Self:
        if bool(self.track) == bool(self.artist):
            raise ValueError("give one or more of track, or one or more of artist, and not both")
        return self


class SearchQuery(BaseModel):
    """Words of a track's name and artist, or of an artist's name."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(
        min_length=1,
        description="Words of the name and the artist; the last may be unfinished, from three characters on.",
    )
    k: int = Field(20, ge=1, description="How many are wanted at most.")
    kind: Kind | None = Field(None, description=KIND)


Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True)
class Schemas:
    """What requests have to be, within the limits of one service."""

    recommend: type[RecommendRequest]
    similar: type[SimilarQuery]
    search: type[SearchQuery]

    @classmethod
    def within(cls, settings: Settings) -> Self:
        """The schemas with the limits of *settings*."""
        tracks, artists = settings.max_tracks, settings.max_artists
        limits = {"tracks": tracks, "artists": artists, "exclude": settings.max_exclude, "title": settings.max_title}
        return cls(
            _bound(RecommendRequest, {**limits, "k": settings.max_k}),
            _bound(SimilarQuery, {"track": tracks, "artist": artists, "k": settings.max_k}),
            _bound(SearchQuery, {"q": settings.max_title, "k": settings.max_k}),
        )


def _bound(schema: type[Schema], limits: Mapping[str, int]) -> type[Schema]:
    """*schema* with the most that each field of *limits* may be: a number, or the length of a text or list."""
    fields: dict[str, Any] = {}
    for name, most in limits.items():
        field = deepcopy(schema.model_fields[name])
        limit = Field(le=most) if field.annotation is int else Field(max_length=most)
        fields[name] = (Annotated[field.rebuild_annotation(), limit], field)
    return create_model(schema.__name__, __base__=schema, __doc__=schema.__doc__, **fields)


class ArtistAnswer(BaseModel):
    id: str
    name: str


class TrackAnswer(BaseModel):
    id: str
    name: str
    artist: ArtistAnswer | None


class ScoredTrackAnswer(TrackAnswer):
    score: float = Field(description="Inner product for `fold-in`, playlists for `popular`, cosine for neighbours.")


class ScoredArtistAnswer(ArtistAnswer):
    score: float = Field(description="Inner product for `fold-in`, playlists for `popular`, cosine for neighbours.")


class FoundTrackAnswer(TrackAnswer):
    popularity: int = Field(description="In how many playlists of the training data it is.")


class FoundArtistAnswer(ArtistAnswer):
    popularity: int = Field(description="In how many playlists of the training data it is.")


class UnknownAnswer(BaseModel):
    tracks: list[str]
    artists: list[str]
    title: bool = Field(description="Whether a title was given of which no word is known.")


class ContinuationAnswer(BaseModel):
    model: str = Field(description="The version of the model that answered.")
    strategy: Literal["fold-in", "popular"] = Field(
        description="`fold-in` where anything of the playlist is known, else `popular`."
    )
    unknown: UnknownAnswer = Field(description="What the catalogue does not know of the playlist.")


class RecommendTracksResponse(ContinuationAnswer):
    tracks: list[ScoredTrackAnswer] = Field(description="Best first; none a seed or excluded, none twice.")


class RecommendArtistsResponse(ContinuationAnswer):
    artists: list[ScoredArtistAnswer] = Field(
        description="Best first; none named by the playlist or on one of its tracks, none excluded, none twice."
    )


class SimilarTracksResponse(BaseModel):
    model: str
    tracks: list[ScoredTrackAnswer]


class SimilarArtistsResponse(BaseModel):
    model: str
    artists: list[ScoredArtistAnswer]


class SearchTracksResponse(BaseModel):
    model: str
    tracks: list[FoundTrackAnswer] = Field(description="The most popular first.")


class SearchArtistsResponse(BaseModel):
    model: str
    artists: list[FoundArtistAnswer] = Field(description="The most popular first.")


class LiveResponse(BaseModel):
    status: Literal["live"]


class ReadyResponse(BaseModel):
    status: Literal["ready", "degraded"] = Field(
        description="`degraded` where something newer was refused, and what was there before serves on."
    )
    model: str
    reason: str | None = Field(None, description="Why it is degraded.")


class WorkerStanding(BaseModel):
    pid: int
    status: Literal["ready", "degraded", "unready", "stopping"]
    model: str | None


class ReloadResponse(BaseModel):
    status: Literal["ready", "degraded", "unready", "stopping"]
    model: str | None
    reason: str | None
    workers: list[WorkerStanding] = Field(description="How each worker stands after it looked.")


class FieldFault(BaseModel):
    """One fault of a request."""

    field: str = Field(description="Where it lies, such as `body.tracks.3` or `query.k`.")
    reason: str


class Problem(BaseModel):
    """Every error, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": HTTPStatus.UNPROCESSABLE_ENTITY.phrase,
                    "status": 422,
                    "detail": "body.k: Input should be less than or equal to 500",
                    "errors": [{"field": "body.k", "reason": "Input should be less than or equal to 500"}],
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="What was expected, what came and what to do.")
    errors: list[FieldFault] = Field([], description="The faults of the request one by one.")


RECOMMEND_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RecommendRequest"}}},
}
PROBLEM_CONTENT: dict[str, Any] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
