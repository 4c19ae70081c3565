"""`create_app(settings)`: the guard and the routes around one served model, and what each error becomes."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Route

from service.engine import Artist, EngineError, ModelError, NoModel, PlaylistError, Track, UnknownSeed
from service.guard import Guard
from service.parts import Parts
from service.problems import problem
from service.routes import router
from service.schemas import ArtistPlays, FieldFault, Problem
from service.settings import Settings

# Each error of the engine has the status of the nearest class that stands here.
STATUSES: dict[type[EngineError], HTTPStatus] = {
    EngineError: HTTPStatus.INTERNAL_SERVER_ERROR,
    PlaylistError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownSeed: HTTPStatus.NOT_FOUND,
    ModelError: HTTPStatus.SERVICE_UNAVAILABLE,
}
REPORTED_FAULTS = 20

DESCRIPTION = """
Continues playlists with tracks or artists, and finds the neighbours of tracks and artists.

Ids are the data's own (`spotify:track:...`). Errors are `application/problem+json` (RFC 9457), all of one shape.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """
    The application; its lifespan opens and closes the model.

    Args:
        settings: those of the environment unless given.
    """
    settings, own = _with_runtime(settings or Settings())
    parts = Parts.of(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(parts.watch.run())
        await parts.watch.settle()
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await parts.auditor.stop()
        parts.watch.model.close()
        parts.tracer.stop()
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)

    app = FastAPI(
        title="Segue",
        version=version("segue"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        # We have our own; FastAPI would ask at each request whether somebody wants its.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.parts = parts
    app.include_router(router)
    app.add_exception_handler(EngineError, _engine_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(HTTPException, _http_problem)
    # An included router hides what it holds from its application.
    routes = {route.path for route in (*app.routes, *router.routes) if isinstance(route, Route)}
    app.add_middleware(
        Guard, settings=settings, watch=parts.watch, rates=parts.rates, tracer=parts.tracer, routes=routes
    )
    # As FastAPI documents it.
    app.openapi = partial(_description, app, parts, {})  # type: ignore[method-assign]  # no method is there to be replaced
    return app


def status_of(error: type[EngineError]) -> HTTPStatus:
    """The HTTP status that *error* becomes."""
    return next(STATUSES[base] for base in error.__mro__ if base in STATUSES)


def _with_runtime(settings: Settings) -> tuple[Settings, Path | None]:
    """*settings* with a runtime directory, and that directory where it was made here."""
    if settings.runtime is not None:
        return settings, None
    own = Path(tempfile.mkdtemp(prefix="segue-"))
    return settings.model_copy(update={"runtime": own}), own


async def _engine_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)
    status = status_of(type(error))
    headers = {"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(status, str(error), headers=headers)


async def _validation_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{"field": _field(fault), "reason": _reason(fault)} for fault in error.errors()]
    first = f"{faults[0]['field']}: {faults[0]['reason']}"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, first + more, faults[:REPORTED_FAULTS])


def _field(fault: dict[str, Any]) -> str:
    # Names of unknown fields come from outside and may be of any length.
    return ".".join(str(part)[:100] for part in fault["loc"])


def _reason(fault: dict[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is no such field; see /docs for those there are"
    if fault["type"] == "json_invalid":
        return f"not valid JSON: {fault['ctx']['error']}"
    return str(fault["msg"]).removeprefix("Value error, ")


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not answered at this path; see /docs for what is"
    return problem(error.status_code, detail, headers=dict(error.headers or {}))


def _description(app: FastAPI, parts: Parts, made: dict[str | None, dict[str, Any]]) -> dict[str, Any]:
    """The description with the examples of the served version, *made* once for each."""
    manifest = parts.watch.model.manifest
    version = None if manifest is None else manifest.version
    if version not in made:
        made.clear()
        made[version] = _openapi(app, parts)
    return made[version]


def _openapi(app: FastAPI, parts: Parts) -> dict[str, Any]:
    """The OpenAPI description, with examples from the served catalogue, so that they work when pasted."""
    description = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    paths, components = description["paths"], description["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for schema in (ArtistPlays, parts.schemas.recommend, FieldFault, Problem):
        components["schemas"][schema.__name__] = _schema(schema)
    paths["/similar"]["get"]["parameters"] = _parameters(parts.schemas.similar)
    paths["/search"]["get"]["parameters"] = _parameters(parts.schemas.search)
    _add_keys(description)
    with suppress(NoModel), parts.watch.model.lend() as served:
        _add_examples(paths, served.popular(3), served.popular_artists(3))
    return description


def _schema(schema: type[BaseModel]) -> dict[str, Any]:
    found = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    found.pop("$defs", None)
    return found


def _parameters(schema: type[BaseModel]) -> list[dict[str, Any]]:
    found = _schema(schema)
    return [
        {"name": name, "in": "query", "required": name in found.get("required", ()), "schema": field}
        | ({"description": field.pop("description")} if "description" in field else {})
        for name, field in found["properties"].items()
    ]


def _add_keys(description: dict[str, Any]) -> None:
    """Where a key goes, and that health needs none."""
    description["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, methods in description["paths"].items():
        for operation in methods.values():
            if not path.startswith("/health/"):
                operation["security"] = [{"bearer": []}, {"header": []}]


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
