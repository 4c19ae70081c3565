"""
Authorization: each request needs a key with the right that its route states.

A route states its right as a dependency, `dependencies=[needs("admin")]`. A key needs all rights that a route, its
router and its dependencies state. A route that states nothing needs `use`, and so do mounted applications and paths
without a route. The first check is middleware and not a dependency, because a mounted application may have none, and
because a request without a key must not have its body read.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import Refused
from service.api.requests import CONTEXT, RequestContext
from service.api.routing import recommender_in_turn
from service.api.state import AppState
from service.auth.keys import Key, Right

NO_KEY = "a valid key is needed, sent once, as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
ADMIN_IS_CLOSED = (
    "administration is closed while the service has no keys: create one with `python -m service keys create NAME "
    "--right admin`, set SEGUE_KEYS to its file and restart the service"
)
CLOSE = {"Connection": "close"}
POLICY_VIOLATION = 1008  # of RFC 6455; the service has no WebSockets
WITHOUT_KEYS: Sequence[Right] = ("use", "metrics")


class Need:
    """A dependency that refuses a key without the right; None opens the route to everybody."""

    def __init__(self, right: Right | None):
        self.right = right

    async def __call__(self, request: Request) -> Key | None:
        """
        Return the key of the request.

        `Authorization` has refused most requests before their body was read. This check also covers statements that it
        does not see: in a dependency of a dependency, a router of pages or a mounted application.
        """
        context: RequestContext = request.scope[CONTEXT]
        if self.right is not None and self.right not in context.rights:
            raise _lacks(self.right)
        return context.key


def needs(right: Right | None) -> Any:
    """Return a dependency that states the right that a route needs; None opens the route to everybody."""
    return Depends(Need(right))


def needed_right(route: RouteContext | None) -> Right | None:
    """Return the right that *route* states, or its router, or a dependency; `use` if none does."""
    right: Right | None = "use"
    for call in _dependencies(getattr(route, "dependant", None)):
        if isinstance(call, Need):
            right = call.right  # the last one: those of a router come before those of its routes
    return right


def _dependencies(dependant: Dependant | None) -> Iterator[Any]:
    """Yield all dependencies, those of the router first."""
    for dependency in dependant.dependencies if dependant else ():
        yield from _dependencies(dependency)
        yield dependency.call


class Authorization:
    """
    ASGI middleware that refuses requests before their body is read.

    A request passes if its key may use its route and is within its rate, its body fits, and the engine has time for it.
    """

    def __init__(self, app: ASGIApp, state: AppState):
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context: RequestContext = scope[CONTEXT]
        limit = getattr(context.route, "max_body_size", None) or self._state.settings.max_body_bytes
        try:
            self._check_key(context, needed_right(context.route), scope["headers"])
            _check_request(scope, limit)
            dependant = getattr(context.route, "dependant", None)
            if recommender_in_turn in _dependencies(dependant):  # a refusal after the body costs far more
                await self._state.admission.check()
        except Refused as refused:
            await refused.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_key(self, context: RequestContext, right: Right | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        keys = self._state.reloader.keys
        if keys is None:
            context.rights = WITHOUT_KEYS
            if right == "admin":
                raise Refused(HTTPStatus.FORBIDDEN, ADMIN_IS_CLOSED, reason="forbidden")
            return
        if right is None:
            return
        context.key = keys.find(presented_key(headers))
        if context.key is None:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Refused(HTTPStatus.UNAUTHORIZED, NO_KEY, challenge, reason="unauthorized")
        context.rights = context.key.rights
        if right not in context.rights:
            raise _lacks(right)
        self._check_rate(context.key)

    def _check_rate(self, key: Key) -> None:
        wait_s = self._state.rates.take(key)
        if wait_s:
            detail = f"this key may send {key.rate:g} requests a second; try again in {wait_s:.3g} s"
            retry = {"Retry-After": str(math.ceil(wait_s))}
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, detail, retry, reason="rate")


def _lacks(right: Right) -> Refused:
    return Refused(HTTPStatus.FORBIDDEN, f"this path needs a key with the right `{right}`", reason="forbidden")


def _check_request(scope: Scope, limit: int) -> None:
    if scope["path"].endswith("\n"):
        raise Refused(HTTPStatus.NOT_FOUND)  # Starlette's patterns also match in front of a final newline
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if name == b"content-encoding" and value.lower() != b"identity":
            detail = "compressed bodies are not accepted; send the body without Content-Encoding"
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, CLOSE, "body")


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """
    Return the key that a request carries as `Authorization: Bearer KEY` or `X-API-Key: KEY`.

    Returns None if no key was sent, or if the headers are ambiguous (empty, repeated, contradictory): a proxy might
    read them in another way. Other schemes of `Authorization` carry no key.
    """
    found: list[bytes] = []
    seen: set[bytes] = set()
    for name, value in headers:
        name = name.lower()
        if name not in (b"authorization", b"x-api-key"):
            continue
        if name in seen:
            return None
        seen.add(name)
        key = value.strip() if name == b"x-api-key" else _bearer(value)
        if key is not None:
            found.append(key)
    return found[0] if found and found[0] and found[-1] == found[0] else None


def _bearer(value: bytes) -> bytes | None:
    """Return the key in an `Authorization` header, possibly empty; None for another scheme."""
    scheme, _, key = value.strip().partition(b" ")
    return key.strip() if scheme.lower() in (b"bearer", b"") else None
