"""Limits of connections over real sockets: bytes of headers, time, and their number."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPResponse
from io import BytesIO
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.api.requests import CONTEXT, RequestContext
from service.server.connection import BoundedProtocol, Limits
from service.telemetry.metrics import REGISTRY

PATIENCE_S = 10.0  # nothing here takes as long unless it is broken
HEADER_S, REQUEST_S, IDLE_S = 0.3, 0.6, 0.3
MAX_HEADER_BYTES, MAX_CONNECTIONS = 2000, 5
BIG = 64 << 20
CLOSED = (ConnectionResetError, BrokenPipeError)
GET = b"GET / HTTP/1.1\r\nHost: segue\r\n\r\n"


class App:
    """
    Answers with the path and the body of a request.

    `/big` answers more than any buffer holds. `/unread` does not read the body. `/never` never answers, and neither
    does `/reported`, which has a context. `/late` sends its body after `let_go`. `/busy` blocks the loop after its
    response until the client has `seen` it.
    """

    def __init__(self) -> None:
        self._late = asyncio.Event()
        self.seen, self.seen_meanwhile = threading.Event(), False
        self.context = RequestContext("mine", "GET")
        self.paths: list[str] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.paths.append(path)
        if path == "/reported":
            scope[CONTEXT] = self.context
            await asyncio.Event().wait()
        body = b""
        if path != "/unread":
            message: Any = {"more_body": True}
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message["body"]
        self.headers.append(list(scope["headers"]))
        if path == "/never":
            await asyncio.Event().wait()
        answer = bytes(BIG) if path == "/big" else path.encode() + b" " + body
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if path == "/late":
            self._loop = asyncio.get_running_loop()
            await self._late.wait()
        await send({"type": "http.response.body", "body": answer})
        if path == "/busy":
            self.seen_meanwhile = self.seen.wait(PATIENCE_S)

    def let_go(self) -> None:
        """Let `/late` send its body."""
        self._loop.call_soon_threadsafe(self._late.set)


@dataclass
class Served:
    """A server on a port, and its application."""

    port: int
    app: App
    server: uvicorn.Server

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def send(self, content: bytes) -> list[tuple[int, dict[str, str], bytes]]:
        """Send *content* and return the responses after the server has closed the connection."""
        with self.connect() as connection:
            connection.sendall(content)
            return read_responses(until_closed(connection))


def until_closed(connection: socket.socket) -> bytes:
    """Return all data until the server closes the connection; TimeoutError if it does not."""
    found = b""
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


class Several(BytesIO):
    """Several responses. `HTTPResponse` closes its file after the first."""

    def close(self) -> None: ...


def read_responses(content: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Return status, headers and body of each response in *content*."""
    found, stream = [], Several(content)
    while stream.tell() < len(content):
        response = HTTPResponse(type("Socket", (), {"makefile": lambda *_: stream})())
        response.begin()
        found.append((response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()))
    return found


