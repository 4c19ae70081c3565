"""What a connection may cost, over real sockets: bytes of headers, time, and how many there are."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPResponse
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service import protocol
from service.envelope import SCOPE
from service.metrics import REFUSED
from service.protocol import BoundedProtocol, Corked, Limits

PATIENCE_S = 10.0  # for what has to happen; nothing here takes as long unless it is broken
HEADER_S, REQUEST_S, IDLE_S = 0.3, 0.6, 0.3
MAX_HEADER_BYTES, MAX_CONNECTIONS = 2000, 5
BIG = 64 << 20
CLOSED = (ConnectionResetError, BrokenPipeError)  # whichever it happens to be
GET = b"GET / HTTP/1.1\r\nHost: segue\r\n\r\n"


class App:
    """
    Answers with the body that it was sent.

    `/big` gives more than any buffer takes, `/unread` does not read what it is sent, `/never` never answers, `/late`
    gives the body of its answer once `let_go` was called, `/busy` lets the loop do nothing until its answer is `seen`.
    """

    def __init__(self) -> None:
        self._late = asyncio.Event()
        self.seen, self.seen_meanwhile = threading.Event(), False
        self.asked: list[str] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.asked.append(path)
        if path == "/called":  # as the guard has it, which writes the line of a call as it ends
            self.call = scope[SCOPE] = SimpleNamespace(request_id="mine", status=0)
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
        """Let `/late` end its answer."""
        self._loop.call_soon_threadsafe(self._late.set)


@dataclass
class Served:
    """A server on a port, and what it serves."""

    port: int
    app: App
    server: uvicorn.Server

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def say(self, content: bytes) -> list[tuple[int, dict[str, str], bytes]]:
        """The answers to *content*, once the server has closed the connection."""
        with self.connect() as connection:
            connection.sendall(content)
            return read_answers(until_closed(connection))


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection; TimeoutError where it does not."""
    found = b""
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


class Several(BytesIO):
    """Several answers: who reads one closes what it was read from."""

    def close(self) -> None: ...


def read_answers(content: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each answer in *content*."""
    found, stream = [], Several(content)
    while stream.tell() < len(content):
        response = HTTPResponse(type("Socket", (), {"makefile": lambda *_: stream})())
        response.begin()
        found.append((response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()))
    return found


def one_answer(connection: socket.socket) -> tuple[int, bytes]:
    """The next answer over a connection that stays open."""
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
    return REFUSED.labels(reason)._value.get()


@pytest.fixture
def served() -> Iterator[Served]:
    """A server with small limits."""
    app = App()
    limits = Limits(MAX_CONNECTIONS, MAX_HEADER_BYTES, HEADER_S, REQUEST_S)
    config = uvicorn.Config(
        app, http=partial(BoundedProtocol, limits=limits, access_log=True), ws="none", lifespan="off", log_config=None,
        timeout_keep_alive=IDLE_S, timeout_graceful_shutdown=0.01, server_header=False,
    )  # fmt: skip
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield Served(port, app, server)
    server.should_exit = True
    thread.join()


# What works


def test_a_connection_serves_request_after_request(served: Served):
    with served.connect() as connection:
        for number in range(3):
            content = f"POST /{number} HTTP/1.1\r\nHost: segue\r\nContent-Length: 4\r\n\r\nbody".encode()
            connection.sendall(content)
            assert one_answer(connection) == (200, f"/{number} body".encode())


def test_requests_that_come_at_once_are_answered_in_their_order(served: Served):
    content = b"".join(b"GET /%d HTTP/1.1\r\nHost: segue\r\n\r\n" % number for number in range(5))

    answers = served.say(content)
    assert [body for _, _, body in answers] == [b"/%d " % number for number in range(5)]


def test_a_body_may_come_in_pieces_and_a_byte_at_a_time(served: Served):
    with served.connect() as connection:
        for byte in b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n":
            connection.sendall(bytes([byte]))

        assert one_answer(connection) == (200, b"/a body")


def test_a_body_of_many_small_chunks_is_no_long_header(served: Served):
    """The framing of each byte takes five more; all of it is more than headers may be long."""
    body = b"1\r\nx\r\n" * 5000
    with served.connect() as connection:
        connection.sendall(
            b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
        )

        assert one_answer(connection) == (200, b"/a " + b"x" * 5000)


class Wire(asyncio.Transport):
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[bytes | str] = []

    def write(self, data: Any) -> None:
        self.said.append(data)

    def close(self) -> None:
        self.said.append("closed")

    def get_write_buffer_size(self) -> int:
        return 0


def test_what_is_written_in_one_turn_of_the_loop_is_sent_at_once():
    wire = Wire()

    async def write() -> None:
        corked = Corked(wire, asyncio.get_running_loop())
        corked.write(b"head")
        corked.write(b"body")
        assert (wire.said, corked.get_write_buffer_size()) == ([], 8)
        await asyncio.sleep(0)
        assert (wire.said, corked.get_write_buffer_size()) == ([b"headbody"], 0)
        corked.write(b"last")
        corked.close()
        await asyncio.sleep(0)

    asyncio.run(write())
    assert wire.said == [b"headbody", b"last", "closed"]


class Counted:
    """A transport, and what was written to it."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]):
        self._transport, self._written = transport, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)


