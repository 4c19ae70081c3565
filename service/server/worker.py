"""A worker: one process that answers requests, a uvicorn server with our limits, drain and signals."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import parent_process
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.config import Config
from uvicorn.supervisors.multiprocess import Process

from service.settings import Settings
from service.telemetry.counts import log_loss
from service.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from service.api.state import AppState

# GIL switch interval. The default of 5 ms would let a background thread delay a request by more than it takes.
SWITCH_INTERVAL_S = 0.0002
ACCEPTED_AT_ONCE = 16
BEAT_S = 1.0
MAX_BEATS = 1 << 16  # read at the same time
# Counted in ticks of the supervisor, not in seconds: while the whole machine is paused, it does not tick either.
HANGS_AFTER_TICKS = 150
STARTS_WITHIN_TICKS = 3000  # until the first heartbeat; importing the libraries takes long on a busy machine


class Worker(uvicorn.Server):
    """A server that drains before it stops, polls when told to, and does not outlive its supervisor."""

    def __init__(self, config: Config, settings: Settings, beat: Callable[[], None]):
        super().__init__(config)
        self._drain_s, self._beat = settings.drain_s, beat
        self._parent = _parent_id()
        self._stop_s: float | None = None
        self._told_to_poll = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        signal.signal(signal.SIGHUP, self._note_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        super().run(multiply(sockets or []))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._beating = asyncio.create_task(self._keep_beating())  # now: the application may take long to start
        await super().startup(sockets)

    async def _keep_beating(self) -> None:
        while True:
            self._beat()
            log_loss()
            await asyncio.sleep(BEAT_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain and then stop on SIGTERM; stop on Ctrl-C and on a second signal."""
        if sig == signal.SIGTERM and self._stop_s is None and self._drain_s:
            self._stop_s = time.monotonic() + self._drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Handle signals. uvicorn calls this ten times a second."""
        state: AppState = self.config.loaded_app.state.segue
        if self._told_to_poll:
            self._told_to_poll = False
            self._polling = asyncio.create_task(state.reloader.poll(again=True))
        if self._stop_s is not None or self.should_exit:
            state.reloader.stop()
        if (self._stop_s is not None and time.monotonic() >= self._stop_s) or os.getppid() != self._parent:
            self.should_exit = True
        return await super().on_tick(counter)

    def _note_hangup(self, _: int, __: FrameType | None) -> None:
        self._told_to_poll = True


class WorkerProcess(Process):
    """
    A process that runs a `Worker`.

    Attributes:
        age_ticks: ticks of the supervisor since the start.
        is_buried: True between its death and its replacement.
    """

    def __init__(self, config: Config, sockets: list[socket.socket], settings: Settings):
        self.age_ticks, self.is_buried = 0, False
        self._settings = settings
        self._has_beaten, self._silent_ticks = False, 0
        super().__init__(config, sockets)
        for end in (self.parent_conn, self.child_conn):
            os.set_blocking(end.fileno(), False)

    @property
    def server(self) -> Worker:
        if self._server is None:
            self._server = Worker(self.config, self._settings, self.beat)
        assert isinstance(self._server, Worker)
        return self._server

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        configure_logs(self._settings)
        super().target(sockets)

    def always_pong(self) -> None:
        """Do nothing: the heartbeat shows that the event loop runs, which pongs do not."""

    def beat(self) -> None:
        """Show the supervisor that the event loop of this process runs."""
        with suppress(OSError):  # it has not read for hours, and will when it goes on
            os.write(self.child_conn.fileno(), b".")

    def start(self) -> None:
        """Start the process. It receives SIGHUP only when it can handle it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def hangs(self) -> bool:
        """Count one tick; returns True if the process has been silent for too long."""
        self.age_ticks += 1
        beats = self._beats()
        self._silent_ticks = 0 if beats else self._silent_ticks + 1
        self._has_beaten = self._has_beaten or beats
        return self._silent_ticks > (HANGS_AFTER_TICKS if self._has_beaten else STARTS_WITHIN_TICKS)

    def _beats(self) -> bool:
        with suppress(OSError):  # there was none, or the process was killed
            return bool(os.read(self.parent_conn.fileno(), MAX_BEATS))
        return False

    def signal(self, number: int) -> None:
        """Send the signal *number* to the process."""
        if self.pid is not None and self.process.is_alive():
            os.kill(self.pid, number)


def multiply(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """
    Duplicate each socket `ACCEPTED_AT_ONCE` times.

    libuv accepts one connection a socket in each turn of its loop. Under load a turn takes as long as an answer, and
    the last of thirty new clients would wait for thirty of them.
    """
    for each in sockets:
        # The flag belongs to the socket that all workers share. A copy of a blocking one would make it block for all,
        # and a worker that loses the race for a connection would wait for the next one with its whole loop.
        each.setblocking(False)
    return [each if number == 0 else each.dup() for each in sockets for number in range(ACCEPTED_AT_ONCE)]


def _parent_id() -> int:
    """Return the id of the process that started this one, even if it has ended."""
    parent = parent_process()
    found = None if parent is None else parent.pid
    return os.getppid() if found is None else found
