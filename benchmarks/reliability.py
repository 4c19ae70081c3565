"""
What the shows of reliability share: a service of their own, its memory, and the record in `docs/reliability.md`.

Each show prints a table of what was measured and what is wanted. Asked to, by `--record` or `SEGUE_RECORD=1`, it puts
the table in the place of its own section of the document.
"""

import datetime as dt
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from machine import describe_machine

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reliability.md"
START_WITHIN_S = 120
SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Reply:
    """An answer of the service: status, headers in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """
    `python -m service` as a process of its own, on a free port of loopback.

    Args:
        models: the store that it serves.
        settings: any others, by their names without the prefix.
        log: where its standard error goes; a temporary file, in memory where it can be, unless given.
    """

    def __init__(self, models: Path, log: Path | None = None, **settings: Any):
        self.models, self.port = models, free_port()
        self.log, self._keeps_log = log or _temporary_log(), log is not None
        own = {"models": models, "port": self.port, **settings}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEGUE_")}
        self._environment = inherited | {f"SEGUE_{name.upper()}": _setting(value) for name, value in own.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_after_s = float("nan")

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if not self._keeps_log:
            self.log.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        self._started = time.monotonic()

    def wait_until_ready(self) -> None:
        """Wait until every worker has a model open."""
        wanted = int(self._environment.get("SEGUE_WORKERS", "1"))
        until(lambda: self._is_ready() and len(self.workers()) == wanted, START_WITHIN_S, "the service to be ready")
        until(lambda: all(mapped(pid, self.models) for pid in self.workers()), START_WITHIN_S, "all workers to open it")
        # Which worker says so is left to chance.
        until(lambda: all(self._is_ready() for _ in range(20)), START_WITHIN_S, "all workers to be ready")
        self.ready_after_s = time.monotonic() - self._started

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Reply:
        """Ask over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            said = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, content, said | dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def workers(self) -> list[int]:
        """The process ids of its workers; its own where it answers by itself."""
        return [pid for pid in children(self.pid) if "resource_tracker" not in command_of(pid)] or [self.pid]

    def memory(self) -> dict[int, int]:
        """The private anonymous memory of each worker, in bytes."""
        return {pid: private_memory(pid) for pid in self.workers()}

    def held(self) -> set[int]:
        """The client's ports of the connections that its workers hold."""
        return {port for pid in self.workers() for port in connections_of(pid, self.port)}

    def in_progress(self) -> float:
        """How many requests its workers are answering, the question for it among them."""
        return metric(self.ask("GET", "/metrics").body.decode(), "segue_requests_in_progress")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, within_s: float = 60.0) -> tuple[int, float]:
        """Tell it to stop; returns its exit code and the seconds that it took."""
        assert self._process is not None
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(within_s), time.monotonic() - started

    def wait(self, within_s: float) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(within_s)

    def kill(self) -> None:
        """End it and its workers, whatever they do."""
        if self._process is None or self._process.poll() is not None:
            return
        workers = children(self.pid)
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            for pid in workers:
                if command_of(pid):
                    os.kill(pid, signal.SIGKILL)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the service left with {self._process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            return self.ask("GET", "/health/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False


def _temporary_log() -> Path:
    """In memory where there is such a place: how long a busy disk takes is not what is measured."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    return Path(tempfile.mkstemp(prefix="segue-service-", suffix=".log", dir=place)[1])


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, list | bool) else str(value)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(holds: Callable[[], Any], within_s: float, what: str, every_s: float = 0.05) -> float:
    """
    Wait until *holds* does; returns how long that took, in seconds.

    Raises:
        AssertionError: it took longer than *within_s*; *what* was waited for.
    """
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > within_s:
            raise AssertionError(f"waited {within_s:g} s for {what}")
        time.sleep(every_s)
    return time.monotonic() - started


def children(pid: int) -> list[int]:
    """The process ids of the children of *pid*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == pid and state not in "ZX":
            found.append(int(path.parent.name))
    return sorted(found)


def command_of(pid: int) -> str:
    """The command line of the process *pid*."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def private_memory(pid: int) -> int:
    """The private anonymous memory of the process *pid*, in bytes; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def mapped(pid: int, store: Path) -> set[str]:
    """The versions of *store* of which the process *pid* has files mapped, or open."""
    root = f"{store.resolve()}/"
    try:
        paths = [line.split(maxsplit=5)[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        paths += [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return set()
    inside = (path.removeprefix(root).split("/") for path in paths if path.startswith(root))
    return {parts[0] for parts in inside if len(parts) > 1}


def connections_of(pid: int, port: int) -> set[int]:
    """The client's ports of the connections to *port* that the process *pid* has accepted."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:  # closed meanwhile
            continue
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[1].split(":")[1], 16) == port:
            ports.add(int(fields[2].split(":")[1], 16))
    return ports - {0}  # of the socket that listens


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of *name* with *labels* in the *text* of /metrics."""
    total = 0.0
    for line in text.splitlines():
        found = re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)(?: \d+)?", line)
        if found and found[1] == name:
            said = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            if all(said.get(label) == value for label, value in labels.items()):
                total += float(found[3])
    return total


def sparkline(values: Sequence[float]) -> str:
    """*values* as a line of bars, from nothing to the greatest."""
    low, high = min(values), max(values)
    step = (high - low) / (len(SPARKS) - 1) or 1.0
    return "".join(SPARKS[round((value - low) / step)] for value in values)


@dataclass
class Report:
    """
    What a show measured, told as it comes.

    Attributes:
        section: its own in the document, by the name in the markers.
        command: with which it can be repeated.
        data: what it was measured on.
        rows: what was measured, the figure, what is wanted, and whether it holds; None where nothing is wanted.
    """

    section: str
    command: str
    data: str
    rows: list[tuple[str, str, str, bool | None]] = field(default_factory=list)

    def add(self, what: str, figure: str, wanted: str = "", holds: bool | None = None) -> None:
        """Note one line."""
        self.rows.append((what, figure, wanted, holds))
        verdict = "" if holds is None else "  ok" if holds else "  MISSED"
        print(f"  {what:<58} {figure:<26} {wanted}{verdict}", flush=True)

    @property
    def missed(self) -> list[str]:
        """What did not hold."""
        return [f"{what}: {figure}, wanted {wanted}" for what, figure, wanted, holds in self.rows if holds is False]

    def text(self) -> str:
        """The section, in Markdown."""
        today = dt.datetime.now(dt.UTC).date().isoformat()
        lines = [f"    {self.command}", "", f"{today}; data: {self.data}; {describe_machine()}.", ""]
        lines += ["| what | measured | wanted | |", "|---|---|---|---|"]
        verdicts = {None: "", True: "holds", False: "**missed**"}
        lines += [f"| {what} | {figure} | {wanted} | {verdicts[holds]} |" for what, figure, wanted, holds in self.rows]
        return "\n".join(lines)

    def record(self, path: Path = DOCUMENT) -> None:
        """Put it in the place of its own section of the document *path*."""
        begin, end = f"<!-- {self.section}: begin -->", f"<!-- {self.section}: end -->"
        text = path.read_text()
        if begin not in text:
            raise SystemExit(f"error: {path} has no section {begin}")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        path.write_text(f"{before}{begin}\n{self.text()}\n{end}{after}")
        print(f"recorded in {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}", flush=True)

    def finish(self, record: bool = False) -> None:
        """Record it where that was asked for, here or by the environment."""
        if record or os.environ.get("SEGUE_RECORD") == "1":
            self.record()
