"""What a connection may cost: bytes of headers, time, and how many of them there are."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.envelope import CONTENT_POLICY, OTHER, SCOPE, SECURITY_HEADERS, request_id_of
from service.logs import log_request
from service.metrics import REFUSED
from service.problems import MEDIA_TYPE, describe_problem

VERSIONS = ("1.0", "1.1")
# Requests of one connection that wait for the one before them; what comes in a slice beyond that is read too.
MOST_PIPELINED, SLICE_BYTES, MOST_HELD_BYTES = 16, 4096, 1 << 20
FIRST_LINE_BYTES = len("  HTTP/1.1\r\n\r\n")  # beside the method and the path, and the line that ends all headers


@dataclass(frozen=True)
class Limits:
    """
    Of one connection, or of all that a worker holds.

    Attributes:
        max_connections: more are closed at once.
        max_header_bytes: of the request line and all headers.
        header_timeout_s: from the first byte of a request to the end of its headers; from the start for the first.
        request_timeout_s: from there until the answer has left.
    """

    max_connections: int
    max_header_bytes: int
    header_timeout_s: float
    request_timeout_s: float


class Corked:
    """
    A transport that sends what is written in one turn of the loop at once: an answer's head with its body.

    uvicorn writes them one after the other, and each write costs the system, and wakes the client, as if it were all.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._transport, self._loop = transport, loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def flush(self) -> None:
        """Send what was written."""
        if self._written:
            written, self._written = b"".join(self._written), []
            self._transport.write(written)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._written))


class BoundedProtocol(HttpToolsProtocol):
    """
    HTTP/1.1 as uvicorn speaks it, and no connection waits for ever: in each state a clock runs.

    Idle between requests it is uvicorn's, for keeping alive; from the first byte to the end of the headers, and from
    there until the answer is with the system, they are ours.
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
        self._corked = Corked(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._corked))
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
            if len(self.pipeline) >= MOST_PIPELINED:
                self._hold(data[start:])
                return
            self._feed(data[start : start + SLICE_BYTES])
            if self.transport.is_closing():
                return

    def _feed(self, data: bytes) -> None:
        if self._clock is None:
            self._start_clock(self._limits.header_timeout_s)
        self._received += len(data)
        super().data_received(data)
        # What is no body is headers, trailers, or the frames of chunks.
        if self._received > self._limits.max_header_bytes:
            self._refuse_headers()

    def _hold(self, data: bytes) -> None:
        """Read no further than *data* until some of what was asked is answered."""
        self._held = data
        self.flow.pause_reading()
        if len(data) > MOST_HELD_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # what follows a body is not what its request is decided by
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        if self.parser.get_http_version() not in VERSIONS:
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 and HTTP/1.0 are spoken here")
            return
        method = self.parser.get_method()
        length = len(method) + len(self.url) + FIRST_LINE_BYTES + sum(len(n) + len(v) + 4 for n, v in self.headers)
        if length > self._limits.max_header_bytes:
            self._refuse_headers()
            return
        self._in_headers = False
        self._start_clock(self._limits.request_timeout_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._received = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.transport.is_closing():
            return
        super().on_message_complete()
        self._in_headers, self._received = True, 0
        if self.cycle.response_complete:  # answered before it had all been read
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self._rest()

    def on_response_complete(self) -> None:
        self._corked.flush()
        next_begins = bool(self.pipeline)
        super().on_response_complete()
        if next_begins:
            self._start_clock(self._limits.request_timeout_s)
        elif self._in_headers:
            self._rest()
        if self._held:
            held, self._held = self._held, b""
            self.data_received(held)

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def send_400_response(self, _: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, "this is not a request of HTTP/1.1")

    def _unsupported_upgrade_warning(self) -> None:
        """It is answered as if it had not wished for another protocol, as HTTP has it."""

    def _rest(self) -> None:
        """Between two requests uvicorn's clock runs, once the client has taken what it was sent."""
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
            call: Any = self.cycle.scope.get(SCOPE)
            if call is not None:  # whose line is written as it ends
                call.status = HTTPStatus.REQUEST_TIMEOUT
            detail = "the request took too long to come, or to be answered"
            self._say(HTTPStatus.REQUEST_TIMEOUT, detail, None if call is None else call.request_id)
        self._close()

    def _close(self) -> None:
        """Close, and do not wait for a client that takes nothing."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse_headers(self) -> None:
        if self.transport.is_closing():
            return
        REFUSED.labels("header").inc()
        most = self._limits.max_header_bytes
        detail = f"the request line and the headers are longer than {most:,} bytes, the most that is read"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Refuse what came last."""
        if self._in_headers and self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # an answer now would be taken for that of the request before
        else:
            self._say(status, detail)

    def _say(self, status: HTTPStatus, detail: str, request_id: str | None = None) -> None:
        """Answer without the application, and close; where no call has *request_id*, this is its line in the log."""
        if request_id is None:
            request_id = request_id_of(self.headers or ())  # None before the first request begins
            if self._access_log:
                log_request(
                    {
                        "request_id": request_id,
                        "method": None,
                        "route": OTHER,
                        "status": int(status),
                        "duration_ms": None,
                    }
                )
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
