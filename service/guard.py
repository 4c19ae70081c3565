"""Stands before the application: who asks, how much, how often, and whether there is time to answer."""

import asyncio
import logging
import math
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from http import HTTPStatus

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import Denied
from service.call import Call
from service.engine import NoModel
from service.envelope import CONTENT_POLICY, OTHER, SCOPE, SECURITY_HEADERS, request_id_of
from service.logs import log_request
from service.memory import give_back
from service.metrics import IN_PROGRESS, QUEUE_WAIT, REFUSED, REQUESTS, WAITING
from service.problems import problem
from service.queue import RETRY_AFTER_S, Overloaded, Queue
from service.rates import RateLimits
from service.settings import Settings
from service.tracing import Tracer
from service.watch import Watch

log = logging.getLogger("segue")

# What asks the engine, and so takes its turn; all else is answered at once, however busy the engine is.
ENGINE_PATHS = frozenset({"/recommend", "/similar", "/search", "/model"})
BODY_PATHS = frozenset({"/recommend"})
NOTHING_HERE = "there is nothing at this path; see /docs for what there is"
PAGES = frozenset({"/docs", "/redoc"})
UNREADY_RETRY_AFTER_S = 5
# Refusals for overload leave one in so long a time, and wait for it no longer than that.
PACE_S, LONGEST_HOLD_S = 0.0025, 0.02
CLOSE = {"Connection": "close"}
LONG_BODY_BYTES = 1 << 18  # what is made of one takes many times as much for a moment


class Refused(Exception):
    """A request that is not passed on; *answer* says why, and *reason* counts it."""

    def __init__(self, reason: str, answer: Response):
        self.reason, self.answer = reason, answer


class Gone(Exception):
    """The client left before it had asked."""


