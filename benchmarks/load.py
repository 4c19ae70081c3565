"""
A load on a running service: kept connections, prepared bytes, one record for each request.

It shares the machine with the service, so it is small: uvloop, raw protocols, no HTTP library. In a *closed loop* each
of N connections sends its next request after each answer. In an *open loop* requests are sent at fixed times, and
latency counts from these, so that a slow service gets no time to catch up.
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

# In place of a status if there is no answer.
DROPPED, UNREACHABLE, UNANSWERED = 0, -1, -2

# Times are seconds of the monotonic clock; *request* is an index of the prepared requests; *port* is the client's and
# identifies the server's end of the connection.
RECORD = np.dtype(
    [("scheduled", "f8"), ("sent", "f8"), ("done", "f8"), ("status", "i2"), ("request", "i4"), ("port", "i4")]
)
Records = NDArray[np.void]
Answered = Callable[[int, int, bytes, bytes], None]
T = TypeVar("T")


def prepare(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request; a *body* other than bytes is sent as JSON."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Host": "127.0.0.1", **(headers or {})}
    if body is not None:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


class Connection(asyncio.Protocol):
    """One kept connection with at most one request in progress."""

    def __init__(self, load: "Load"):
        self.load, self.transport, self.port = load, None, 0
        self.busy, self.n_sent = False, 0
        self.request, self.scheduled, self.sent = 0, 0.0, 0.0
        self.parts: list[bytes] = []
        self.missing = -1  # missing bytes of the answer; -1 before its head is complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def send(self, request: int, scheduled: float) -> None:
        self.busy, self.request, self.scheduled, self.sent = True, request, scheduled, time.monotonic()
        self.n_sent += 1
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
        # `connection: close` is in the first part.
        ends = parts[0].find(b"\nconnection: close", 0, 2048) > 0
        if ends or self.n_sent == self.load.lifetime:
            self.transport.close()
        else:
            self.load.free(self)

    def _record(self, status: int) -> tuple[float, float, float, int, int, int]:
        return self.scheduled, self.sent, time.monotonic(), status, self.request, self.port

    def abandon(self) -> None:
        """Give up the unanswered request."""
        if self.busy:
            self.busy = False
            self.load.records.append(self._record(UNANSWERED))
        self.transport.abort()


class Load:
    """
    Sends *requests* repeatedly, in their order, to the service at *port*.

    Args:
        port: of 127.0.0.1.
        requests: as `prepare` makes them.
        answered: called with request, status, head and body of each answer; None for none.
        lifetime: requests after which a connection is closed and another one opened; 0 for never.
        patience_s: seconds to wait for answers after the last request.
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
        """End the load, from any thread, after the answers to the requests in progress."""
        self.stopped.set()

    async def closed(self, connections: int, seconds: float) -> Records:
        """Send requests over *connections*, each the next one after an answer."""
        self._until = time.monotonic() + seconds
        await asyncio.gather(*(self._connect(connections) for _ in range(connections)))
        while time.monotonic() < self._until and not self.stopped.is_set():
            await asyncio.sleep(0.05)
        self._until = 0.0
        return await self._end()

    async def open(self, rate: float, seconds: float, most: int = 2000, least: int = 0) -> Records:
        """
        Send *rate* requests a second over as many connections as necessary, *least* to *most*.

        They are sent at random times, as those of many independent clients (a Poisson process): an even rhythm would
        never let two arrive together, and a service would look faster than it is.
        """
        self._least = least
        await asyncio.gather(*(self._connect(least) for _ in range(least)))
        offsets = np.sort(np.random.default_rng(0).uniform(0, seconds, max(1, round(rate * seconds))))
        times = time.monotonic() + 0.01 + offsets
        sent = 0
        while sent < len(times) and not self.stopped.is_set():
            due = int(np.searchsorted(times, time.monotonic(), "right"))
            for scheduled in times[sent:due]:
                self._dispatch(float(scheduled), most)
            sent = max(sent, due)
            if sent < len(times):
                await asyncio.sleep(min(0.2, max(0.0, times[sent] - time.monotonic())))
        return await self._end()

    def free(self, connection: Connection) -> None:
        """Use a *connection* that has just been answered."""
        if self._pending:
            connection.send(*self._pending.popleft())
        elif self._until:
            self._ask_again(connection)
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """Replace a *connection* that either side has closed."""
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
        # The longest idle one, so that none is idle for so long that the server closes it.
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
    """Run *work* in the background; the loop itself holds weak references to tasks."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on a loop of uvloop, in this thread."""
    return uvloop.run(work)


def milliseconds(records: Records) -> NDArray[np.float64]:
    """Return the latencies, from the scheduled times."""
    return (records["done"] - records["scheduled"]) * 1e3


def percentile(records: Records, share: float) -> float:
    """Return the *share*th percentile of the latencies in milliseconds; NaN if there are none."""
    return float(np.percentile(milliseconds(records), share)) if len(records) else float("nan")


def accepted(records: Records) -> Records:
    """Return the records with status 200."""
    return records[records["status"] == 200]


def statuses(records: Records) -> dict[int, int]:
    """Return the number of records by status."""
    found, counts = np.unique(records["status"], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
