"""`python -m service` as it is run: several workers, signals, and what it says when it cannot begin."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from uvicorn.config import Config

from service.__main__ import _runtime
from service.access import Key, Keys
from service.engine import Manifest, Store, new_version
from service.keys import new_key
from service.settings import Settings
from service.supervisor import ACCEPTED_AT_ONCE, LEAST_LIFE_S, Supervisor, multiply, reserve

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0  # for what has to happen; nothing here takes as long unless it is broken
EVERY_S = 0.02
ADMIN = new_key()


def environment(**settings: Any) -> dict[str, str]:
    """Ours, but of the settings only *settings*."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SEGUE_", "PROMETHEUS_"))}
    return ours | {f"SEGUE_{name.upper()}": str(value) for name, value in settings.items()}


@dataclass
class Running:
    """A service that runs, and what it says."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    port: int = 0

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def said(self, text: str) -> int:
        """In how many lines *text* is."""
        return sum(text in line for line in self.lines)

    def get(self, path: str, key: str = ADMIN, method: str = "GET") -> tuple[int, str]:
        """Ask over a connection of its own, which any worker may take."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers={"X-API-Key": key, "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]

    def metric(self, name: str, **labels: str) -> float:
        return sum(value for found, has, value in self.metrics() if found == name and labels.items() <= has.items())

    def workers(self) -> list[int]:
        """The processes that answer, by id."""
        return sorted(int(has["worker"]) for name, has, _ in self.metrics() if name == "segue_worker_memory_bytes")

    def serving(self, version: str) -> int:
        """How many workers serve *version*."""
        return int(self.metric("segue_workers", version=version))


def until(happens: Callable[[], object]) -> None:
    """Wait until *happens* is true."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / EVERY_S)):
        with suppress(OSError):  # a worker that dies takes its connections along
            if happens():
                return
        pause.wait(EVERY_S)
    raise AssertionError("it did not happen")


def is_alive(pid: int) -> bool:
    """Whether there is a process *pid* that is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@contextmanager
def running(store: Path, workers: int, **settings: Any) -> Iterator[Running]:
    """A service that is ready, on a port of its own; what is left of it at the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=environment(models=store, port=0, workers=workers, **settings),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    service = Running(process)
    listener = threading.Thread(target=service.listen)
    listener.start()
    try:
        until(lambda: service.said("listening on") and service.said("serving version") == workers)
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", service.lines[0])
        assert found is not None
        service.port = int(found[1])
        yield service
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        listener.join()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One key that may do everything."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    digest = sha256(ADMIN.encode()).hexdigest()
    key = Key("all", digest, frozenset({"use", "metrics", "admin"}), None, 0, datetime(2026, 1, 31, tzinfo=UTC))
    path.write_text(Keys((key,)).text())
    return path


@pytest.fixture(scope="module")
def store(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests may publish to."""
    found = tmp_path_factory.mktemp("supervisor") / "models"
    version = Store(models).current()
    (found / version.name).mkdir(parents=True)
    for path in version.iterdir():
        os.link(path, found / version.name / path.name)
    (found / "CURRENT").write_text(version.name)
    return found


@pytest.fixture(scope="module")
def service(store: Path, keys: Path) -> Iterator[Running]:
    """Two workers that let all wait who come, and look for what is new so seldom that they do not while a test runs."""
    with running(store, 2, keys=keys, watch_interval_s=3600, max_waiting=100) as found:
        yield found


def publish(store: Path) -> str:
    """Publish the files of the first version under another name."""
    target, version = Store(store), new_version()
    base = store / target.versions()[0]
    with target.writing(), target.staging(version) as staged:
        for path in base.iterdir():
            if path.name != "manifest.json":
                os.link(path, staged / path.name)
        replace(Manifest.read(base), version=version).write(staged)
        target.publish(staged)
    return version


# Workers


def test_all_workers_serve_and_what_each_counts_is_added(service: Running):
    before = service.metric("segue_request_duration_seconds_count", route="/model")
    # Over connections that are all open at once, which two workers share out between them sooner or later.
    connections = [HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S) for _ in range(40)]
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


def test_what_is_published_is_taken_up_by_all_when_they_are_told(service: Running, store: Path):
    version = publish(store)
    service.process.send_signal(signal.SIGHUP)

    until(lambda: service.serving(version) == 2)
    assert service.process.poll() is None


def test_a_reload_over_http_reaches_all_workers_and_tells_of_each(service: Running, store: Path):
    version = publish(store)
    status, text = service.get("/admin/reload", method="POST")

    assert status == 200
    told = json.loads(text)
    assert (told["status"], told["model"]) == ("ready", version)
    assert [(worker["status"], worker["model"]) for worker in told["workers"]] == [("ready", version)] * 2
    assert [worker["pid"] for worker in told["workers"]] == service.workers()