def one_response(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and body of the next response; the connection stays open."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def is_refusal(answer: tuple[int, dict[str, str], bytes], status: int) -> bool:
    found, headers, body = answer
    content = json.loads(body)
    return (
        found == status == content["status"]
        and headers["content-type"] == "application/problem+json"
        and headers["connection"] == "close"
        and set(content) == {"type", "title", "status", "detail"}
        and headers["x-content-type-options"] == "nosniff"
        and "content-security-policy" in headers
        and len(headers["x-request-id"]) == 32
    )


def refused(reason: str) -> float:
    """Return the number of requests refused for *reason*."""
    return REGISTRY.get_sample_value("segue_requests_refused_total", {"reason": reason}) or 0.0


@contextmanager
def serving(protocol: type[BoundedProtocol]) -> Iterator[Served]:
    """Serve with small limits."""
    app = App()
    limits = Limits(MAX_CONNECTIONS, MAX_HEADER_BYTES, HEADER_S, REQUEST_S)
    config = uvicorn.Config(
        app, http=partial(protocol, limits=limits, access_log=True), ws="none", lifespan="off", log_config=None,
        timeout_keep_alive=IDLE_S, timeout_graceful_shutdown=0.01, server_header=False,
    )  # fmt: skip
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Served(port, app, server)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(BoundedProtocol) as found:
        yield found


# Valid requests


def test_a_connection_serves_request_after_request(served: Served):
    with served.connect() as connection:
        for number in range(3):
            content = f"POST /{number} HTTP/1.1\r\nHost: segue\r\nContent-Length: 4\r\n\r\nbody".encode()
            connection.sendall(content)
            assert one_response(connection) == (200, f"/{number} body".encode())


def test_pipelined_requests_are_answered_in_order(served: Served):
    content = b"".join(b"GET /%d HTTP/1.1\r\nHost: segue\r\n\r\n" % number for number in range(5))

    answers = served.send(content)
    assert [body for _, _, body in answers] == [b"/%d " % number for number in range(5)]


def test_a_body_may_arrive_in_chunks_and_byte_by_byte(served: Served):
    with served.connect() as connection:
        for byte in b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n":
            connection.sendall(bytes([byte]))

        assert one_response(connection) == (200, b"/a body")


def test_the_frames_of_many_small_chunks_are_not_long_headers(served: Served):
    """All frames together are longer than headers may be."""
    body = b"1\r\nx\r\n" * 5000
    with served.connect() as connection:
        connection.sendall(
            b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
        )

        assert one_response(connection) == (200, b"/a " + b"x" * 5000)


def test_a_complete_response_is_sent_before_the_loop_continues(served: Served):
    with served.connect() as connection:
        connection.sendall(b"GET /busy HTTP/1.1\r\nHost: segue\r\n\r\n")
        assert connection.recv(1 << 16).endswith(b"/busy ")
        served.app.seen.set()
    with served.connect() as connection:  # answered after the loop has continued
        connection.sendall(GET)
        assert connection.recv(1 << 16).endswith(b"/ ")
    assert served.app.seen_meanwhile


def test_a_head_does_not_wait_for_a_late_body(served: Served):
    with served.connect() as connection:
        connection.sendall(b"GET /late HTTP/1.1\r\nHost: segue\r\n\r\n")
        response = HTTPResponse(connection)
        response.begin()
        assert response.status == 200

        served.app.let_go()
        assert response.read() == b"/late "


def test_a_connection_is_closed_if_the_client_asks(served: Served):
    ((status, headers, _),) = served.send(b"GET / HTTP/1.1\r\nHost: segue\r\nConnection: close\r\n\r\n")

    assert status == 200
    assert headers["connection"] == "close"


# Headers


def of_length(length: int) -> bytes:
    """Return a request without a body that is *length* bytes long."""
    beginning, end = b"GET /%d HTTP/1.1\r\nHost: segue\r\nX: " % length, b"\r\n\r\n"
    return beginning + b"y" * (length - len(beginning) - len(end)) + end


@pytest.mark.parametrize("piece", [MAX_HEADER_BYTES + 1, 100, 1])
def test_headers_may_be_as_long_as_the_limit(piece: int, served: Served):
    """The limit does not depend on the size of the pieces that arrive."""
    before = refused("header")
    for length, status in ((MAX_HEADER_BYTES, 200), (MAX_HEADER_BYTES + 1, 431)):
        with served.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            content = of_length(length)
            for start in range(0, length, piece):
                connection.sendall(content[start : start + piece])
            assert one_response(connection)[0] == status

    assert refused("header") == before + 1
    assert served.app.paths == [f"/{MAX_HEADER_BYTES}"]


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\n",
        b"",
        b"GET / HTTP/1.1\r\nHost: segue\r\n" + b"a: b\r\n",
    ],
    ids=["path", "value", "name", "method", "many"],
)
def test_endless_headers_are_refused_at_the_limit(beginning: bytes, served: Served):
    with served.connect() as connection:
        connection.sendall(beginning + b"A" * MAX_HEADER_BYTES + b"A" * 100)
        answers = read_responses(until_closed(connection))

    assert [status for status, _, _ in answers] == [400 if beginning == b"" else 431]
    assert served.app.paths == []


def test_slow_headers_do_not_restart_their_timeout(served: Served):
    """A byte every few milliseconds does not extend it."""
    before = refused("slow")
    with served.connect() as connection:
        connection.settimeout(HEADER_S / 20)
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        sent = 0
        while sent < 2000:
            try:
                connection.sendall(b"y")
                sent += 1
                assert connection.recv(100) == b""
                break
            except TimeoutError:
                continue
            except OSError:
                break
    assert 0 < sent < 1000
    assert refused("slow") == before + 1
    assert served.app.paths == []


def test_a_silent_connection_is_closed(served: Served):
    with served.connect() as connection:
        assert until_closed(connection) == b""


def test_endless_empty_lines_are_refused(served: Served):
    (answer,) = served.send(b"\r\n" * MAX_HEADER_BYTES)

    assert is_refusal(answer, 431)


