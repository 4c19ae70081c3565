"""The report on every request: its id, its headers, its log line, its metrics and its span. It decides nothing."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem
from service.auth.keys import PREFIX, Key, Right
from service.memory import trim_memory
from service.telemetry.metrics import IN_PROGRESS, REQUESTS

if TYPE_CHECKING:
    from service.api.state import AppState

log = logging.getLogger("segue")

CONTEXT = "segue"  # key of the `RequestContext` in the ASGI scope
OTHER = "other"  # route label of paths without a route
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
SECURITY_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
# For every response without a policy of its own. The pages of the documentation have one.
CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left
LONG_BODY_BYTES = 1 << 18  # parsing one takes many times its size for a moment


@dataclass
class RequestContext:
    """
    Facts about one request; never its content.

    Attributes:
        request_id: the client's, or a new one.
        method: HTTP method; None if the request could not be parsed.
        route: the route that answers; None if the path has none.
        status: of the response; 0 before it begins.
        key: the API key, if one was checked.
        rights: the rights of the request.
        model: the model version that answered.
        strategy: the strategy of a recommendation.
        waited_s: seconds in the queue of the engine.
        body_bytes: length of the JSON body.
        started_s: `time.perf_counter` at the start.
    """

    request_id: str
    method: str | None
    route: RouteContext | None = None
    status: int = 0
    key: Key | None = None
    rights: Sequence[Right] = ()
    model: str | None = None
    strategy: str = ""
    waited_s: float = 0.0
    body_bytes: int = 0
    started_s: float = field(default_factory=time.perf_counter)

    @property
    def label(self) -> str:
        """The path of the route as documented, for logs and metrics."""
        return OTHER if self.route is None else self.route.path or "/"

    def describe(self) -> dict[str, Any]:
        """Return the facts as fields of a log line."""
        return {
            "request_id": self.request_id,
            "method": self.method,
            "route": self.label,
            "status": self.status,
            "duration_ms": round(1e3 * (time.perf_counter() - self.started_s), 2),
            "waited_ms": round(1e3 * self.waited_s, 2),
            "key": self.key and self.key.name,
            "model": self.model,
            "strategy": self.strategy or None,
        }


class RequestReporter:
    """ASGI middleware that adds an id and headers to each request, and reports it in log, metrics and traces."""

    def __init__(self, app: ASGIApp, state: "AppState", trim: Callable[[], None] = trim_memory):
        self._app, self._state, self._trim = app, state, trim

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = scope[CONTEXT] = RequestContext(request_id_of(scope["headers"]), scope["method"])
        if context.method == "HEAD":  # a GET whose body the server leaves out
            scope = {**scope, "method": "GET"}
        context.route = find_route(scope)
        if self._state.tracer is None:
            await self._report(context, scope, receive, send)
            return
        with self._state.tracer.span(f"{context.method} {context.label}", scope["headers"]) as span:
            await self._report(context, scope, receive, send)
            facts = {f"segue.{name}": value for name, value in context.describe().items() if value is not None}
            span.set_attributes(facts | {"http.response.status_code": context.status})

    async def _report(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with IN_PROGRESS.track_inprogress():
                await self._app(scope, receive, self._adding_headers(context, send))
        except Exception:  # the last resort: the client learns nothing about the fault
            log.exception("unexpected error", extra={"request_id": context.request_id, "route": context.label})
            if not context.status:
                answer = problem(
                    HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error occurred; the service logged it"
                )
                await answer(scope, receive, self._adding_headers(context, send))
        finally:
            context.status = context.status or CLIENT_CLOSED_REQUEST  # cancelled before the response began
            took_s = time.perf_counter() - context.started_s
            REQUESTS.labels(context.label, str(context.status), context.strategy).observe(took_s)
            if self._state.settings.access_log:
                log.info("request", extra=context.describe())
            if context.body_bytes > LONG_BODY_BYTES:
                asyncio.get_running_loop().call_soon(self._trim)  # the body is in use until the request ends

    def _adding_headers(self, context: RequestContext, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = context.status or message["status"]  # the connection may have answered by now
                headers = message.setdefault("headers", [])
                policy = [] if CONTENT_POLICY[0] in dict(headers) else [CONTENT_POLICY]
                closing = [(b"connection", b"close")] if self._state.reloader.stopping else []
                added = [(b"x-request-id", context.request_id.encode()), *SECURITY_HEADERS, *closing]
                message["headers"] = [*headers, *added, *policy]
            await send(message)

        return send_with_headers


def find_route(scope: Scope) -> RouteContext | None:
    """Return the first route of the application whose path and method match *scope*, else one whose path does."""
    partial = None
    with suppress(Exception):  # the router meets the same error, and the middleware answers it
        for route in iter_route_contexts(scope["app"].routes):
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return route
            if match is Match.PARTIAL and partial is None:
                partial = route  # the path with another method: the router answers 405
        return partial
    return None


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the `X-Request-ID` in *headers* if it is safe to log, else a new id."""
    for name, value in headers:
        # A key sent there by mistake must not end in a log.
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value) and PREFIX.encode() not in value:
            return value.decode()
    return secrets.token_hex(16)
