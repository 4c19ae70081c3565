"""Raw bytes to a service and back, for requests that no HTTP library would send."""

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from load import prepare
from reliability import Service, private_memory, until

# Results in place of a status: closed without a response, or still open at the end.
CLOSED, OPEN = 0, -1
GIVEN_BACK_WITHIN_S = 10.0


@dataclass(frozen=True)
class Received:
    """
    The responses over one connection.

    Attributes:
        answers: status, headers in lower case and body of each.
        closed: True if the service closed the connection.
        took_s: seconds from the first byte until the last response, or until the connection was closed.
        sent: bytes that could be sent.
    """

    answers: list[tuple[int, Mapping[str, str], bytes]]
    closed: bool
    took_s: float
    sent: int

    @property
    def status(self) -> int:
        """Return the status of the first response; CLOSED or OPEN if there is none."""
        return self.answers[0][0] if self.answers else CLOSED if self.closed else OPEN

    @property
    def body(self) -> bytes:
        return self.answers[0][2] if self.answers else b""

    @property
    def refused(self) -> bool:
        """Return True if there was one 4xx or 505 at most, and no other response."""
        refusal = 400 <= self.status < 500 or self.status == 505
        return self.status == CLOSED or (len(self.answers) == 1 and refusal)


def connect(service: Service, timeout_s: float = 10.0, receive_buffer: int | None = None) -> socket.socket:
    """Return a connection to *service*."""
    found = socket.socket()
    found.settimeout(timeout_s)
    if receive_buffer is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    found.connect(("127.0.0.1", service.port))
    return found


@contextmanager
def connections(service: Service, n: int, receive_buffer: int | None = None) -> Iterator[list[socket.socket]]:
    """Open *n* connections to *service*."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(service, receive_buffer=receive_buffer)) for _ in range(n)]


def send(service: Service, content: bytes, answers: int = 1, patience_s: float = 5.0) -> Received:
    """Send *content*; wait for *answers* responses and a moment for more, or for the end of the connection."""
    started = time.monotonic()
    with connect(service, patience_s) as connection:
        sent = _send(connection, content)
        return _receive(connection, started, sent, answers, patience_s)


def send_slowly(
    service: Service,
    first: bytes,
    piece: bytes,
    every_s: float,
    patience_s: float,
    most: int = 1 << 40,
    answers: int = 1,
) -> Received:
    """
    Send *first*, then *piece* repeatedly, until a response, the end of the connection or *most* bytes.

    Then wait for *answers* responses, or for the end of the connection.
    """
    started, sent = time.monotonic(), 0
    with connect(service, patience_s) as connection:
        sent += _send(connection, first)
        while time.monotonic() - started < patience_s and sent < most:
            connection.settimeout(max(every_s, 0.0005))
            try:
                if connection.recv(1, socket.MSG_PEEK):
                    return _receive(connection, started, sent, answers, patience_s)
                return Received([], True, time.monotonic() - started, sent)
            except TimeoutError:
                pass
            except OSError:
                return Received([], True, time.monotonic() - started, sent)
            connection.settimeout(patience_s)
            pushed = _send(connection, piece)
            sent += pushed
            if pushed < len(piece):  # it reads no more; a response may have arrived
                return _receive(connection, started, sent, 1, 1.0)
        return _receive(connection, started, sent, 1, 0.5)


def get(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    return prepare("GET", path, None, dict(headers or {}))


def post(path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    return prepare("POST", path, body, dict(headers or {}))


def read_answers(content: bytes) -> list[tuple[int, Mapping[str, str], bytes]]:
    """Return the complete responses at the start of *content*."""
    found = []
    stream = io.BytesIO(content)
    while stream.tell() < len(content):
        response = http.client.HTTPResponse(_Stream(stream))
        try:
            response.begin()
            body = response.read()
        except (http.client.HTTPException, OSError, ValueError):
            break
        found.append((response.status, {k.lower(): v for k, v in response.getheaders()}, body))
    return found


class _Stream:
    """A socket for `http.client`."""

    def __init__(self, content: io.BytesIO):
        self._content = content

    def makefile(self, *_: object) -> "io.BytesIO":
        return _Unclosed(self._content)  # type: ignore[return-value]


class _Unclosed:
    """A file that stays open for the next response."""

    def __init__(self, content: io.BytesIO):
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def close(self) -> None:
        pass


def _send(connection: socket.socket, content: bytes) -> int:
    """Send *content* and return the number of bytes that could be sent."""
    sent = 0
    view = memoryview(content)
    while sent < len(content):
        try:
            sent += connection.send(view[sent : sent + (1 << 18)])
        except OSError:
            break
    return sent


def _receive(connection: socket.socket, started: float, sent: int, answers: int, patience_s: float) -> Received:
    content, took, closed = b"", 0.0, False
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        done = len(read_answers(content)) >= answers
        connection.settimeout(0.3 if done else max(0.01, deadline - time.monotonic()))
        try:
            part = connection.recv(1 << 18)
        except TimeoutError:
            if done:
                break
            continue
        except OSError:
            part = b""
        if not done:
            took = time.monotonic() - started
        if not part:
            closed = True
            break
        content += part
    return Received(read_answers(content), closed, took or time.monotonic() - started, sent)


@contextmanager
def flat_memory(service: Service, most_mib: float = 8.0) -> Iterator[None]:
    """
    Check that no worker died and that its private memory soon returns to within *most_mib* of the start.

    A worker returns freed memory after the response was sent.
    """
    before = service.memory()
    yield
    assert service.workers() == list(before), "a worker died"
    flat = f"each worker to return to within {most_mib:g} MiB"
    until(lambda: _grown_mib(before) <= most_mib, GIVEN_BACK_WITHIN_S, flat)


def _grown_mib(before: Mapping[int, int]) -> float:
    return max(private_memory(pid) - bytes_ for pid, bytes_ in before.items()) / 2**20


class Peak:
    """The greatest growth of a worker's private memory within the block."""

    def __init__(self, service: Service):
        self._service, self._done = service, threading.Event()
        self._before, self._most = 0, 0

    def __enter__(self) -> Self:
        self._before = max(self._service.memory().values())
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def mib(self) -> float:
        return (self._most - self._before) / 2**20

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._most = max(self._most, *self._service.memory().values())
