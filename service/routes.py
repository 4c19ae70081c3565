"""The endpoints: validate, one call, shape the answer."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from multiprocessing import parent_process
from typing import Any, TypeVar, cast, get_origin

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from service.call import call_of, lent_recommender
from service.engine import Playlist, Plays, Recommendation, Steps, Unknown
from service.metrics import CONTENT_TYPE, SEEDS, describe_metrics
from service.parts import parts_of
from service.problems import problem
from service.schemas import (
    PROBLEM_CONTENT,
    RECOMMEND_BODY,
    ArtistPlays,
    LiveResponse,
    ReadyResponse,
    RecommendArtistsResponse,
    RecommendRequest,
    RecommendTracksResponse,
    ReloadResponse,
    SearchArtistsResponse,
    SearchTracksResponse,
    SimilarArtistsResponse,
    SimilarTracksResponse,
)

Schema = TypeVar("Schema", bound=BaseModel)
Made = TypeVar("Made")
Responses = dict[int | str, dict[str, Any]]

RELOADED_WITHIN_S = 15.0
MOST_FAULTS = 1000


class DirectRoute(APIRoute):
    """
    A documented route whose endpoint takes the request and gives the response, with none of FastAPI in between.

    FastAPI's own reading of a request takes longer than the solve.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return cast(Callable[[Request], Coroutine[Any, Any, Response]], self.endpoint)


router = APIRouter(route_class=DirectRoute)


def _responses(**texts: str) -> Responses:
    return {int(status[1:]): {"description": text, "content": PROBLEM_CONTENT} for status, text in texts.items()}


ANY = _responses(
    _400="Not a request of HTTP/1.1.", _408="It took too long to come.", _431="Its headers or its path are too long."
)
DENIED = ANY | _responses(
    _401="No key that is known here.", _403="A key without the right.", _429="Too often for the key."
)
INVALID = _responses(_422="The request is not valid.")
NOT_READ = _responses(_413="The body is too long.", _415="The body is compressed.")
UNKNOWN = _responses(_404="The seed is not known.")
REFUSED = _responses(_503="No model is open, or more is asked than can be answered in time.")


