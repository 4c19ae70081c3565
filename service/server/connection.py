"""Limits of connections: bytes of headers, time, and their number."""

import asyncio
import logging
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.problems import MEDIA_TYPE, describe_problem
from service.api.requests import CONTENT_POLICY, CONTEXT, SECURITY_HEADERS, RequestContext, request_id_of
from service.telemetry.metrics import REFUSED

log = logging.getLogger("segue")

VERSIONS = ("1.0", "1.1")
# Requests of one connection that wait for the previous one. Those in a slice of data beyond that are read too.
MAX_PIPELINED, SLICE_BYTES, MAX_HELD_BYTES = 16, 4096, 1 << 20
# The scheme and the authority of a request target such as `http://example.org/search`, which a proxy may send.
ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
HOST = re.compile(rb"(\[[\w:.%]+\]|[\w.~!$&'()*+,;=%-]*)(:\d*)?")  # RFC 9112, 3.2
FIRST_LINE_BYTES = len("  HTTP/1.1\r\n\r\n")  # without method and path, with the line that ends the headers


@dataclass(frozen=True)
class Limits:
    """
    Limits of the connections of one worker.

    Attributes:
        max_connections: further ones are closed at once.
        max_header_bytes: of the request line and all headers.
        header_timeout_s: from the first byte of a request to the end of its headers; for the first, from the start.
        request_timeout_s: from there to the end of the response.
    """

    max_connections: int
    max_header_bytes: int
    header_timeout_s: float
    request_timeout_s: float


class BoundedProtocol(HttpToolsProtocol):
    """
    uvicorn's HTTP/1.1 protocol with a timeout in each state.

    The keep-alive timeout is uvicorn's. The timeouts of headers and of requests are enforced here.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
        access_log: bool,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits, self._access_log = limits, access_log
        self._clock: asyncio.TimerHandle | None = None
        self._in_headers, self._received, self._held = True, 0, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            REFUSED.labels("connections").inc()
            transport.abort()
            return
        self._start_clock(self._limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._held:
            self._hold(self._held + data)
            return
        for start in range(0, len(data), SLICE_BYTES):
            if len(self.pipeline) >= MAX_PIPELINED:
                self._hold(data[start:])
                return
            self._feed(data[start : start + SLICE_BYTES])

    def _feed(self, data: bytes) -> None:
        if self._clock is None:
            self._start_clock(self._limits.header_timeout_s)
        self._received += len(data)
        super().data_received(data)
        # Everything outside of a body counts: headers, trailers and the frames of chunks.
        if self._received > self._limits.max_header_bytes:
            self._refuse_headers()

    def _hold(self, data: bytes) -> None:
        """Keep *data* and stop reading until a request is answered."""
        self._held = data
        self.flow.pause_reading()
        if len(data) > MAX_HELD_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # trailers are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        if self.parser.get_http_version() not in VERSIONS:
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 and HTTP/1.0 are supported")
            return
        method = self.parser.get_method()
        length = len(method) + len(self.url) + FIRST_LINE_BYTES + sum(len(n) + len(v) + 4 for n, v in self.headers)
        if length > self._limits.max_header_bytes:
            self._refuse_headers()
            return
        if fault := self._fault_of_host():
            self._refuse(HTTPStatus.BAD_REQUEST, fault)
            return
        self._in_headers = False
        self._start_clock(self._limits.request_timeout_s)
        self.url = _without_origin(self.url)
        self.expect_100_continue &= self.parser.get_http_version() != "1.0"  # an old client does not know the answer
        super().on_headers_complete()

    def _fault_of_host(self) -> str:
        """Return the fault of the Host header, as RFC 9112 defines it; empty if there is none."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1:
            return f"the request has {len(hosts)} Host headers; send one"
        if not hosts and self.parser.get_http_version() != "1.0":
            return "the request has no Host header, which HTTP/1.1 requires; send the name of this service"
        if hosts and not HOST.fullmatch(hosts[0]):
            return "the Host header is not a host with an optional port, such as `example.org:8000`"
        return ""

    def on_body(self, body: bytes) -> None:
        self._received = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers, self._received = True, 0
        if self.cycle.response_complete:  # answered before the whole body was read
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self._rest()

    def on_response_complete(self) -> None:
        next_begins = bool(self.pipeline)
        super().on_response_complete()
        if next_begins:
            self._start_clock(self._limits.request_timeout_s)
        elif self._in_headers:
            self._rest()
        if self._held:
            held, self._held = self._held, b""
            self.data_received(held)

    def send_400_response(self, _: str) -> None:
        advice = "percent-encode blanks and all characters but ASCII in its path and query"
        self._refuse(HTTPStatus.BAD_REQUEST, f"this is not a valid HTTP/1.1 request; {advice}")

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore `Upgrade` headers."""

    def _rest(self) -> None:
        """Stop our timeout between two requests, once the client has received the response."""
        if not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self._stop_clock()

    def _start_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._run_out)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _run_out(self) -> None:
        self._clock = None
        REFUSED.labels("slow").inc()
        if self.cycle is not None and not self.cycle.response_started:
            context = cast(RequestContext | None, self.cycle.scope.get(CONTEXT))
            if context is not None:  # its log line is written at its end
                context.status = HTTPStatus.REQUEST_TIMEOUT
            detail = "the request or its response took too long"
            self._say(HTTPStatus.REQUEST_TIMEOUT, detail, None if context is None else context.request_id)
        self._close()

    def _close(self) -> None:
        """Close without waiting for a client that does not read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse_headers(self) -> None:
        if self.transport.is_closing():
            return
        REFUSED.labels("header").inc()
        limit = self._limits.max_header_bytes
        detail = f"the request line and headers are longer than {limit:,} bytes"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Refuse the latest request."""
        if self._in_headers and self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # a response now would be taken for the previous request's
        else:
            self._say(status, detail)

    def _say(self, status: HTTPStatus, detail: str, request_id: str | None = None) -> None:
        """Respond without the application, and close. Without *request_id*, also write the log line."""
        if request_id is None:
            request_id = request_id_of(self.headers or ())  # None before the first request
            if self._access_log:
                log.info("request", extra=RequestContext(request_id, None, status=int(status)).describe())
        body = describe_problem(status, detail)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
            *SECURITY_HEADERS,
            CONTENT_POLICY,
        ]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()


def _without_origin(url: bytes) -> bytes:
    """Return the path and the query of a request target."""
    if origin := ORIGIN.match(url):
        target = url[origin.end() :]
        return target if target.startswith(b"/") else b"/" + target
    return url