def test_head_and_body_of_an_answer_are_sent_as_one(served: Served, monkeypatch: pytest.MonkeyPatch):
    written: list[bytes] = []
    monkeypatch.setattr(protocol, "Corked", lambda transport, loop: Corked(Counted(transport, written), loop))
    with served.connect() as connection:
        connection.sendall(GET)
        assert connection.recv(1 << 16).endswith(b"\r\n\r\n/ ")
        assert [data[:12] for data in written] == [b"HTTP/1.1 200"]


def test_an_answer_that_is_whole_waits_for_nothing_that_the_loop_does_next(served: Served):
    with served.connect() as connection:
        connection.sendall(b"GET /busy HTTP/1.1\r\nHost: segue\r\n\r\n")
        assert connection.recv(1 << 16).endswith(b"/busy ")
        served.app.seen.set()
    with served.connect() as connection:  # answered once the loop has gone on
        connection.sendall(GET)
        assert connection.recv(1 << 16).endswith(b"/ ")
    assert served.app.seen_meanwhile


def test_a_head_does_not_wait_for_a_body_that_is_late(served: Served):
    with served.connect() as connection:
        connection.sendall(b"GET /late HTTP/1.1\r\nHost: segue\r\n\r\n")
        response = HTTPResponse(connection)
        response.begin()
        assert response.status == 200

        served.app.let_go()
        assert response.read() == b"/late "


def test_who_asks_to_close_is_closed(served: Served):
    ((status, headers, _),) = served.say(b"GET / HTTP/1.1\r\nHost: segue\r\nConnection: close\r\n\r\n")

    assert status == 200
    assert headers["connection"] == "close"


# Headers


def of_length(length: int) -> bytes:
    """A request of *length* bytes, all of them request line and headers."""
    beginning, end = b"GET /%d HTTP/1.1\r\nHost: segue\r\nX: " % length, b"\r\n\r\n"
    return beginning + b"y" * (length - len(beginning) - len(end)) + end


@pytest.mark.parametrize("piece", [MAX_HEADER_BYTES + 1, 100, 1])
def test_headers_may_be_as_long_as_the_limit_and_not_a_byte_longer(piece: int, served: Served):
    """However the network cuts them into pieces."""
    before = refused("header")
    for length, status in ((MAX_HEADER_BYTES, 200), (MAX_HEADER_BYTES + 1, 431)):
        with served.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            content = of_length(length)
            for start in range(0, length, piece):
                connection.sendall(content[start : start + piece])
            assert one_answer(connection)[0] == status

    assert refused("header") == before + 1
    assert served.app.asked == [f"/{MAX_HEADER_BYTES}"]


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
def test_headers_without_end_are_refused_before_they_end(beginning: bytes, served: Served):
    with served.connect() as connection:
        connection.sendall(beginning + b"A" * MAX_HEADER_BYTES + b"A" * 100)
        answers = read_answers(until_closed(connection))

    assert [status for status, _, _ in answers] == [400 if beginning == b"" else 431]
    assert served.app.asked == []


def test_headers_that_come_slowly_are_waited_for_once(served: Served):
    """A byte now and then does not start the clock again."""
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
    assert served.app.asked == []


def test_who_says_nothing_is_closed(served: Served):
    with served.connect() as connection:
        assert until_closed(connection) == b""


def test_empty_lines_without_end_are_refused_as_headers_are(served: Served):
    (answer,) = served.say(b"\r\n" * MAX_HEADER_BYTES)

    assert is_refusal(answer, 431)