def test_an_invalid_request_is_logged(served: Served, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "segue"):
        (answer,) = served.send(b"nonsense\r\n\r\n")

    (line,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert (line.__dict__["status"], line.__dict__["request_id"]) == (400, answer[1]["x-request-id"])


# Bodies


@pytest.mark.parametrize("path", [b"/", b"/never"])
def test_a_slow_request_gets_408(path: bytes, served: Served):
    """Either its body or its answer is late."""
    before = refused("slow")
    body = b"Content-Length: 10\r\n\r\n12345" if path == b"/" else b"Content-Length: 5\r\n\r\n12345"
    (answer,) = served.send(b"POST " + path + b" HTTP/1.1\r\nHost: segue\r\n" + body)

    assert is_refusal(answer, 408)
    assert refused("slow") == before + 1


def test_a_408_keeps_the_id_of_the_request_and_leaves_its_log_line_to_the_reporter(
    served: Served, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "segue"):
        ((status, headers, _),) = served.send(b"GET /reported HTTP/1.1\r\nHost: segue\r\n\r\n")

    assert (status, headers["x-request-id"], served.app.context.status) == (408, "mine", 408)
    assert [record for record in caplog.records if record.getMessage() == "request"] == []


def test_a_pipelined_request_has_the_same_timeout(served: Served):
    answers = served.send(GET + b"GET /never HTTP/1.1\r\nHost: segue\r\n\r\n")

    assert [status for status, _, _ in answers] == [200, 408]


def test_an_unread_endless_body_ends_at_the_timeout(served: Served):
    """The response has been sent by then."""
    with served.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert one_response(connection)[0] == 200
        with pytest.raises(CLOSED):
            for _ in range(1 << 20):
                connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")


def test_the_idle_timeout_applies_after_a_late_body(served: Served):
    with served.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: segue\r\nContent-Length: 4\r\n\r\n")
        assert one_response(connection)[0] == 200
        connection.sendall(b"body")

        assert until_closed(connection) == b""


def test_a_connection_serves_another_request_after_a_late_body(served: Served):
    with served.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: segue\r\nContent-Length: 4\r\n\r\n")
        assert one_response(connection)[0] == 200
        connection.sendall(b"body" + GET)

        assert one_response(connection) == (200, b"/ ")


def test_trailers_are_not_headers(served: Served):
    """A key in a trailer would arrive after the request was authorized."""
    content = b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"
    with served.connect() as connection:
        connection.sendall(content + b"X-API-Key: key\r\nHost: other\r\n\r\n")
        assert one_response(connection) == (200, b"/a body")

    assert [name for name, _ in served.app.headers[0]] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize("piece", [b"a: " + b"b" * 1000 + b"\r\n", b"b" * 1000], ids=["many", "one"])
def test_endless_trailers_are_refused(piece: bytes, served: Served):
    """uvicorn keeps them in memory, which a fast client would fill before any timeout."""
    before = refused("header")
    with served.connect() as connection:
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n")
        with pytest.raises(CLOSED):
            for _ in range(100 << 10):
                connection.sendall(piece)

    assert refused("header") == before + 1


def test_trailers_have_the_same_limit_after_a_long_body(served: Served):
    """The length of the body is not credited to them."""
    content = b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%b\r\n0\r\n" % (1 << 19, b"x" * (1 << 19))
    trailer = b"a: " + b"b" * (1 << 21) + b"\r\n"
    with served.connect() as connection, suppress(OSError):
        connection.sendall(content + body + trailer + b"\r\n")
        assert one_response(connection)[0] == 431
    assert served.app.headers == []  # the application saw no complete request


# Connections


def test_an_idle_connection_is_closed_and_not_counted_as_slow(served: Served):
    before = refused("slow")
    with served.connect() as connection:
        connection.sendall(GET)
        assert one_response(connection)[0] == 200
        assert until_closed(connection) == b""

    assert refused("slow") == before


def test_connections_beyond_the_limit_are_closed_until_one_ends(served: Served):
    before = refused("connections")
    open_ones = [served.connect() for _ in range(MAX_CONNECTIONS)]
    for connection in open_ones:  # an answered connection has been accepted
        connection.sendall(GET)
        assert one_response(connection)[0] == 200
    with served.connect() as connection:
        assert until_closed(connection) == b""
    assert refused("connections") == before + 1

    for connection in open_ones:
        connection.close()
    closing = GET.replace(b"Host", b"Connection: close\r\nHost")
    assert any(served.send(closing) for _ in range(1000))


@pytest.mark.parametrize(
    "content", [b"GET /big HTTP/1.1\r\nHost: segue\r\n\r\n", GET + b"GET /big HTTP/1.1\r\nHost: segue\r\n\r\n" * 3]
)
def test_a_client_that_never_reads_is_disconnected(content: bytes, served: Served):
    with served.connect() as connection:
        connection.sendall(content)
        connections, waiting = served.server.server_state.connections, threading.Event()

        assert any("/big" in served.app.paths or waiting.wait(0.01) for _ in range(1000))
        assert any(not connections or waiting.wait(0.01) for _ in range(1000))


# Invalid requests


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
    ],
)
def test_an_invalid_request_is_refused(content: bytes, served: Served):
    (answer,) = served.send(content)

    assert is_refusal(answer, 505 if b"HTTP/2.0" in content else 400)
    assert served.app.paths == []