class Guard:
    """
    ASGI middleware around the whole application.

    Each step either lets a call go on or raises `Refused`. What asks the engine is read whole before it takes its turn,
    and its turn ends when its answer begins, so a slow client never holds the engine.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, watch: Watch, rates: RateLimits, tracer: Tracer, routes: Collection[str]
    ):
        self._app, self._watch, self._rates, self._tracer, self._routes = app, watch, rates, tracer, routes
        self._max_body_bytes, self._access_log = settings.max_body_bytes, settings.access_log
        self._queue = Queue(settings.max_waiting, settings.max_wait_s)
        self._refused_s = 0.0  # when the last refusal for overload leaves
        # Before the keys: a browser asks without one whether it may ask with one.
        self._pass = _allowing_origins(self._answer, settings.cors_origins)
        WAITING.set(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, headers = scope["path"], scope["headers"]
        route = path if path in self._routes else OTHER
        call = scope[SCOPE] = Call(request_id_of(headers), scope["method"], route)
        IN_PROGRESS.inc()
        try:
            with self._tracer.span(f"{call.method} {route}", headers) as span:
                await self._pass(scope, receive, self._marking(call, path, send))
                if span is not None:
                    for name, value in call.describe().items():
                        if value is not None:
                            span.set_attribute(f"segue.{name}", value)
                    span.set_attribute("http.response.status_code", call.status)
        finally:
            IN_PROGRESS.dec()
            self._account(call)
            if call.body_bytes > LONG_BODY_BYTES:
                asyncio.get_running_loop().call_soon(give_back)  # once nothing holds it any more

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope[SCOPE]
        try:
            self._admit(call, scope)
            if call.route == OTHER:
                # Not left to the router, whose patterns match a little more than what is written there.
                await problem(HTTPStatus.NOT_FOUND, NOTHING_HERE)(scope, receive, send)
                return
            if call.route in BODY_PATHS:
                receive = _replaying(await self._read_body(call, receive), receive)
            if call.route in ENGINE_PATHS:
                await self._take_turn(call, scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except Refused as refused:
            REFUSED.labels(refused.reason).inc()
            await refused.answer(scope, receive, send)
        except Gone:
            call.status = call.status or 499  # as nginx has it: the client closed the connection
        except Exception:  # the last door: whatever it was, the client is told the same
            log.exception("an unexpected error", extra={"request_id": call.request_id, "route": call.route})
            if not call.status:
                detail = "an unexpected error occurred; the log of the service has it"
                await problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)(scope, receive, send)

    def _admit(self, call: Call, scope: Scope) -> None:
        """Whether this key may ask this, so often, and of this length."""
        decision = self._watch.access.decide(scope["path"], scope["headers"])
        if isinstance(decision, Denied):
            call.key = decision.key
            raise _denied(decision)
        call.key = decision
        if decision is not None and (wait_s := self._rates.take(decision)):
            headers = {"Retry-After": str(math.ceil(wait_s))}
            detail = f"this key may ask {decision.rate:g} times a second; ask again in {wait_s:.3g} s"
            raise Refused("rate", problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers))
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._max_body_bytes:
                raise self._too_long()
            if name == b"content-encoding" and value.lower() != b"identity":
                detail = "compressed bodies are not read; send it as it is, without Content-Encoding"
                raise Refused("body", problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=CLOSE))

    async def _read_body(self, call: Call, receive: Receive) -> bytes:
        """The whole body; how long it may take is up to the connection."""
        message = await receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and message.get("more_body"):
            chunks, length = [body], len(body)
            while message["type"] == "http.request" and message.get("more_body") and length <= self._max_body_bytes:
                message = await receive()
                chunks.append(message.get("body", b""))
                length += len(chunks[-1])
            body = b"".join(chunks)
        call.body_bytes = len(body)
        if message["type"] != "http.request":
            raise Gone
        if len(body) > self._max_body_bytes:
            raise self._too_long()
        return body

    async def _take_turn(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the engine, and hold it, and the version that serves now, until the answer begins."""
        with ExitStack() as turn:
            try:
                # Before the queue: while there is no model, there is nothing to wait for.
                with self._watch.model.lend():
                    pass
                await self._queue_up(call)
                turn.callback(self._queue.done)
                call.recommender = turn.enter_context(self._watch.model.lend())
            except NoModel as error:
                headers = {"Retry-After": str(UNREADY_RETRY_AFTER_S)}
                raise Refused("unready", problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=headers)) from None
            call.model = call.recommender.manifest.version

            async def send_and_let_go(message: Message) -> None:
                turn.close()
                await send(message)

            await self._app(scope, receive, send_and_let_go)

    async def _queue_up(self, call: Call) -> None:
        begun = time.perf_counter()
        try:
            with WAITING.track_inprogress():
                await self._queue.turn()
        except Overloaded:
            call.waited_s = time.perf_counter() - begun
            await self._hold()
            detail = "more is asked than can be answered in time; ask again later, or run more workers"
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            raise Refused("overload", problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)) from None
        call.waited_s = time.perf_counter() - begun
        QUEUE_WAIT.observe(call.waited_s)

    async def _hold(self) -> None:
        """Wait with a refusal: who asks again at once, as if not told to wait, would keep the worker busy with them."""
        now = time.perf_counter()
        self._refused_s = min(max(now, self._refused_s + PACE_S), now + LONGEST_HOLD_S)
        await asyncio.sleep(self._refused_s - now)

    def _too_long(self) -> Refused:
        detail = f"the body is longer than {self._max_body_bytes:,} bytes, the most that is read"
        return Refused("body", problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE))

    def _marking(self, call: Call, path: str, send: Send) -> Send:
        """*send*, with what every answer carries, and its status noted."""
        added = [(b"x-request-id", call.request_id.encode()), *SECURITY_HEADERS]
        if path not in PAGES:
            added.append(CONTENT_POLICY)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                closing = [(b"connection", b"close")] if self._watch.stopping else []
                message["headers"] = [*message.get("headers", ()), *added, *closing]
            await send(message)

        return marked

    def _account(self, call: Call) -> None:
        took_s = time.perf_counter() - call.started_s
        REQUESTS.labels(call.route, str(call.status), call.strategy).observe(took_s)
        if self._access_log:
            log_request(call.describe())


def _allowing_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """*app*, which pages of *origins* may call."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
        expose_headers=["Retry-After", "X-Request-ID"],
    )


def _denied(denied: Denied) -> Refused:
    unknown = denied.status == HTTPStatus.UNAUTHORIZED
    headers = {"WWW-Authenticate": "Bearer"} if unknown else None
    return Refused("unauthorized" if unknown else "forbidden", problem(denied.status, denied.detail, headers=headers))


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A *receive* that has *body* to give, once, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
