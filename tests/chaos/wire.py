"""Bytes to a service and back, for what no HTTP library would send."""

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

# What an attempt may end with, beside a status: closed without a word, or still open when the patience ended.
CLOSED, OPEN = 0, -1
GIVEN_BACK_WITHIN_S = 2.0


@dataclass(frozen=True)
class Said:
    """
    All that came back over one connection.

    Attributes:
        answers: status, headers in lower case and body of each.
        closed: whether the service ended the connection.
        took_s: from the first byte sent until the last answer came or the connection was ended.
        sent: bytes that could be sent.
    """

    answers: list[tuple[int, Mapping[str, str], bytes]]
    closed: bool
    took_s: float
    sent: int

    @property
    def status(self) -> int:
        """Of the first answer; CLOSED or OPEN where there was none."""
        return self.answers[0][0] if self.answers else CLOSED if self.closed else OPEN

    @property
    def body(self) -> bytes:
        return self.answers[0][2] if self.answers else b""

    @property
    def refused(self) -> bool:
        """Whether it came to nothing: one answer of 4xx, or of 505, at most, no other."""
        refusal = 400 <= self.status < 500 or self.status == 505
        return self.status == CLOSED or (len(self.answers) == 1 and refusal)


def connect(service: Service, timeout_s: float = 10.0, receive_buffer: int | None = None) -> socket.socket:
    """A connection to *service*."""
    found = socket.socket()
    found.settimeout(timeout_s)
    if receive_buffer is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    found.connect(("127.0.0.1", service.port))
    return found


@contextmanager
def connections(service: Service, n: int, receive_buffer: int | None = None) -> Iterator[list[socket.socket]]:
    """*n* connections to *service*."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(service, receive_buffer=receive_buffer)) for _ in range(n)]


def say(service: Service, content: bytes, answers: int = 1, patience_s: float = 5.0) -> Said:
    """Send *content* at once; wait for *answers* answers, and a moment for more, or for the end of the connection."""
    started = time.monotonic()
    with connect(service, patience_s) as connection:
        sent = _send(connection, content)
        return _listen(connection, started, sent, answers, patience_s)


def say_slowly(
    service: Service,
    first: bytes,
    piece: bytes,
    every_s: float,
    patience_s: float,
    most: int = 1 << 40,
    answers: int = 1,
) -> Said:
    """
    Send *first*, then *piece* again and again, until something is said, the connection ends or *most* bytes are sent.

    Then wait for *answers* answers, or for the end of the connection.
    """
    started, sent = time.monotonic(), 0
    with connect(service, patience_s) as connection:
        sent += _send(connection, first)
        while time.monotonic() - started < patience_s and sent < most:
            connection.settimeout(max(every_s, 0.0005))
            try:
                if connection.recv(1, socket.MSG_PEEK):
                    return _listen(connection, started, sent, answers, patience_s)
                return Said([], True, time.monotonic() - started, sent)
            except TimeoutError:
                pass
            except OSError:
                return Said([], True, time.monotonic() - started, sent)
            connection.settimeout(patience_s)
            pushed = _send(connection, piece)
            sent += pushed
            if pushed < len(piece):  # it listens no more; what it said before may still be there
                return _listen(connection, started, sent, 1, 1.0)
        return _listen(connection, started, sent, 1, 0.5)


def get(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    return prepare("GET", path, None, dict(headers or {}))


def post(path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    return prepare("POST", path, body, dict(headers or {}))


def read_answers(content: bytes) -> list[tuple[int, Mapping[str, str], bytes]]:
    """The whole answers that *content* begins with."""
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
    """What `http.client` takes for a socket."""

    def __init__(self, content: io.BytesIO):
        self._content = content

    def makefile(self, *_: object) -> "io.BytesIO":
        return _Unclosed(self._content)  # type: ignore[return-value]


class _Unclosed:
    """A file that stays open, as another answer may follow."""

    def __init__(self, content: io.BytesIO):
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def close(self) -> None:
        pass


def _send(connection: socket.socket, content: bytes) -> int:
    """How many bytes of *content* could be sent."""
    sent = 0
    view = memoryview(content)
    while sent < len(content):
        try:
            sent += connection.send(view[sent : sent + (1 << 18)])
        except OSError:
            break
    return sent


def _listen(connection: socket.socket, started: float, sent: int, answers: int, patience_s: float) -> Said:
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
    return Said(read_answers(content), closed, took or time.monotonic() - started, sent)


@contextmanager
def flat_memory(service: Service, most_mib: float = 8.0) -> Iterator[None]:
    """
    A moment later the private memory of no worker has grown by more than *most_mib*, and no worker is another one.

    A worker gives back what was freed after the answer has left.
    """
    before = service.memory()
    yield
    assert service.workers() == list(before), "a worker died"
    flat = f"no worker to hold {most_mib:g} MiB more than before"
    until(lambda: _grown_mib(before) <= most_mib, GIVEN_BACK_WITHIN_S, flat)


def _grown_mib(before: Mapping[int, int]) -> float:
    return max(private_memory(pid) - bytes_ for pid, bytes_ in before.items()) / 2**20


class Peak:
    """The most that the private memory of a worker grows by, while this is entered."""

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
