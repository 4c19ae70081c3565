"""`GET /search` and `GET /model`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, Json

from service.api.problems import DENIED, INVALID, REFUSED
from service.api.routing import KIND, Answer, Engine, StrictRequest, bounded
from service.engine import CountedArtist, Kind, Track
from service.settings import Settings


class SearchQuery(StrictRequest):
    """Words of a track's name and artist, or of an artist's name."""

    q: str = Field(
        min_length=1,
        description=(
            "A name, or words of the name and the artist. The last word may be incomplete, from three letters on; in "
            "scripts without spaces, any letters in a row are found."
        ),
    )
    k: int = Field(20, ge=1, description="Largest number of results.")
    kind: Kind | None = Field(None, description=KIND)
    where: Json[dict[str, Any]] | None = Field(None, description="A filter of tracks, as JSON.")


class SearchResponse(BaseModel):
    """The tracks or artists that match: those with the name `q` first, each part by popularity."""

    model: str
    tracks: list[Track] = []
    artists: list[CountedArtist] = []


def catalogue_routes(settings: Settings) -> APIRouter:
    """Return the routes, with requests that are bounded by *settings*."""
    router = APIRouter()
    query_schema: Any = bounded(SearchQuery, {"q": settings.max_title, "k": settings.max_k})

    @router.get(
        "/search",
        response_model=SearchResponse,
        responses=DENIED | INVALID | REFUSED,
        tags=["catalogue"],
    )
    async def search(query: Annotated[query_schema, Query()], recommender: Engine) -> Response:
        """Find tracks by words of name and artist, or artists by name. Returns the ids that other routes take."""
        kind = query.kind or recommender.kind
        return Answer(
            {"model": recommender.manifest.version, kind: recommender.search(kind, query.q, query.k, query.where)}
        )

    @router.get("/model", response_model=dict[str, Any], responses=DENIED | REFUSED, tags=["operations"])
    async def model(recommender: Engine) -> Response:
        """Return the manifest of the served version, with its metrics."""
        return Answer(recommender.manifest.content())

    return router
