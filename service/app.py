"""`create_app(settings)`: the routes around one served model, and what each error becomes."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.engine import Artist, EngineError, ModelError, NoModel, PlaylistError, Track, UnknownSeed
from service.model import ServedModel
from service.routes import direct_router, router
from service.schemas import ArtistPlays, FieldFault, Problem, RecommendRequest
from service.settings import Settings

log = logging.getLogger("segue")

# Each error of the engine has the status of the nearest class that stands here.
STATUSES: dict[type[EngineError], HTTPStatus] = {
    EngineError: HTTPStatus.INTERNAL_SERVER_ERROR,
    PlaylistError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownSeed: HTTPStatus.NOT_FOUND,
    ModelError: HTTPStatus.SERVICE_UNAVAILABLE,
}

DESCRIPTION = """
Continues playlists with tracks or artists, and finds the neighbours of tracks and artists.

Ids are the data's own (`spotify:track:...`). Errors are `application/problem+json` (RFC 9457), all of one shape.
"""


def create_app(settings: Settings) -> FastAPI:
    """The application; its lifespan opens and closes the model of *settings*."""
    model = ServedModel(settings.models, settings.open_interval_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await model.start()
        yield
        await model.stop()

    app = FastAPI(
        title="Segue",
        version=version("segue"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.model = model
    app.include_router(direct_router)
    app.include_router(router)
    app.add_exception_handler(EngineError, _engine_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _unexpected_problem)
    # As FastAPI documents it; to a type checker a method is not there to be replaced.
    app.openapi = lambda: _openapi(app, model)  # type: ignore[method-assign]
    return app


def status_of(error: type[EngineError]) -> HTTPStatus:
    """The HTTP status that *error* becomes."""
    return next(STATUSES[base] for base in error.__mro__ if base in STATUSES)


def _problem(
    status: int, detail: str, errors: Sequence[dict[str, str]] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        content["errors"] = list(errors)
    return JSONResponse(content, status, headers, media_type="application/problem+json")


async def _engine_problem(_: Request, error: Exception) -> JSONResponse:
    status = status_of(type(error)) if isinstance(error, EngineError) else HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return _problem(status, str(error), headers=headers)


async def _validation_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [{"field": _field(fault), "reason": _reason(fault)} for fault in error.errors()]
    first = f"{faults[0]['field']}: {faults[0]['reason']}"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, first + more, faults[:MOST_FAULTS])


MOST_FAULTS = 20


def _field(fault: dict[str, Any]) -> str:
    # Names of unknown fields come from outside and may be of any length.
    return ".".join(str(part)[:100] for part in fault["loc"])


def _reason(fault: dict[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is no such field; see /docs for those there are"
    if fault["type"] == "json_invalid":
        return f"not valid JSON: {fault['ctx']['error']}"
    return str(fault["msg"]).removeprefix("Value error, ")


async def _http_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = "there is nothing at this path; see /docs for what there is"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not answered at this path; see /docs for what is"
    return _problem(error.status_code, detail, headers=dict(error.headers or {}))


async def _unexpected_problem(_: Request, __: Exception) -> JSONResponse:
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error occurred; the log of the service has it")


def _openapi(app: FastAPI, model: ServedModel) -> dict[str, Any]:
    """The OpenAPI description, with examples from the served catalogue, so that they work when pasted."""
    description = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = description["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["ArtistPlays"] = ArtistPlays.model_json_schema()
    schemas["RecommendRequest"] = RecommendRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["RecommendRequest"].pop("$defs", None)
    schemas["FieldFault"] = FieldFault.model_json_schema()
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["Problem"].pop("$defs", None)
    with suppress(NoModel):
        served = model.recommender()
        _add_examples(description["paths"], served.popular(3), served.popular_artists(3))
    return description


def _add_examples(paths: dict[str, Any], tracks: Sequence[Track], artists: Sequence[Artist]) -> None:
    ids, names = [track.id for track in tracks], [artist.name for artist in artists]
    body = paths["/recommend"]["post"]["requestBody"]["content"]["application/json"]
    body["examples"] = {
        "tracks": {"summary": "Continue these tracks", "value": {"tracks": ids, "k": 10}},
        "tracks and title": {"summary": "With a title", "value": {"tracks": ids[:1], "title": "Chill", "k": 10}},
        "artists": {"summary": "Begin with artists", "value": {"artists": names[:2], "k": 10}},
        "listener": {
            "summary": "More artists for a listener",
            "value": {"artists": [{"artist": name, "count": 100} for name in names[:2]], "kind": "artists", "k": 10},
        },
        "nothing": {"summary": "What is popular", "value": {}},
    }
    found = next(filter(None, [*(track.name for track in tracks), *names, "love"]))
    similar = ("/similar", "track") if ids else ("/similar", "artist")
    examples = {similar: ids[:1] or names[:1], ("/search", "q"): found}
    for (path, name), example in examples.items():
        parameters = paths[path]["get"]["parameters"]
        next(parameter for parameter in parameters if parameter["name"] == name)["example"] = example