def test_a_worker_that_is_killed_is_replaced_and_counted(service: Running):
    before, died = service.workers(), service.metric("segue_worker_deaths_total")
    os.kill(before[0], signal.SIGKILL)

    until(lambda: len(service.workers()) == 2 and before[0] not in service.workers())
    assert before[1] in service.workers()
    assert service.metric("segue_worker_deaths_total") == died + 1
    assert service.metric("segue_requests_in_progress") == 1
    assert service.said(f"worker {before[0]} died") == 1


def test_a_worker_that_hung_is_replaced_as_soon_as_it_died_by_one_that_is_told_things_from_the_start(service: Running):
    """
    One was asked whether it lives and could not tell: nobody waits the five seconds that it has for that. The other is
    told to look before it can, which to who does not listen for SIGHUP yet means to end.
    """
    before, died = service.workers(), service.metric("segue_worker_deaths_total")
    pause = threading.Event()
    os.kill(before[0], signal.SIGSTOP)
    pause.wait(0.3)  # in which it is asked
    os.kill(before[0], signal.SIGKILL)

    assert any(service.said(f"worker {before[0]} died") or pause.wait(EVERY_S) for _ in range(int(4 / EVERY_S)))
    until(lambda: service.process.send_signal(signal.SIGHUP) or len(service.workers()) == 2)
    assert service.metric("segue_worker_deaths_total") == died + 1


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_busy_worker_takes_many_connections_in_a_turn_of_its_loop(run: Callable[..., int]):
    """uvloop would take one, and a turn is as long as a step of the engine."""
    taken: list[asyncio.BaseTransport] = []

    class Taking(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            taken.append(transport)

    async def count_turns() -> int:
        loop, turns = asyncio.get_running_loop(), 0
        listening = socket.create_server(("127.0.0.1", 0))
        servers = [await loop.create_server(Taking, sock=each) for each in multiply([listening])]
        clients = [socket.create_connection(listening.getsockname()) for _ in range(ACCEPTED_AT_ONCE)]
        while len(taken) < len(clients) and turns < 100:
            await asyncio.sleep(0)
            turns += 1
        for each in (*clients, *taken, *servers):
            each.close()
        for server in servers:
            await server.wait_closed()
        await asyncio.sleep(0)
        return turns

    assert run(count_turns()) < 5


def test_signals_that_change_the_number_of_workers_change_nothing(service: Running):
    """A terminal sends them too."""
    before = service.workers()
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGHUP):
        service.process.send_signal(number)
    status, text = service.get("/admin/reload", method="POST")

    assert (status, len(json.loads(text)["workers"])) == (200, 2)
    assert service.workers() == before
    assert service.process.poll() is None


def test_all_that_it_says_is_json(service: Running):
    for line in service.lines:
        assert json.loads(line)["level"] in ("info", "error", "warning")
    assert ADMIN not in "".join(service.lines)


# The end


@contextmanager
def half_a_request(service: Running) -> Iterator[socket.socket]:
    """A request of which the rest, `{"k": 10}`, has yet to come."""
    headers = f"Host: segue\r\nX-API-Key: {ADMIN}\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as connection:
        connection.sendall(f"POST /recommend HTTP/1.1\r\n{headers}".encode())
        until(lambda: service.metric("segue_requests_in_progress") == 2)  # and the question for it
        yield connection


def finish(connection: socket.socket) -> HTTPResponse:
    """Send what is left of the request over *connection*."""
    connection.sendall(b'{"k": 10}')
    response = HTTPResponse(connection)
    response.begin()
    return response


def test_at_sigterm_what_is_asked_until_the_end_is_answered_and_then_all_is_gone(store: Path, keys: Path):
    with running(store, 2, keys=keys, drain_s=1.5) as service:
        workers = service.workers()
        with half_a_request(service) as connection:
            service.process.send_signal(signal.SIGTERM)
            until(lambda: service.metric("segue_workers", status="stopping") == 2)
            status, problem = service.get("/health/ready")
            assert (status, json.loads(problem)["detail"]) == (503, "the service is stopping")
            assert service.get("/model")[0] == 200  # not ready, and still there
            response = finish(connection)

            assert response.status == 200
            assert response.getheader("connection") == "close"
            assert len(json.loads(response.read())["tracks"]) == 10
        assert service.process.wait(PATIENCE_S) == 0
        assert not any(map(is_alive, workers))


