"""The supervisor: holds the listening socket and keeps the workers alive. It does not load the model."""

import logging
import signal
import socket
import time
from errno import EADDRNOTAVAIL
from functools import partial
from typing import Any

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess

from service.server.connection import BoundedProtocol, Limits
from service.server.worker import WorkerProcess
from service.settings import Settings
from service.telemetry.metrics import DEATHS, forget_worker
from service.telemetry.status import StatusDirectory

log = logging.getLogger("segue")

TICK_S = 0.1
MIN_LIFE_TICKS = 10  # a fault that ended a worker sooner may end the next as soon
KILL_AFTER_S = 5.0  # beyond the time that the workers have to stop
BACKLOG = 2048
APPLICATION = "service.app:create_app"


def serve(settings: Settings) -> int:
    """
    Serve until told to stop.

    SIGTERM and SIGINT stop the service. SIGHUP makes all workers poll for changes.

    Args:
        settings: those of the environment, with a runtime directory.

    Returns:
        The exit code.

    Raises:
        OSError: another process listens at the address, or this machine does not have it.
    """
    with listen(settings.host, settings.port) as listener:
        supervisor = Supervisor(_config(settings), listener, settings)
        supervisor.run()
        return supervisor.exit_code


def listen(host: str, port: int) -> socket.socket:
    """
    Return a listening socket, which all workers share.

    A worker that is busy, hangs or dies leaves new connections to the others, or to its successor.

    Raises:
        OSError: another process listens at the address, or this machine does not have it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, TypeError, UnicodeError) as error:  # the latter two of names such as ü..b
        reason = str(getattr(error, "strerror", error)).partition(" (while")[0]
        remedy = "choose another address in SEGUE_HOST or another port in SEGUE_PORT"
        raise OSError(EADDRNOTAVAIL, f"cannot listen on {host}:{port}: {reason}; {remedy}") from error
    listener.setblocking(False)  # for all workers, which share this flag
    return listener


def bounded_protocol(settings: Settings) -> Any:
    """Return uvicorn's protocol class with the limits of *settings*."""
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
        log_level=None,  # ours remains
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # any number of seconds
        timeout_graceful_shutdown=settings.stop_within_s,  # type: ignore[arg-type]  # likewise
    )


class Supervisor(Multiprocess):
    """Keeps the configured number of workers alive at one address and passes signals on to them."""

    processes: list[WorkerProcess]  # type: ignore[assignment]  # of our kind

    def __init__(self, config: Config, listener: socket.socket, settings: Settings):
        super().__init__(config, [listener])
        assert settings.runtime is not None
        self.exit_code = 0
        self._settings, self._statuses = settings, StatusDirectory(settings.runtime / "workers")

    def run(self) -> None:
        """Keep the workers alive until told to stop; then wait for them, for a limited time."""
        log.info("listening on %s:%d with %d workers", *self.sockets[0].getsockname()[:2], self.processes_num)
        try:
            for _ in range(self.processes_num):
                self.processes.append(self.start_worker())
            while not self.should_exit.wait(TICK_S):
                self.handle_signals()
                self.keep_subprocess_alive()
        finally:
            self.sockets[0].close()  # otherwise connections would wait here for workers that have stopped
            self.terminate_all()
            self.join_all()
        log.info("stopped")

    def keep_subprocess_alive(self) -> None:
        """Replace each worker that died or hangs. Called once a tick."""
        for place, process in enumerate(self.processes):
            hangs = process.hangs()
            if self.should_exit.is_set() or (process.process.is_alive() and not hangs):
                continue
            if not process.is_buried:
                self._bury(process)
            elif process.age_ticks > MIN_LIFE_TICKS:
                try:
                    self.processes[place] = self.start_worker()
                except OSError as error:  # of the fork; the other workers answer, and the next tick tries again
                    log.error("a worker cannot be started: %s", error)

    def start_worker(self) -> WorkerProcess:
        """Start a worker."""
        process = WorkerProcess(self.config, self.sockets, self._settings)
        process.start()
        return process

    def handle_hup(self) -> None:
        """Have all workers poll for changes."""
        for process in self.processes:
            process.signal(signal.SIGHUP)

    def handle_ttin(self) -> None:
        """Ignore the signal: the number of workers is a setting."""

    handle_ttou = handle_ttin

    def _bury(self, process: WorkerProcess) -> None:
        process.is_buried = True
        process.kill()
        process.join()
        self._forget(process)
        if process.exitcode == STARTUP_FAILURE:
            log.error("worker %s cannot start; its log gives the reason", process.pid)
            self.exit_code = 1
            self.should_exit.set()
            return
        log.error("worker %s died (%s) and is replaced", process.pid, process.exitcode)
        DEATHS.inc()

    def join_all(self) -> None:
        """Wait for the workers and kill those that do not stop in time."""
        deadline_s = time.monotonic() + self._settings.drain_s + self._settings.stop_within_s + KILL_AFTER_S
        for process in self.processes:
            process.process.join(max(deadline_s - time.monotonic(), 0))
            if process.process.is_alive():
                log.error("worker %s did not stop in time and is killed", process.pid)
                process.process.kill()
                process.process.join()
            self._forget(process)

    def _forget(self, process: WorkerProcess) -> None:
        if process.pid is not None:
            self._statuses.remove(process.pid)
            forget_worker(process.pid)
