"""`POST /recommend`, `POST /recommend/batch`, `POST /diagnose` and `GET /similar`."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from service.api.errors import Refused, describe_faults
from service.api.playlists import (
    BatchRequest,
    BatchResponse,
    DiagnoseRequest,
    DiagnoseResponse,
    Dislikes,
    RecommendRequest,
    RecommendResponse,
    SimilarQuery,
    SimilarResponse,
)
from service.api.problems import DENIED, INVALID, REFUSED, UNREADABLE, responses
from service.api.requests import CONTEXT
from service.api.routing import Answer, Engine, JSONRoute, bounded, state_of
from service.engine import KINDS, Diagnosis, Kind, Options, PlaylistError, Recommendation, Recommender
from service.settings import Settings

# Playlists of a batch that are continued without a break, and the items of each, on average, that a batch may ask for.
SLICE, ITEMS_EACH = 5, 100


def recommendation_routes(settings: Settings) -> APIRouter:
    """Return the routes, with requests that are bounded by *settings*."""
    router = APIRouter(route_class=JSONRoute, tags=["recommendations"])
    seeds = {"tracks": settings.max_tracks, "artists": settings.max_artists}
    lists = {"exclude": settings.max_exclude, "among": settings.max_exclude, "dislikes": bounded(Dislikes, seeds)}
    limits = seeds | lists | {"title": settings.max_title, "k": settings.max_k}
    request_schema: Any = bounded(RecommendRequest, limits)
    batch_schema: Any = bounded(BatchRequest, {"playlists": settings.max_batch})
    diagnose_schema: Any = bounded(
        DiagnoseRequest, {"artists": settings.max_artists, "title": settings.max_title, "k": settings.max_k}
    )
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

        The answer holds exactly `k` of them, unless fewer may be recommended. Unknown seeds are listed; they are not
        an error.
        """
        options = body.options(settings.ranker)
        (answer,) = recommender.recommend([body.playlist()], options)
        request.scope[CONTEXT].strategy = answer.strategy
        return Answer({"model": recommender.manifest.version, **_content(body, answer, recommender)})

    @router.post(
        "/recommend/batch",
        response_model=BatchResponse,
        responses=DENIED | INVALID | UNREADABLE | REFUSED,
    )
    async def recommend_batch(body: batch_schema, recommender: Engine) -> Response:
        """Continue several playlists. A playlist with a fault has an `error` in place of an answer."""
        asked = [_validated(request_schema, playlist) for playlist in body.playlists]
        return Answer(
            {"model": recommender.manifest.version, "answers": await _continue_each(asked, recommender, settings)}
        )

    @router.post(
        "/diagnose",
        response_model=DiagnoseResponse,
        responses=DENIED | INVALID | UNREADABLE | REFUSED,
    )
    async def diagnose(body: diagnose_schema, recommender: Engine) -> Response:
        """Name the tracks of a playlist that do not fit, tell how focused it is, and what it lacks."""
        playlist = body.playlist()
        found = recommender.diagnose(playlist)
        (answer,) = recommender.recommend([playlist], Options(body.k, "tracks", settings.ranker))
        content = {"model": recommender.manifest.version, "unknown": answer.unknown, "focus": found.focus}
        return Answer({**content, "tracks": _diagnosed(found, recommender), "lacks": answer.found})

    @router.get(
        "/similar",
        response_model=SimilarResponse,
        responses=DENIED | INVALID | responses(_404="The seed is unknown.") | REFUSED,
    )
    async def similar(query: Annotated[query_schema, Query()], recommender: Engine, request: Request) -> Response:
        """Find the tracks nearest to tracks, or the artists nearest to artists. The score is the cosine."""
        kind: Kind = "tracks" if query.track else "artists"
        seeds = query.track or query.artist
        neighbours = recommender.similar(kind, seeds, query.k, query.where)
        if query.where is None:
            state_of(request).auditor.consider(kind, seeds, query.k)
        taken = {kind: recommender.look_up(kind, seeds)}
        return Answer({"model": recommender.manifest.version, "seeds": taken, kind: neighbours})

    return router


async def _continue_each(asked: Sequence[Any], recommender: Recommender, settings: Settings) -> list[Any]:
    """Return an answer for each request in *asked*; what is none is its own answer."""
    alike: defaultdict[Options, list[int]] = defaultdict(list)
    for place, each in enumerate(asked):
        if isinstance(each, RecommendRequest):
            alike[each.options(settings.ranker)].append(place)
    _check_size(alike, settings)
    answers = list(asked)
    for options, places in alike.items():
        for start in range(0, len(places), SLICE):
            part = places[start : start + SLICE]
            found = _continue(recommender, [asked[place] for place in part], options)
            for place, answer in zip(part, found, strict=True):
                answers[place] = _content(asked[place], answer, recommender)
            await asyncio.sleep(0)  # other connections, and the heartbeat, have their turn
    return answers


def _diagnosed(found: Diagnosis, recommender: Recommender) -> list[dict[str, Any]]:
    known = zip(recommender.items("tracks", found.rows), found.fits, strict=True)
    return [
        {"id": track.id, "name": track.name, "artist": track.artist, "fit": fit, "odd": fit is not None and fit.low}
        for track, fit in known
    ]


def _check_size(alike: Mapping[Options, Sequence[int]], settings: Settings) -> None:
    """
    Check the number of items that a batch asks for.

    Raises:
        Refused: it would occupy the engine for too long.
    """
    most = settings.max_batch * ITEMS_EACH
    wanted = sum(options.k * len(places) for options, places in alike.items())
    if wanted > most:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"a batch may ask for {most:,} items, and this one asks for {wanted:,}; lower `k`, or divide it",
        )


def _continue(
    recommender: Recommender, bodies: Sequence[RecommendRequest], options: Options
) -> Sequence[Recommendation | PlaylistError]:
    """Continue playlists with the same options, together if the engine refuses none of them."""
    try:
        return recommender.recommend([body.playlist() for body in bodies], options)
    except PlaylistError as error:
        return [error] if len(bodies) == 1 else [_continue(recommender, [body], options)[0] for body in bodies]


def _content(
    body: RecommendRequest, answer: Recommendation | PlaylistError, recommender: Recommender
) -> dict[str, Any]:
    """Count the seeds of a request, and return the content of its answer, or its fault."""
    if isinstance(answer, PlaylistError):
        return _fault(str(answer), [])
    body.count_seeds(answer.unknown)
    taken = {kind: recommender.items(kind, getattr(answer.seeds, kind)) for kind in KINDS}
    short = {"short": True} if len(answer.found) < body.k else {}
    return {"strategy": answer.strategy, "seeds": taken, "unknown": answer.unknown, **short, answer.kind: answer.found}


def _validated(schema: type[RecommendRequest], playlist: Any) -> Any:
    """Return *playlist* as *schema*, or the content of an answer with its faults."""
    try:
        return schema.model_validate(playlist)
    except ValidationError as error:
        return _fault(*describe_faults(error.errors()))


def _fault(detail: str, faults: list[dict[str, str]]) -> dict[str, Any]:
    return {"error": {"status": HTTPStatus.UNPROCESSABLE_ENTITY, "detail": detail, "errors": faults}}
