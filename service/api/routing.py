"""The parts of a route: JSON requests and responses, and the dependencies that it can state."""

import json
import time
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from copy import deepcopy
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.api.admission import Overloaded
from service.api.errors import RETRY_AFTER, Refused
from service.api.requests import CLIENT_CLOSED_REQUEST, CONTEXT, RequestContext
from service.api.state import AppState
from service.engine import Items, NoModel, Recommender
from service.telemetry.metrics import QUEUE_WAIT, WAITING

MAX_FIELDS = 100
KIND = "`tracks` or `artists`. Default: tracks, if the catalogue has any."

Schema = TypeVar("Schema", bound=BaseModel)


def state_of(request: Request) -> AppState:
    """Return the state of the application that answers *request*."""
    state: AppState = request.app.state.segue
    return state


async def recommender_in_turn(request: Request) -> AsyncIterator[Recommender]:
    """Wait for a turn at the engine and lend the served recommender until the endpoint returns."""
    state = state_of(request)
    context: RequestContext = request.scope[CONTEXT]
    begun_s = time.perf_counter()
    try:
        state.model.check()  # without a model there is no reason to wait
        with WAITING.track_inprogress():
            await state.admission.acquire()
        QUEUE_WAIT.observe(time.perf_counter() - begun_s)
        try:
            with state.model.lend() as recommender:
                context.waited_s, context.model = time.perf_counter() - begun_s, recommender.manifest.version
                yield recommender
        finally:
            state.admission.release()
    except NoModel as error:
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), RETRY_AFTER, "unready") from None
    except Overloaded:
        context.waited_s = time.perf_counter() - begun_s
        raise


# The turn ends when the endpoint returns, so that a client that reads slowly does not hold the engine.
Engine = Annotated[Recommender, Depends(recommender_in_turn, scope="function")]


class StrictRequest(BaseModel):
    """A request without unknown fields."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, content: Any) -> Any:
        if isinstance(content, dict) and len(content) > MAX_FIELDS:  # describing each would occupy the worker
            raise ValueError(f"has {len(content):,} fields; see /docs for those there are")
        return content


def bounded(schema: type[Schema], limits: Mapping[str, Any]) -> Any:
    """
    Return *schema* with a maximum for some fields.

    Args:
        schema: the request.
        limits: by field, the largest number, or the length of a text or a list; or the bounded schema of the field. A
            larger default becomes the maximum.
    """
    fields: dict[str, Any] = {}
    for name, limit in limits.items():
        field = deepcopy(schema.model_fields[name])
        if not isinstance(limit, int):
            fields[name] = (limit, field)
            continue
        is_number = field.annotation is int
        if is_number:
            field.default = min(field.default, limit)
        bound = Field(le=limit) if is_number else Field(max_length=limit)
        fields[name] = (Annotated[field.rebuild_annotation(), bound], field)
    return create_model(schema.__name__, __base__=schema, __doc__=schema.__doc__, **fields)


class JSONRequest(Request):
    """A request whose body pydantic's parser reads: it bounds nesting and numbers, and refuses NaN."""

    async def body(self) -> bytes:
        try:
            body = await super().body()
            self.scope[CONTEXT].body_bytes = len(body)
            return body or b" "  # an empty body is invalid JSON; FastAPI takes it for a missing one
        except ClientDisconnect:
            raise HTTPException(CLIENT_CLOSED_REQUEST) from None

    async def json(self) -> Any:
        body = (await self.body()).removeprefix(BOM_UTF8)
        encoding = json.detect_encoding(body)
        if not encoding.startswith("utf-8"):
            raise json.JSONDecodeError(f"the body is {encoding.upper()}; send UTF-8", "", 0)
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


class JSONRoute(APIRoute):
    """A route whose body is JSON regardless of its Content-Type: `curl -d` calls it a form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            headers = dict(request.scope["headers"]) | {b"content-type": b"application/json"}
            scope = {**request.scope, "headers": list(headers.items())}
            return await handle(JSONRequest(scope, request.receive))

        return handle_json


class Answer(Response):
    """
    JSON encoded by orjson, which also encodes the engine's dataclasses.

    Response models document answers. Building and validating one costs more than the answer itself.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, default=_prepared)


def _prepared(content: Any) -> Any:
    """Return *content* that is JSON already."""
    if isinstance(content, Items):
        return orjson.Fragment(content.json)
    raise TypeError(f"no JSON of a {type(content).__name__}")
