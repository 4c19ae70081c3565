"""The process that holds the socket and keeps the workers alive; it knows nothing of models."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import parent_process
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.board import Board
from service.logs import configure_logs
from service.metrics import DEATHS, forget_worker
from service.protocol import BoundedProtocol, Limits
from service.settings import Settings

log = logging.getLogger("segue")

TICK_S = 0.1
BEAT_TICKS = 10  # of uvicorn's, of which there are ten a second
HANGS_AFTER_S = 15.0
LEAST_LIFE_S = 1.0  # what ended a worker sooner than that may end the next as soon
KILL_AFTER_S = 5.0  # beyond the time that the workers give themselves
# For so long another thread (metrics, an audit, a version being opened) may keep the one that answers from going on,
# each time that one comes back from numpy; five milliseconds, as Python has it, are more than an answer takes.
SWITCH_S = 0.0002
ACCEPTED_AT_ONCE = 16
APPLICATION = "service.app:create_app"


def serve(settings: Settings) -> int:
    """
    Serve by *settings*, those of the environment, with a runtime directory, until told to stop.

    Returns:
        The exit code.

    SIGTERM and SIGINT stop it, SIGHUP makes all workers look for what changed.
    """
    with reserve(settings.host, settings.port) as place:
        supervisor = Supervisor(_config(settings), place, settings)
        supervisor.run()
        return supervisor.exit_code


def reserve(host: str, port: int) -> socket.socket:
    """
    A socket that holds an address, and does not listen: each worker has one of its own there that does.

    So the system spreads connections over the workers; one socket for all would leave most to whoever is quickest.

    Raises:
        OSError: another process listens there, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port:
            # One that may be shared would also be shared with another service of the same user.
            with socket.socket(family) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((host, port))
        return _bind(family, host, port)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error


def _bind(family: int, host: str, port: int) -> socket.socket:
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((host, port))
    return bound


def bounded_protocol(settings: Settings) -> Any:
    """The protocol of connections within the limits of *settings*: what uvicorn calls as it would call a class."""
    limits = Limits(
        settings.max_connections, settings.max_header_bytes, settings.header_timeout_s, settings.request_timeout_s
    )
    return partial(BoundedProtocol, limits=limits, access_log=settings.access_log)


def _config(settings: Settings) -> Config:
    return Config(
        APPLICATION,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=bounded_protocol(settings),
        ws="none",
        log_config=None,
        log_level=None,  # ours stands
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # any number of seconds
        timeout_graceful_shutdown=settings.stop_within_s,  # type: ignore[arg-type]  # any number, too
    )


def _parent() -> int:
    """Who started this process, though it may have gone by now."""
    parent = parent_process()
    found = None if parent is None else parent.pid
    return os.getppid() if found is None else found