def test_when_nothing_accepts_any_more_nobody_is_kept_waiting(store: Path, keys: Path):
    """Who comes after the workers stopped to listen is told so at once, and may go elsewhere."""
    with running(store, 1, keys=keys, drain_s=0) as service, half_a_request(service) as connection:
        service.process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S).close()
            except ConnectionRefusedError:
                return True
            return False

        until(is_refused)
        assert service.process.poll() is None
        with finish(connection) as response:
            assert response.status == 200
        connection.close()
        assert service.process.wait(PATIENCE_S) == 0


def test_workers_do_not_outlive_their_supervisor(store: Path, keys: Path):
    with running(store, 1, keys=keys) as service:
        (worker,) = service.workers()
        service.process.kill()
        service.process.wait()

        until(lambda: not is_alive(worker))


# What keeps it from beginning


def attempt(*blocked: str, **settings: Any) -> tuple[int, list[str]]:
    """The exit code of a service that cannot begin, and the lines that it says."""
    code = "import runpy, sys; sys.modules |= dict.fromkeys(sys.argv[1:]); sys.argv = ['service']; " \
        "runpy.run_module('service', run_name='__main__')"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *blocked] if blocked else [sys.executable, "-m", "service"],
        env=environment(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S / 3,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_a_worker_that_dies_as_soon_as_it_began_is_mourned_once_and_replaced_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Dead:
        pid, exitcode, mourned, started_s = None, -9, False, time.monotonic()
        process = SimpleNamespace(is_alive=lambda: False)
        kills = 0

        def kill(self) -> None:
            self.kills += 1

        def join(self) -> None: ...

    with reserve("127.0.0.1", 0) as place:
        supervisor, dead = Supervisor(Config("none"), place, Settings(runtime=tmp_path)), Dead()
        begun: list[str] = []
        monkeypatch.setattr(supervisor, "_start", lambda: begun.append("worker"))
        supervisor.processes = [dead]  # type: ignore[list-item]
        for _ in range(3):
            supervisor.keep_subprocess_alive()
        assert (begun, dead.kills) == ([], 1)

        dead.started_s -= LEAST_LIFE_S
        supervisor.keep_subprocess_alive()
        assert begun == ["worker"]


@pytest.mark.parametrize(("writable", "parent"), [(True, "memory"), (False, "temporary")])
def test_what_workers_share_is_in_memory_where_there_is_a_place_for_it(
    writable: bool, parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "temporary").mkdir()
    if writable:
        (tmp_path / "memory").mkdir()
    monkeypatch.setattr("service.__main__.IN_MEMORY", tmp_path / "memory")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

    with _runtime(Settings()) as runtime:
        assert runtime.parent == tmp_path / parent
    assert not runtime.exists()


def test_a_public_address_without_keys_is_refused(tmp_path: Path):
    code, lines = attempt(models=tmp_path, host="0.0.0.0", port=0)

    assert (code, len(lines)) == (2, 1)
    assert "SEGUE_KEYS" in lines[0]
    assert "SEGUE_ALLOW_ANYONE=true" in lines[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": "none", "max_k": "0"}, ["SEGUE_WORKERS", "SEGUE_MAX_K"]),
        ({"cors_origins": "https://example.org"}, ["SEGUE_CORS_ORIGINS"]),
        ({"runtime": "/nowhere/at/all"}, ["/nowhere/at/all"]),
        ({"keys": "/nowhere/keys.json"}, ["/nowhere/keys.json"]),
    ],
    ids=["numbers", "list", "runtime", "keys"],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_line(settings: dict[str, str], said: list[str], tmp_path: Path):
    code, lines = attempt(models=tmp_path, port=0, **settings)

    assert (code, len(lines)) == (2, len(said)), lines
    assert all(line.startswith("error: ") and name in line for line, name in zip(lines, said, strict=True))


def test_a_file_of_keys_that_cannot_be_used_is_refused(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.write_text("{}")
    code, lines = attempt(models=tmp_path, port=0, keys=path)

    assert (code, len(lines)) == (2, 1)
    assert str(path) in lines[0]


def test_a_port_that_is_taken_is_named(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = attempt(models=tmp_path, port=port)

    assert code != 0
    assert len(lines) == 1
    assert str(port) in lines[0]
    assert "in use" in lines[0]


def test_traces_without_what_sends_them_are_refused(tmp_path: Path):
    """By the supervisor, and not by each worker that it would begin again and again."""
    blocked = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    code, lines = attempt(blocked, models=tmp_path, port=0, otlp_endpoint="http://127.0.0.1:1/v1/traces")

    assert (code, len(lines)) == (2, 1)
    assert "segue[tracing]" in lines[0]