class Answer(Response):
    """
    JSON by orjson, which knows the engine's dataclasses.

    The declared response models document the answer; building and validating one costs more than the answer itself.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


@router.post(
    "/recommend",
    response_model=RecommendTracksResponse | RecommendArtistsResponse,
    responses=DENIED | INVALID | NOT_READ | REFUSED,
    openapi_extra={"requestBody": RECOMMEND_BODY},
    tags=["recommendations"],
)
async def recommend(request: Request) -> Response:
    """
    Continue a playlist with tracks or with artists.

    The answer holds exactly `k` of them, unless the catalogue is too small for that. What is not known is listed,
    never an error.
    """
    body = read_body(parts_of(request).schemas.recommend, await request.body())
    recommender = lent_recommender(request)
    kind = body.kind or recommender.kind
    playlist = Playlist(body.tracks, [_mention(artist) for artist in body.artists], body.title, body.exclude)
    in_steps: Callable[..., Steps[list[Recommendation[Any]]]] = (
        recommender.recommend_in_steps if kind == "tracks" else recommender.recommend_artists_in_steps
    )
    (answer,) = await _take(in_steps([playlist], body.k))
    call_of(request).strategy = answer.strategy
    _count_seeds(body, answer.unknown)
    return Answer(
        {
            "model": recommender.manifest.version,
            "strategy": answer.strategy,
            "unknown": answer.unknown,
            kind: answer.found,
        }
    )


@router.get(
    "/similar",
    response_model=SimilarTracksResponse | SimilarArtistsResponse,
    responses=DENIED | INVALID | UNKNOWN | REFUSED,
    tags=["recommendations"],
)
async def similar(request: Request) -> Response:
    """Find the tracks nearest to tracks, or the artists nearest to artists; the score is the cosine."""
    query, recommender = read_query(parts_of(request).schemas.similar, request), lent_recommender(request)
    version = recommender.manifest.version
    if query.track:
        answer = Answer({"model": version, "tracks": recommender.similar_tracks(query.track, query.k)})
    else:
        answer = Answer({"model": version, "artists": recommender.similar_artists(query.artist, query.k)})
    parts_of(request).auditor.consider("tracks" if query.track else "artists", query.track or query.artist, query.k)
    return answer


@router.get(
    "/search",
    response_model=SearchTracksResponse | SearchArtistsResponse,
    responses=DENIED | INVALID | REFUSED,
    tags=["catalogue"],
)
async def search(request: Request) -> Response:
    """Find tracks by words of name and artist, or artists by name, the most popular first: the ids that calls take."""
    query, recommender = read_query(parts_of(request).schemas.search, request), lent_recommender(request)
    kind = query.kind or recommender.kind
    find = recommender.search if kind == "tracks" else recommender.search_artists
    return Answer({"model": recommender.manifest.version, kind: find(query.q, query.k)})


@router.get("/model", response_model=dict[str, Any], responses=DENIED | REFUSED, tags=["operations"])
async def model(request: Request) -> Response:
    """The manifest of the served version, with its metrics."""
    return Answer(lent_recommender(request).manifest.content())


@router.get("/health/live", response_model=LiveResponse, responses=ANY, tags=["operations"])
async def live(_: Request) -> Response:
    """Whether the process answers at all."""
    return Answer({"status": "live"})


@router.get(
    "/health/ready",
    response_model=ReadyResponse,
    responses=ANY | _responses(_503="No model is open, or the service is stopping."),
    tags=["operations"],
)
async def ready(request: Request) -> Response:
    """Whether a model is open; if not, why; and if it is not the one that should be, why not."""
    standing = parts_of(request).watch.standing
    if standing.status in ("unready", "stopping"):
        return problem(503, str(standing.reason), headers={"Retry-After": "5"})
    answer = {"status": standing.status, "model": standing.version}
    return Answer(answer | {"reason": standing.reason} if standing.reason else answer)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Metrics of all workers, for Prometheus.", "content": {"text/plain": {}}},
        **DENIED,
    },
    tags=["operations"],
)
async def metrics(request: Request) -> Response:
    """What Prometheus reads."""
    content = await asyncio.to_thread(describe_metrics, parts_of(request).board)
    return Response(content, headers={"Content-Type": CONTENT_TYPE})


@router.post("/admin/reload", response_model=ReloadResponse, responses=DENIED, tags=["operations"])
async def reload(request: Request) -> Response:
    """
    Look for a new version, blocklist and keys at once, in all workers, and wait for them to have looked.

    A version that was refused is read once more.
    """
    parts = parts_of(request)
    told_s = time.monotonic()
    supervisor = parent_process()
    if supervisor is not None and supervisor.pid == os.getppid():  # and not whoever took over its children
        os.kill(supervisor.pid, signal.SIGHUP)  # which it passes on to all workers
    # A large model may take longer to open than a request may last: the answer then says how all stand by then.
    at_most_s = parts.settings.request_timeout_s / 2
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(parts.watch.look(again=True)), at_most_s)
    await parts.watch.follow(told_s, min(RELOADED_WITHIN_S, at_most_s))
    standing = parts.watch.standing
    workers = [
        {"pid": post.pid, "status": post.standing.status, "model": post.standing.version} for post in parts.board.read()
    ]
    return Answer({"status": standing.status, "model": standing.version, "reason": standing.reason, "workers": workers})


async def _take(steps: Steps[Made]) -> Made:
    """Take *steps*, and let the loop look around after each: what came meanwhile is not to wait for the last."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(Made, end.value)
        await asyncio.sleep(0)


def _mention(artist: str | ArtistPlays) -> str | Plays:
    return Plays(artist.artist, artist.count) if isinstance(artist, ArtistPlays) else artist


def _count_seeds(body: RecommendRequest, unknown: Unknown) -> None:
    tracks, artists = (
        set(body.tracks),
        {mention if isinstance(mention, str) else mention.artist for mention in body.artists},
    )
    for kind, n, n_unknown in (
        ("tracks", len(tracks), len(unknown.tracks)),
        ("artists", len(artists), len(unknown.artists)),
        ("title", int(bool(body.title)), int(unknown.title)),
    ):
        if n:
            SEEDS.labels(kind, "true").inc(n - n_unknown)
            SEEDS.labels(kind, "false").inc(n_unknown)


def read_body(schema: type[Schema], content: bytes) -> Schema:
    """
    The *content* of a request as *schema* has it.

    Raises:
        RequestValidationError: it is not JSON, or not of the schema.
    """
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        raise _invalid("body", error) from error


def read_query(schema: type[Schema], request: Request) -> Schema:
    """
    The query of *request* as *schema* has it; of a parameter that is one and is given twice, the last counts.

    Raises:
        RequestValidationError: it is not of the schema.
    """
    found: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        field = schema.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is list:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    try:
        return schema.model_validate(found)
    except ValidationError as error:
        raise _invalid("query", error) from error


def _invalid(place: str, error: ValidationError) -> RequestValidationError:
    if error.error_count() > MOST_FAULTS:  # to describe each would keep the worker busy
        text = f"has {error.error_count():,} faults; see /docs for what is expected"
        return RequestValidationError([{"type": "too_many", "loc": (place,), "msg": text}])
    faults = error.errors(include_url=False, include_input=False)
    return RequestValidationError([{**fault, "loc": (place, *fault["loc"])} for fault in faults])
