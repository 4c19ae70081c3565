"""The prefix under which a proxy publishes the service, such as `/segue` for `https://example.org/segue/docs`."""

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.requests import find_route
from service.settings import Settings, url_prefix

HEADER = b"x-forwarded-prefix"


class Prefix:
    """
    ASGI middleware that states the prefix of a request as its `root_path`.

    ASGI wants the prefix in front of `path`; some proxies have removed it. Routes, rights and labels are those of the
    path behind the prefix.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self._app, self._default, self._trusted = app, settings.root_path or "", settings.trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # `OPTIONS *` asks about the service and not about a path.
        if scope["type"] == "http" and scope["path"] != "*" and (prefix := self._prefix_of(scope)):
            # A path of the API may begin like the prefix.
            is_whole = scope["path"].startswith(f"{prefix}/") and find_route(scope) is None
            scope = {**scope, "root_path": prefix, "path": scope["path"] if is_whole else prefix + scope["path"]}
        await self._app(scope, receive, send)

    def _prefix_of(self, scope: Scope) -> str:
        """Return the prefix that a trusted proxy names, else that of the settings."""
        found = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER]
        with suppress(ValueError):  # the client has no address, or the text is no prefix
            if len(found) == 1 and self._trusts(scope["client"]):
                return url_prefix(found[0])
        return self._default

    def _trusts(self, client: Sequence[str] | None) -> bool:
        return client is not None and any(ip_address(client[0]) in network for network in self._trusted)
