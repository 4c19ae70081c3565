"""`python -m service` as a process: several workers, signals, and the end. The supervisor alone, with fake workers."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EAGAIN
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import SIGNALS

from service.engine import Manifest, Store
from service.server.supervisor import MIN_LIFE_TICKS, Supervisor, listen
from service.server.worker import HANGS_AFTER_TICKS, STARTS_WITHIN_TICKS, WorkerProcess
from service.settings import Settings
from tests.service.server.processes import ADMIN, PATIENCE_S, Running, is_alive, running, until


@pytest.fixture(scope="module")
def service(store: Path, keys: Path) -> Iterator[Running]:
    """Two workers with a long queue. They poll only at their start and when told to."""
    with running(store, 2, keys=keys, watch_interval_s=3600, max_waiting=100) as found:
        yield found


def publish(store: Path) -> str:
    """Publish the files of the first version under another name."""
    target = Store(store)
    version = target.next_version()
    base = store / target.versions()[0]
    with target.writing(), target.staging(version) as staged:
        for path in base.iterdir():
            if path.name != "manifest.json":
                os.link(path, staged / path.name)
        replace(Manifest.read(base), version=version).write(staged)
        target.publish(staged)
    return version


# Workers


def test_all_workers_answer_and_their_counts_are_added(service: Running):
    before = service.metric("segue_request_duration_seconds_count", route="/model")
    # The connections are open at the same time, so that both workers get some.
    connections = [HTTPConnection(service.host, service.port, timeout=PATIENCE_S) for _ in range(40)]
    for connection in connections:
        connection.request("GET", "/model", headers={"X-API-Key": ADMIN})
    versions = {json.loads(connection.getresponse().read())["version"] for connection in connections}
    for connection in connections:
        connection.close()

    assert len(service.workers()) == 2
    assert len(versions) == 1
    assert service.serving(versions.pop()) == 2
    until(lambda: service.metric("segue_request_duration_seconds_count", route="/model") == before + 40)
    assert service.metric("segue_reloads_total", outcome="served") >= 2


def test_all_workers_serve_a_new_version_after_sighup(service: Running, store: Path):
    version = publish(store)
    service.process.send_signal(signal.SIGHUP)

    until(lambda: service.serving(version) == 2)
    assert service.process.poll() is None


def test_a_reload_over_http_reaches_all_workers_and_describes_each(service: Running, store: Path):
    version = publish(store)
    status, text = service.get("/admin/reload", method="POST")

    assert status == 200
    answer = json.loads(text)
    assert (answer["status"], answer["model"]) == ("ready", version)
    assert [(worker["status"], worker["model"]) for worker in answer["workers"]] == [("ready", version)] * 2
    assert [worker["pid"] for worker in answer["workers"]] == service.workers()


def test_a_killed_worker_is_counted_and_replaced_by_one_that_survives_early_signals(service: Running):
    """SIGHUP ends a process that does not handle it yet."""
    before, died = service.workers(), service.metric("segue_worker_deaths_total")
    os.kill(before[0], signal.SIGKILL)

    until(lambda: service.logged(f"worker {before[0]} died"))
    until(lambda: service.process.send_signal(signal.SIGHUP) or len(service.workers()) == 2)
    assert before[0] not in service.workers()
    assert before[1] in service.workers()
    assert service.metric("segue_worker_deaths_total") == died + 1
    assert service.metric("segue_requests_in_progress") == 1
    assert service.logged(f"worker {before[0]} died") == 1


def test_signals_do_not_change_the_number_of_workers(service: Running):
    before = service.workers()
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGHUP):
        service.process.send_signal(number)
    status, text = service.get("/admin/reload", method="POST")

    assert (status, len(json.loads(text)["workers"])) == (200, 2)
    assert service.workers() == before
    assert service.process.poll() is None


def test_every_log_line_is_json_without_keys(service: Running):
    for line in service.lines:
        assert json.loads(line)["level"] in ("info", "error", "warning")
    assert ADMIN not in "".join(service.lines)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
def test_a_service_listens_on_an_ipv6_address_in_brackets(store: Path, keys: Path):
    with running(store, 1, keys=keys, host="[::1]") as service:
        assert service.host == "::1"
        assert service.get("/health/ready")[0] == 200


# The end


@contextmanager
def half_a_request(service: Running) -> Iterator[socket.socket]:
    """Send a request without the end of its body, `{"k": 10}`."""
    headers = f"Host: segue\r\nX-API-Key: {ADMIN}\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection((service.host, service.port), timeout=PATIENCE_S) as connection:
        connection.sendall(f"POST /recommend HTTP/1.1\r\n{headers}".encode())
        until(lambda: service.metric("segue_requests_in_progress") == 2)  # with the one for the metrics
        yield connection


def finish(connection: socket.socket) -> HTTPResponse:
    """Send the end of the body."""
    connection.sendall(b'{"k": 10}')
    response = HTTPResponse(connection)
    response.begin()
    return response


def test_sigterm_drains_and_then_stops_all_workers(store: Path, keys: Path):
    with running(store, 2, keys=keys, drain_s=1.5) as service:
        workers = service.workers()
        with half_a_request(service) as connection:
            service.process.send_signal(signal.SIGTERM)
            until(lambda: service.metric("segue_workers", status="stopping") == 2)
            status, problem = service.get("/health/ready")
            assert (status, json.loads(problem)["detail"]) == (503, "the service is stopping")
            assert service.get("/model")[0] == 200  # unready, and it still answers
            response = finish(connection)

            assert response.status == 200
            assert response.getheader("connection") == "close"
            assert len(json.loads(response.read())["tracks"]) == 10
        assert service.process.wait(PATIENCE_S) == 0
        assert not any(map(is_alive, workers))


def test_a_stopping_service_refuses_connections_and_finishes_requests(store: Path, keys: Path):
    with running(store, 1, keys=keys, drain_s=0) as service, half_a_request(service) as connection:
        service.process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            try:
                socket.create_connection((service.host, service.port), timeout=PATIENCE_S).close()
            except ConnectionRefusedError:
                return True
            return False

        until(is_refused)
        assert service.process.poll() is None
        with finish(connection) as response:
            assert response.status == 200
        connection.close()
        assert service.process.wait(PATIENCE_S) == 0


def test_workers_stop_when_their_supervisor_is_killed(store: Path, keys: Path):
    with running(store, 1, keys=keys) as service:
        (worker,) = service.workers()
        service.process.kill()
        service.process.wait()

        until(lambda: not is_alive(worker))


# The supervisor alone


class FakeProcess(WorkerProcess):
    """A worker's process that lives until it is killed. It has the id of this process."""

    pid = os.getpid()

    def __init__(self, settings: Settings) -> None:
        super().__init__(Config("none", log_config=None), [], settings)
        self.process: Any = self
        self.exit: int | None = None

    @property
    def exitcode(self) -> int | None:
        return self.exit

    def is_alive(self, timeout: float = 0) -> bool:
        return self.exit is None

    def kill(self) -> None:
        self.exit = -signal.SIGKILL if self.exit is None else self.exit

    def join(self, timeout: float = 0) -> None: ...