def test_what_never_was_a_request_has_its_line_in_the_log(served: Served, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "segue"):
        (answer,) = served.say(b"nonsense\r\n\r\n")

    (line,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert (line.__dict__["status"], line.__dict__["request_id"]) == (400, answer[1]["x-request-id"])


# Bodies


@pytest.mark.parametrize("path", [b"/", b"/never"])
def test_a_request_that_takes_too_long_is_told_so(path: bytes, served: Served):
    """Whether it is its body that does not come or its answer that is not found."""
    before = refused("slow")
    body = b"Content-Length: 10\r\n\r\n12345" if path == b"/" else b"Content-Length: 5\r\n\r\n12345"
    (answer,) = served.say(b"POST " + path + b" HTTP/1.1\r\nHost: segue\r\n" + body)

    assert is_refusal(answer, 408)
    assert refused("slow") == before + 1


def test_a_call_that_takes_too_long_keeps_its_id_and_is_told_what_was_answered(
    served: Served, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "segue"):
        ((status, headers, _),) = served.say(b"GET /called HTTP/1.1\r\nHost: segue\r\n\r\n")

    assert (status, headers["x-request-id"], served.app.call.status) == (408, "mine", 408)
    assert [record for record in caplog.records if record.getMessage() == "request"] == []


def test_a_request_that_waited_for_the_one_before_may_take_no_longer(served: Served):
    answers = served.say(GET + b"GET /never HTTP/1.1\r\nHost: segue\r\n\r\n")

    assert [status for status, _, _ in answers] == [200, 408]


def test_a_body_that_nobody_reads_is_not_waited_for(served: Served):
    """The answer went out before; the connection ends as soon as the request may last no longer."""
    with served.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert one_answer(connection)[0] == 200
        with pytest.raises(CLOSED):
            for _ in range(1 << 20):
                connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")


def test_a_connection_is_idle_only_so_long_after_a_body_that_came_after_its_answer(served: Served):
    with served.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: segue\r\nContent-Length: 4\r\n\r\n")
        assert one_answer(connection)[0] == 200
        connection.sendall(b"body")

        assert until_closed(connection) == b""


def test_a_connection_still_serves_after_a_body_that_came_after_its_answer(served: Served):
    with served.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: segue\r\nContent-Length: 4\r\n\r\n")
        assert one_answer(connection)[0] == 200
        connection.sendall(b"body" + GET)

        assert one_answer(connection) == (200, b"/ ")


def test_trailers_are_no_headers(served: Served):
    """What follows a body is not what its request was decided by: a key there would be one in a wrong place."""
    content = b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"
    with served.connect() as connection:
        connection.sendall(content + b"X-API-Key: key\r\nHost: other\r\n\r\n")
        assert one_answer(connection) == (200, b"/a body")

    assert [name for name, _ in served.app.headers[0]] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize("piece", [b"a: " + b"b" * 1000 + b"\r\n", b"b" * 1000], ids=["many", "one"])
def test_trailers_without_end_are_refused(piece: bytes, served: Served):
    """They are kept as headers are, and as fast as a network is they would fill the memory before any clock ends."""
    before = refused("header")
    with served.connect() as connection:
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n")
        with pytest.raises(CLOSED):
            for _ in range(100 << 10):
                connection.sendall(piece)

    assert refused("header") == before + 1


# Fails as long as the fault that it shows is not mended.
def test_trailers_may_not_be_longer_because_the_body_was_long(served: Served):
    """A body may be of any length where nobody reads it, and what follows it is kept until it ends."""
    content = b"POST /a HTTP/1.1\r\nHost: segue\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%b\r\n0\r\n" % (1 << 19, b"x" * (1 << 19))
    trailer = b"a: " + b"b" * (1 << 21) + b"\r\n"
    with served.connect() as connection, suppress(OSError):
        connection.sendall(content + body + trailer + b"\r\n")
        assert one_answer(connection)[0] == 431
    assert served.app.headers == []  # none was answered


# Connections


def test_an_idle_connection_is_closed_and_does_not_count_as_slow(served: Served):
    before = refused("slow")
    with served.connect() as connection:
        connection.sendall(GET)
        assert one_answer(connection)[0] == 200
        assert until_closed(connection) == b""

    assert refused("slow") == before


def test_more_connections_than_may_be_are_closed_at_once_and_one_that_ends_makes_room(served: Served):
    before = refused("connections")
    open_ones = [served.connect() for _ in range(MAX_CONNECTIONS)]
    for connection in open_ones:  # each is accepted by the time that it is answered
        connection.sendall(GET)
        assert one_answer(connection)[0] == 200
    with served.connect() as connection:
        assert until_closed(connection) == b""
    assert refused("connections") == before + 1

    for connection in open_ones:
        connection.close()
    closing = GET.replace(b"Host", b"Connection: close\r\nHost")
    assert any(served.say(closing) for _ in range(1000))


@pytest.mark.parametrize(
    "content", [b"GET /big HTTP/1.1\r\nHost: segue\r\n\r\n", GET + b"GET /big HTTP/1.1\r\nHost: segue\r\n\r\n" * 3]
)
def test_a_client_that_never_reads_is_cut_off(content: bytes, served: Served):
    with served.connect() as connection:
        connection.sendall(content)
        connections, waiting = served.server.server_state.connections, threading.Event()

        assert any("/big" in served.app.asked or waiting.wait(0.01) for _ in range(1000))
        assert any(not connections or waiting.wait(0.01) for _ in range(1000))


# What is no HTTP


@pytest.mark.parametrize(
    "content",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
     b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
     b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", b"GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused(content: bytes, served: Served):
    (answer,) = served.say(content)

    assert is_refusal(answer, 400)
    assert served.app.asked == []


@pytest.mark.parametrize("second", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 3000 + b"\r\n\r\n"])
def test_no_request_is_answered_with_the_refusal_of_the_next(second: bytes, served: Served):
    """Answers come in the order of their requests: who asked first would take the first for its own."""
    answers = served.say(b"GET /never HTTP/1.1\r\nHost: segue\r\n\r\n" + second)

    assert answers == []


def test_a_wish_for_another_protocol_is_passed_over_without_a_word(served: Served, caplog: pytest.LogCaptureFixture):
    content = b"GET /a HTTP/1.1\r\nHost: segue\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"

    ((status, _, body),) = served.say(content)
    assert (status, body) == (200, b"/a ")
    assert caplog.records == []
