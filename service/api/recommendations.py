"""`POST /recommend` and `GET /similar`."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)

from service.api.problems import DENIED, INVALID, REFUSED, UNREADABLE, responses
from service.api.requests import CONTEXT
from service.api.routing import KIND, Answer, Engine, JSONRoute, StrictRequest, bounded, state_of
from service.engine import (
    KINDS,
    CountedArtist,
    Kind,
    Options,
    Playlist,
    Plays,
    ScoredArtist,
    ScoredTrack,
    Track,
    Unknown,
)
from service.settings import Settings
from service.telemetry.metrics import SEEDS

MAX_PLAYS = 1_000_000_000
TRACK = "an id, `ARTIST - NAME`, or `name:NAME`"
ARTIST = "an id, a name, or `name:NAME`, which is never an id"


def _whole(value: Any) -> Any:
    """Accept 3.0 as an integer, as JSON Schema does. `true` is not one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ArtistPlays(StrictRequest):
    """An artist with a count of plays."""

    artist: StrictStr = Field(description=f"The artist: {ARTIST}.")
    count: StrictInt = Field(ge=1, le=MAX_PLAYS, description="Plays.")

    _count_is_whole = field_validator("count", mode="before")(_whole)


def _form(mention: Any) -> str | None:
    if isinstance(mention, str):
        return "name"
    return "plays" if isinstance(mention, dict | ArtistPlays) else None


# Told apart before validation, so that a fault is reported for the form that was meant.
Mention = Annotated[
    Annotated[StrictStr, Tag("name")] | Annotated[ArtistPlays, Tag("plays")],
    Discriminator(
        _form,
        custom_error_type="mention",
        custom_error_message='should be an id, a name, or {"artist": id or name, "count": plays}',
    ),
]


class RecommendRequest(StrictRequest):
    """
    A playlist, or a listener, to continue.

    All fields are optional. If nothing in them is known, the answer is the most popular items.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "late night jazz", "k": 10}]})

    # Validation of a list stops at its first fault: there may be a million.
    tracks: list[StrictStr] = Field([], fail_fast=True, description=f"Its tracks: {TRACK}.")
    artists: list[Mention] = Field(
        [],
        fail_fast=True,
        description=(
            f"Artists beside those of its tracks: {ARTIST}; each may have a count of plays. The default count is that "
            "of the training data: 1 for playlists, the median for listening counts."
        ),
    )
    title: StrictStr = Field("", description="Its title.")
    k: StrictInt = Field(100, ge=1, description="Number of recommendations.")
    kind: Kind | None = Field(None, description=KIND)
    rank: StrictBool = Field(True, description="Order by the ranker, if the model has one; otherwise by the solve.")
    exclude: list[StrictStr] = Field(
        [], fail_fast=True, description="Tracks, or artists, not to recommend: ids or names, as for seeds."
    )

    _k_is_whole = field_validator("k", mode="before")(_whole)

    def playlist(self) -> Playlist:
        """Return the playlist as the engine takes it."""
        artists = [Plays(each.artist, each.count) if isinstance(each, ArtistPlays) else each for each in self.artists]
        return Playlist(self.tracks, artists, self.title, self.exclude)

    def count_seeds(self, unknown: Unknown) -> None:
        """Count the seeds by whether the catalogue knows them."""
        names = {each.artist if isinstance(each, ArtistPlays) else each for each in self.artists}
        for kind, n, n_unknown in (
            ("tracks", len(set(self.tracks)), len(unknown.tracks)),
            ("artists", len(names), len(unknown.artists)),
            ("title", int(bool(self.title)), int(unknown.title)),
        ):
            if n:
                SEEDS.labels(kind, "true").inc(n - n_unknown)
                SEEDS.labels(kind, "false").inc(n_unknown)


class SimilarQuery(StrictRequest):
    """Tracks or artists whose common neighbours are wanted."""

    track: list[str] = Field([], description=f"A track: {TRACK}; may repeat.")
    artist: list[str] = Field([], description=f"An artist: {ARTIST}; may repeat.")
    k: int = Field(20, ge=1, description="Number of neighbours.")

    @model_validator(mode="after")
    def _names_one_kind(self) -> Self:
        if bool(self.track) == bool(self.artist):
            raise ValueError("give one or more of track, or one or more of artist, and not both")
        return self


class KnownSeeds(BaseModel):
    """The tracks and artists of the catalogue that the ids and names of a request mean."""

    tracks: list[Track] = []
    artists: list[CountedArtist] = []


class RecommendResponse(BaseModel):
    """The continuation of a playlist, with `tracks` or `artists`."""

    model: str = Field(description="Version of the model that answered.")
    strategy: Literal["ranked", "fold-in", "popular"] = Field(
        description="`popular` if nothing in the playlist is known; otherwise `ranked` or `fold-in`, as the ranker or "
        "the solve ordered the answer."
    )
    seeds: KnownSeeds
    unknown: Unknown
    tracks: list[ScoredTrack] = Field([], description="Best first, without seeds, exclusions and repetitions.")
    artists: list[ScoredArtist] = Field([], description="Likewise, and without the artists of the playlist's tracks.")


class SimilarResponse(BaseModel):
    """The neighbours of tracks or artists, the nearest first. The score is the cosine."""

    model: str
    seeds: KnownSeeds
    tracks: list[ScoredTrack] = []
    artists: list[ScoredArtist] = []


def recommendation_routes(settings: Settings) -> APIRouter:
    """Return the routes, with requests that are bounded by *settings*."""
    router = APIRouter(route_class=JSONRoute, tags=["recommendations"])
    seeds = {"tracks": settings.max_tracks, "artists": settings.max_artists}
    texts = {"exclude": settings.max_exclude, "title": settings.max_title, "k": settings.max_k}
    request_schema: Any = bounded(RecommendRequest, seeds | texts)
    query_schema: Any = bounded(
        SimilarQuery, {"track": settings.max_tracks, "artist": settings.max_artists, "k": settings.max_k}
    )

    @router.post(
        "/recommend",
        response_model=RecommendResponse,
        responses=DENIED | INVALID | UNREADABLE | REFUSED,
    )
    async def recommend(body: request_schema, recommender: Engine, request: Request) -> Response:
        """
        Continue a playlist with tracks or artists.

        The answer holds exactly `k` of them, unless the catalogue is too small. Unknown seeds are listed; they are not
        an error.
        """
        (answer,) = recommender.recommend([body.playlist()], Options(body.k, body.kind, body.rank and settings.ranker))
        request.scope[CONTEXT].strategy = answer.strategy
        body.count_seeds(answer.unknown)
        taken = {kind: recommender.items(kind, getattr(answer.seeds, kind)) for kind in KINDS}
        content = {"model": recommender.manifest.version, "strategy": answer.strategy, "seeds": taken}
        return Answer(content | {"unknown": answer.unknown, answer.kind: answer.found})

    @router.get(
        "/similar",
        response_model=SimilarResponse,
        responses=DENIED | INVALID | responses(_404="The seed is unknown.") | REFUSED,
    )
    async def similar(query: Annotated[query_schema, Query()], recommender: Engine, request: Request) -> Response:
        """Find the tracks nearest to tracks, or the artists nearest to artists. The score is the cosine."""
        kind: Kind = "tracks" if query.track else "artists"
        seeds = query.track or query.artist
        neighbours = recommender.similar(kind, seeds, query.k)
        state_of(request).auditor.consider(kind, seeds, query.k)
        taken = {kind: recommender.look_up(kind, seeds)}
        return Answer({"model": recommender.manifest.version, "seeds": taken, kind: neighbours})

    return router