class FakeSupervisor(Supervisor):
    """A supervisor of one fake worker."""

    def __init__(self, listener: socket.socket, runtime: Path):
        settings = Settings(runtime=runtime)
        self.started: list[FakeProcess] = []
        self.start_settings, self.n_failures = settings, 0
        super().__init__(Config("none", log_config=None), listener, settings)
        self.processes = [self.start_worker()]

    def start_worker(self) -> FakeProcess:
        if self.n_failures:
            self.n_failures -= 1
            raise BlockingIOError(EAGAIN, "Resource temporarily unavailable")
        self.started.append(FakeProcess(self.start_settings))
        return self.started[-1]

    def beat(self) -> None:
        self.started[-1].beat()

    def tick(self, n_ticks: int) -> int:
        """Let *n_ticks* pass and return the number of workers started so far."""
        for _ in range(n_ticks):
            self.keep_subprocess_alive()
        return len(self.started)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[FakeSupervisor]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with listen("127.0.0.1", 0) as listener:
        yield FakeSupervisor(listener, tmp_path)
    for number, handler in before.items():  # uvicorn's supervisor installs its own
        signal.signal(number, handler)


def test_a_worker_that_dies_at_once_is_replaced_after_a_while(supervisor: FakeSupervisor):
    supervisor.started[0].exit = 1

    assert supervisor.tick(MIN_LIFE_TICKS) == 1
    assert supervisor.tick(1) == 2


def test_a_worker_that_died_later_is_replaced_at_once(supervisor: FakeSupervisor):
    supervisor.tick(2 * MIN_LIFE_TICKS)
    supervisor.started[0].exit = 1

    assert supervisor.tick(2) == 2


def test_a_worker_that_cannot_be_forked_is_started_later(supervisor: FakeSupervisor):
    supervisor.tick(2 * MIN_LIFE_TICKS)
    supervisor.started[0].exit, supervisor.n_failures = 1, 3

    assert supervisor.tick(4) == 1
    assert supervisor.tick(1) == 2
    assert not supervisor.should_exit.is_set()


def test_heartbeats_that_nobody_reads_do_not_block_a_worker(supervisor: FakeSupervisor):
    """The supervisor may be paused, and has to notice afterwards that the worker is well."""
    for _ in range(1 << 16):
        supervisor.beat()

    assert supervisor.tick(HANGS_AFTER_TICKS) == 1
    supervisor.beat()
    assert supervisor.tick(HANGS_AFTER_TICKS) == 1


def test_a_worker_whose_heartbeat_stops_is_killed_and_replaced(supervisor: FakeSupervisor):
    supervisor.beat()
    supervisor.tick(HANGS_AFTER_TICKS + 1)
    assert supervisor.started[0].is_alive()

    assert supervisor.tick(2) == 2
    assert not supervisor.started[0].is_alive()
    assert supervisor.started[1].is_alive()


def test_a_worker_that_beats_slowly_is_kept(supervisor: FakeSupervisor):
    for _ in range(5):
        supervisor.beat()
        assert supervisor.tick(HANGS_AFTER_TICKS) == 1
    assert supervisor.started[0].is_alive()


def test_a_worker_has_longer_for_its_first_heartbeat(supervisor: FakeSupervisor):
    assert STARTS_WITHIN_TICKS > 10 * HANGS_AFTER_TICKS
    supervisor.tick(STARTS_WITHIN_TICKS)
    assert supervisor.started[0].is_alive()

    assert supervisor.tick(2) == 2


def test_a_pause_of_the_whole_machine_kills_no_worker(supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch):
    supervisor.beat()
    supervisor.tick(HANGS_AFTER_TICKS - 1)
    for clock in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: 1e12)

    assert supervisor.tick(1) == 1
    supervisor.beat()
    assert supervisor.tick(HANGS_AFTER_TICKS) == 1
    assert supervisor.started[0].is_alive()


def test_a_worker_that_cannot_start_ends_the_service(supervisor: FakeSupervisor):
    supervisor.started[0].exit = STARTUP_FAILURE

    assert supervisor.tick(2 * MIN_LIFE_TICKS) == 1
    assert supervisor.should_exit.is_set()
    assert supervisor.exit_code == 1
