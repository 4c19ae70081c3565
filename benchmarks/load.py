"""
A load on a service that runs: kept connections, prepared bytes, one record for each request.

It shares the machine with what it loads, so it is as small as it can be: uvloop, raw protocols, no HTTP library. In a
*closed loop* each of N connections asks again as soon as it is answered. In an *open loop* requests are sent at times
fixed beforehand, and latency counts from these: a service that falls behind is not given time to catch up.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
import uvloop
from numpy.typing import NDArray

# What stands in place of a status where there was none.
DROPPED, UNREACHABLE, UNANSWERED = 0, -1, -2

# Times are of the monotonic clock, in seconds; *request* is the place in the list of prepared requests; *port* is the
# client's own, by which the server's end of the connection can be found.
RECORD = np.dtype(
    [("scheduled", "f8"), ("sent", "f8"), ("done", "f8"), ("status", "i2"), ("request", "i4"), ("port", "i4")]
)
Records = NDArray[np.void]
Answered = Callable[[int, int, bytes, bytes], None]
T = TypeVar("T")


def prepare(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a request; a *body* that is not bytes already is sent as JSON."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Host": "127.0.0.1", **(headers or {})}
    if body is not None:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


class Connection(asyncio.Protocol):
    """One kept connection with at most one request on its way."""

    def __init__(self, load: "Load"):
        self.load, self.transport, self.port = load, None, 0
        self.busy, self.asked = False, 0
        self.request, self.scheduled, self.sent = 0, 0.0, 0.0
        self.parts: list[bytes] = []
        self.missing = -1  # bytes of the answer that have yet to come; -1 until its head is here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def send(self, request: int, scheduled: float) -> None:
        self.busy, self.request, self.scheduled, self.sent = True, request, scheduled, time.monotonic()
        self.asked += 1
        self.transport.write(self.load.requests[request])

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        if self.missing < 0:
            if len(self.parts) > 1:
                self.parts = [b"".join(self.parts)]
            self._read_head(self.parts[0])
        else:
            self.missing -= len(data)
        if self.missing == 0:
            self._finish()

    def connection_lost(self, _: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self.load.records.append(self._record(DROPPED))
        self.load.lost(self)

    def _read_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        start = data.find(b"content-length: ", 0, end)
        if start < 0:
            raise ValueError(f"an answer without content-length: {data[: end + 2]!r}")
        self.missing = end + 4 + int(data[start + 16 : data.find(b"\r", start)]) - len(data)

    def _finish(self) -> None:
        self.busy, self.missing = False, -1
        parts, self.parts = self.parts, []
        status = int(parts[0][9:12])
        self.load.records.append(self._record(status))
        if self.load.answered is not None:
            head, _, body = b"".join(parts).partition(b"\r\n\r\n")
            self.load.answered(self.request, status, head, body)
        # `Connection: close` is small enough to be in the first part, and told in lower case.
        ends = parts[0].find(b"\nconnection: close", 0, 2048) > 0
        if ends or self.asked == self.load.lifetime:
            self.transport.close()
        else:
            self.load.free(self)

    def _record(self, status: int) -> tuple[float, float, float, int, int, int]:
        return self.scheduled, self.sent, time.monotonic(), status, self.request, self.port

    def abandon(self) -> None:
        """Give up what was not answered."""
        if self.busy:
            self.busy = False
            self.load.records.append(self._record(UNANSWERED))
        self.transport.abort()


class Load:
    """
    Sends *requests*, again and again in their order, to the service at *port*.

    Args:
        port: of 127.0.0.1.
        requests: as `prepare` makes them.
        answered: is given request, status, head and body of each answer; None where nobody looks at them.
        lifetime: after so many requests a connection is closed and another one opened; 0 for never.
        patience_s: how long an answer is waited for once all is sent.
    """

    def __init__(
        self,
        port: int,
        requests: Sequence[bytes],
        answered: Answered | None = None,
        lifetime: int = 0,
        patience_s: float = 10.0,
    ):
        self.port, self.requests, self.answered = port, requests, answered
        self.lifetime, self.patience_s = lifetime, patience_s
        self.records: list[tuple[float, float, float, int, int, int]] = []
        self.stopped = threading.Event()
        self._connections: set[Connection] = set()
        self._opening = 0
        self._idle: deque[Connection] = deque()
        self._pending: deque[tuple[int, float]] = deque()
        self._next = 0
        self._least = 0  # connections that an open loop keeps
        self._until = 0.0  # when a closed loop ends; 0 in an open one

    def stop(self) -> None:
        """End the load, from any thread; what is on its way is waited for."""
        self.stopped.set()

    async def closed(self, connections: int, seconds: float) -> Records:
        """Load by *connections* of which each asks again as soon as it is answered."""
        self._until = time.monotonic() + seconds
        await asyncio.gather(*(self._connect(connections) for _ in range(connections)))
        while time.monotonic() < self._until and not self.stopped.is_set():
            await asyncio.sleep(0.05)
        self._until = 0.0
        return await self._end()

    async def open(self, rate: float, seconds: float, most: int = 2000, least: int = 0) -> Records:
        """Load by *rate* requests a second, over as many connections as it takes within *least* and *most*."""
        self._least = least
        await asyncio.gather(*(self._connect(least) for _ in range(least)))
        started, n = time.monotonic() + 0.01, max(1, round(rate * seconds))
        sent = 0
        while sent < n and not self.stopped.is_set():
            due = min(n, int((time.monotonic() - started) * rate) + 1)
            for index in range(sent, due):
                self._dispatch(started + index / rate, most)
            sent = max(sent, due)
            await asyncio.sleep(min(0.2, max(0.0, started + sent / rate - time.monotonic())))
        return await self._end()

    def free(self, connection: Connection) -> None:
        """What a connection does that was just answered."""
        if self._pending:
            connection.send(*self._pending.popleft())
        elif self._until:
            self._ask_again(connection)
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is closed, by whichever side."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._until > time.monotonic() or (len(self._connections) < self._least and not self.stopped.is_set()):
            asyncio.get_running_loop().call_later(0.01, self._replace)

    def _replace(self) -> None:
        if self._until or len(self._connections) < self._least:
            _keep(self._connect(len(self._connections) + self._opening + 1))

    def _ask_again(self, connection: Connection) -> None:
        now = time.monotonic()
        if now < self._until and not self.stopped.is_set():
            connection.send(self._turn(), now)
        else:
            self._idle.append(connection)

    def _turn(self) -> int:
        self._next += 1
        return (self._next - 1) % len(self.requests)

    def _dispatch(self, scheduled: float, most: int) -> None:
        request = self._turn()
        # The one that has rested longest: none rests for so long that the server closes it.
        if self._idle:
            self._idle.popleft().send(request, scheduled)
            return
        self._pending.append((request, scheduled))
        if self._opening < len(self._pending) and len(self._connections) + self._opening < most:
            _keep(self._connect(most))

    async def _connect(self, most: int) -> None:
        if len(self._connections) + self._opening >= most:
            return
        self._opening += 1
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), "127.0.0.1", self.port
            )
        except OSError:
            self._unreachable()
            return
        finally:
            self._opening -= 1
        self._connections.add(connection)
        self.free(connection)

    def _unreachable(self) -> None:
        now = time.monotonic()
        if self._pending or self._until:
            request, scheduled = self._pending.popleft() if self._pending else (self._turn(), now)
            self.records.append((scheduled, now, now, UNREACHABLE, request, 0))
        if self._until > now:
            asyncio.get_running_loop().call_later(0.05, self._replace)

    async def _end(self) -> Records:
        self._least, deadline = 0, time.monotonic() + self.patience_s
        while self._pending or any(connection.busy for connection in self._connections):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        self.records += [(when, 0.0, time.monotonic(), UNANSWERED, request, 0) for request, when in self._pending]
        self._pending.clear()
        while self._connections or self._opening:
            for connection in list(self._connections):
                connection.abandon()
            await asyncio.sleep(0.01)
        records, self.records = np.array(self.records, RECORD), []
        return records[np.argsort(records["scheduled"], kind="stable")]


_tasks: set["asyncio.Task[None]"] = set()


def _keep(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* on the side; the loop itself holds tasks by weak references alone."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on a loop of uvloop, in this thread."""
    return uvloop.run(work)


def milliseconds(records: Records) -> NDArray[np.float64]:
    """How long each took from when it was due."""
    return (records["done"] - records["scheduled"]) * 1e3


def percentile(records: Records, share: float) -> float:
    """The *share*th percentile of the latencies, in milliseconds; not a number where there are none."""
    return float(np.percentile(milliseconds(records), share)) if len(records) else float("nan")


def accepted(records: Records) -> Records:
    """Those that were answered by 200."""
    return records[records["status"] == 200]


def statuses(records: Records) -> dict[int, int]:
    """How many there are of each status."""
    found, counts = np.unique(records["status"], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