def multiply(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """
    *sockets*, each `ACCEPTED_AT_ONCE` times.

    libuv accepts one connection of each that it was given in a turn of its loop. Under load a turn is a step of the
    engine, and the last of thirty new clients would wait for thirty of them before it is even refused.
    """
    return [each if number == 0 else each.dup() for each in sockets for number in range(ACCEPTED_AT_ONCE)]


class Worker(uvicorn.Server):
    """One process that answers: it drains before it stops, looks when told to, and does not outlive its supervisor."""

    def __init__(self, config: Config, settings: Settings):
        super().__init__(config)
        self._drain_s = settings.drain_s
        self._parent = _parent()
        self._stop_at: float | None = None
        self._told_to_look = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        sys.setswitchinterval(SWITCH_S)
        signal.signal(signal.SIGHUP, self._look)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        super().run(multiply(sockets or []))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At SIGTERM answer on for a while, and then stop; at Ctrl-C, or the second time, stop."""
        if sig == signal.SIGTERM and self._stop_at is None and self._drain_s:
            self._stop_at = time.monotonic() + self._drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        watch = self.config.loaded_app.state.parts.watch
        if counter % BEAT_TICKS == 0:
            watch.beat()
        if self._told_to_look:
            self._told_to_look = False
            self._looking = asyncio.create_task(watch.look(again=True))
        if self._stop_at is not None or self.should_exit:
            watch.stop()
        if (self._stop_at is not None and time.monotonic() >= self._stop_at) or os.getppid() != self._parent:
            self.should_exit = True
        return await super().on_tick(counter)

    def _look(self, _: int, __: FrameType | None) -> None:
        self._told_to_look = True


class WorkerProcess(Process):
    """A process with a `Worker` in it."""

    def __init__(self, config: Config, sockets: list[socket.socket], settings: Settings):
        self._settings = settings
        self.started_s, self.mourned = time.monotonic(), False
        super().__init__(config, sockets)

    @property
    def server(self) -> Worker:
        if self._server is None:
            self._server = Worker(self.config, self._settings)
        assert isinstance(self._server, Worker)
        return self._server

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        configure_logs(self._settings)
        super().target(sockets)

    def always_pong(self) -> None:
        """Nobody pings: that a worker is not stuck shows on the board."""

    def start(self) -> None:
        """Begin; SIGHUP waits until the process knows what to do with it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def signal(self, number: int) -> None:
        """Send the signal *number* to the process."""
        if self.pid is not None and self.process.is_alive():
            os.kill(self.pid, number)


class Supervisor(Multiprocess):
    """Keeps as many workers alive as there should be, at one address, and passes on what it is told."""

    processes: list[WorkerProcess]  # type: ignore[assignment]

    def __init__(self, config: Config, place: socket.socket, settings: Settings):
        super().__init__(config, [])
        assert settings.runtime is not None
        self.exit_code = 0
        self._place = place
        self._settings, self._board = settings, Board(settings.runtime / "workers")

    def run(self) -> None:
        """Keep the workers alive until told to stop, and then wait for them, though not for ever."""
        log.info("listening on %s:%d with %d workers", *self._place.getsockname()[:2], self.processes_num)
        try:
            self.init_processes()
            while not self.should_exit.wait(TICK_S):
                self.handle_signals()
                self.keep_subprocess_alive()
        finally:
            self.terminate_all()
            self.join_all()
        log.info("stopped")

    def init_processes(self) -> None:
        """Start the workers."""
        for _ in range(self.processes_num):
            self.processes.append(self._start())

    def keep_subprocess_alive(self) -> None:
        """Replace each worker that died, or that hangs."""
        for place, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.process.is_alive() and not self._hangs(process):
                continue
            if not process.mourned:
                self._mourn(process)
            elif time.monotonic() - process.started_s > LEAST_LIFE_S:
                self.processes[place] = self._start()

    def _mourn(self, process: WorkerProcess) -> None:
        process.mourned = True
        process.kill()
        process.join()
        self._forget(process)
        if process.exitcode == STARTUP_FAILURE:
            log.error("worker %s cannot start; its log says why", process.pid)
            self.exit_code = 1
            self.should_exit.set()
            return
        log.error("worker %s died (%s) and is replaced", process.pid, process.exitcode)
        DEATHS.inc()

    def handle_hup(self) -> None:
        """Have all workers look for what changed."""
        for process in self.processes:
            process.signal(signal.SIGHUP)

    def join_all(self) -> None:
        """Wait for the workers; those that do not end in the time that they have are killed."""
        deadline = time.monotonic() + self._settings.drain_s + self._settings.stop_within_s + KILL_AFTER_S
        for process in self.processes:
            process.process.join(max(deadline - time.monotonic(), 0))
            if process.process.is_alive():
                log.error("worker %s did not stop in time and is killed", process.pid)
                process.process.kill()
                process.process.join()
            self._forget(process)

    def _start(self) -> WorkerProcess:
        host, port = self._place.getsockname()[:2]
        # Ours is closed at once: a socket that a dead worker listened on would still take connections.
        with _bind(self._place.family, host, port) as bound:
            process = WorkerProcess(self.config, [bound], self._settings)
            process.start()
        return process

    def _hangs(self, process: WorkerProcess) -> bool:
        return process.pid is not None and self._board.silent_s(process.pid) > HANGS_AFTER_S

    def _forget(self, process: WorkerProcess) -> None:
        if process.pid is not None:
            self._board.remove(process.pid)
            forget_worker(process.pid)