@pytest.mark.parametrize("second", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 3000 + b"\r\n\r\n"])
def test_a_refusal_is_not_sent_in_place_of_an_earlier_response(second: bytes, served: Served):
    """The client would take it for the response to its first request."""
    answers = served.send(b"GET /never HTTP/1.1\r\nHost: segue\r\n\r\n" + second)

    assert answers == []


def test_an_upgrade_header_is_ignored_without_a_warning(served: Served, caplog: pytest.LogCaptureFixture):
    content = b"GET /a HTTP/1.1\r\nHost: segue\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"

    ((status, _, body),) = served.send(content)
    assert (status, body) == (200, b"/a ")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Hosts and request targets


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (b"", "no Host header"),
        (b"Hostname: segue\r\n", "no Host header"),
        (b"Host: segue\r\nHost: segue\r\n", "2 Host headers"),
        (b"Host: a\r\nX: y\r\nhost: b\r\n", "2 Host headers"),
        (b"Host: a b\r\n", "not a host"),
        (b"Host: a, b\r\n", "not a host"),
        (b"Host: http://a/\r\n", "not a host"),
        (b"Host: user@a\r\n", "not a host"),
        (b"Host: a:b\r\n", "not a host"),
        (b"Host: [::1\r\n", "not a host"),
        (b"Host: \xc3\xa9\r\n", "not a host"),
    ],
)
def test_a_request_without_one_valid_host_is_refused(headers: bytes, said: str, served: Served):
    (answer,) = served.send(b"GET / HTTP/1.1\r\n" + headers + b"\r\n")

    assert is_refusal(answer, 400)
    assert said in json.loads(answer[2])["detail"]
    assert served.app.paths == []


def test_a_connection_that_was_answered_still_needs_a_host(served: Served):
    with served.connect() as connection:
        connection.sendall(GET)
        assert one_response(connection) == (200, b"/ ")
        connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        (answer,) = read_responses(until_closed(connection))
    assert is_refusal(answer, 400)


@pytest.mark.parametrize(
    "host", ["segue", "segue.example:8000", "segue_web", "127.0.0.1:80", "[::1]", "[fe80::1%eth0]:80", "", "a:"]
)
def test_a_host_may_have_a_port_or_be_an_address_or_empty(host: str, served: Served):
    ((status, _, body),) = served.send(f"GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())

    assert (status, body) == (200, b"/a ")


def test_an_old_client_needs_no_host_but_may_not_send_two(served: Served):
    (plain,), (twice,) = (
        served.send(b"GET /a HTTP/1.0\r\n" + hosts + b"\r\n") for hosts in (b"", b"Host: a\r\nHost: b\r\n")
    )

    assert (plain[0], plain[2]) == (200, b"/a ")
    assert is_refusal(twice, 400)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://segue/a", b"/a"),
        (b"HTTP://segue:8000/a?q=http://b/c", b"/a"),
        (b"http://segue", b"/"),
        (b"http://segue?q=1", b"/"),
        (b"https://[::1]:80/a", b"/a"),
        (b"/a?u=http://b/c", b"/a"),
        (b"/http://b", b"/http://b"),
        (b"//a", b"//a"),
        (b"*", b"*"),
    ],
)
def test_a_target_may_name_scheme_and_host(target: bytes, path: bytes, served: Served):
    ((status, _, body),) = served.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert (status, body) == (200, path + b" ")


@pytest.mark.parametrize("target", ["/search?q=Sigur Rós", "/search?q=Rós", "/sök", "/a b"])
def test_a_target_that_is_not_encoded_is_refused_with_the_remedy(target: str, served: Served):
    (answer,) = served.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    assert is_refusal(answer, 400)
    assert "percent-encode" in json.loads(answer[2])["detail"]


@pytest.mark.parametrize(("version", "n_interim"), [(b"1.1", 1), (b"1.0", 0)])
def test_only_a_client_that_knows_the_answer_is_told_to_continue(version: bytes, n_interim: int, served: Served):
    head = b"POST /a HTTP/" + version + b"\r\nHost: x\r\nConnection: close\r\n"
    with served.connect() as connection:
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
        content = until_closed(connection)

    assert content.count(b"HTTP/1.1 100 ") == n_interim
    assert content.endswith(b"/a body")
