"""The endpoints: validate, one call, shape the answer."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar, cast

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from service.engine import Playlist, Plays, Recommender
from service.model import ServedModel
from service.schemas import (
    PROBLEM_CONTENT,
    RECOMMEND_BODY,
    ArtistPlays,
    LiveResponse,
    ReadyResponse,
    RecommendArtistsResponse,
    RecommendRequest,
    RecommendTracksResponse,
    SearchArtistsResponse,
    SearchQuery,
    SearchTracksResponse,
    SimilarArtistsResponse,
    SimilarQuery,
    SimilarTracksResponse,
)


class DirectRoute(APIRoute):
    """A documented route whose endpoint takes the request and gives the response, with none of FastAPI in between."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return cast(Callable[[Request], Coroutine[Any, Any, Response]], self.endpoint)


router = APIRouter()
direct_router = APIRouter(route_class=DirectRoute)

Body = TypeVar("Body", bound=BaseModel)

INVALID: dict[int | str, dict[str, Any]] = {
    422: {"description": "The request is not valid.", "content": PROBLEM_CONTENT}
}
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "The seed is not known.", "content": PROBLEM_CONTENT}}
NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "No model is open.", "content": PROBLEM_CONTENT}}


def served_recommender(request: Request) -> Recommender:
    """The recommender of the application; NoModel where it has none."""
    return cast(ServedModel, request.app.state.model).recommender()


Served = Annotated[Recommender, Depends(served_recommender)]


class Answer(Response):
    """
    JSON by orjson, which knows the engine's dataclasses.

    The declared response models document the answer; building and validating one costs more than the answer itself.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


@direct_router.post(
    "/recommend",
    response_model=RecommendTracksResponse | RecommendArtistsResponse,
    responses=INVALID | NOT_READY,
    openapi_extra={"requestBody": RECOMMEND_BODY},
    tags=["recommendations"],
)
async def recommend(request: Request) -> Response:
    """
    Continue a playlist with tracks or with artists.

    The answer holds exactly `k` of them, unless the catalogue is too small for that. What is not known is listed,
    never an error.
    """
    # Read by pydantic in one step: FastAPI's own reading of a body takes longer than the solve.
    body = read_body(RecommendRequest, await request.body())
    served = served_recommender(request)
    kind = body.kind or served.kind
    playlist = Playlist(body.tracks, [_mention(artist) for artist in body.artists], body.title, body.exclude)
    (answer,) = (served.recommend if kind == "tracks" else served.recommend_artists)([playlist], body.k)
    return Answer(
        {
            "model": served.manifest.version,
            "strategy": answer.strategy,
            "unknown": answer.unknown,
            kind: answer.found,
        }
    )


@router.get(
    "/similar",
    response_model=SimilarTracksResponse | SimilarArtistsResponse,
    responses=INVALID | UNKNOWN | NOT_READY,
    tags=["recommendations"],
)
async def similar(query: Annotated[SimilarQuery, Query()], served: Served) -> Response:
    """Find the tracks nearest to tracks, or the artists nearest to artists; the score is the cosine."""
    version = served.manifest.version
    if query.track:
        return Answer({"model": version, "tracks": served.similar_tracks(query.track, query.k)})
    return Answer({"model": version, "artists": served.similar_artists(query.artist, query.k)})


@router.get(
    "/search",
    response_model=SearchTracksResponse | SearchArtistsResponse,
    responses=INVALID | NOT_READY,
    tags=["catalogue"],
)
async def search(query: Annotated[SearchQuery, Query()], served: Served) -> Response:
    """Find tracks by words of name and artist, or artists by name, the most popular first: the ids that calls take."""
    kind = query.kind or served.kind
    find = served.search if kind == "tracks" else served.search_artists
    return Answer({"model": served.manifest.version, kind: find(query.q, query.k)})


@router.get("/model", responses=NOT_READY, tags=["operations"])
async def model(served: Served) -> dict[str, Any]:
    """The manifest of the served version, with its metrics."""
    return served.manifest.content()


@router.get("/health/live", response_model=LiveResponse, tags=["operations"])
async def live() -> Response:
    """Whether the process answers at all."""
    return Answer({"status": "live"})


@router.get("/health/ready", response_model=ReadyResponse, responses=NOT_READY, tags=["operations"])
async def ready(served: Served) -> Response:
    """Whether a model is open; if not, why."""
    return Answer({"status": "ready", "model": served.manifest.version})


def _mention(artist: str | ArtistPlays) -> str | Plays:
    return Plays(artist.artist, artist.count) if isinstance(artist, ArtistPlays) else artist


def read_body(schema: type[Body], content: bytes) -> Body:
    """
    The *content* of a request as *schema* has it.

    Raises:
        RequestValidationError: it is not JSON, or not of the schema.
    """
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error
