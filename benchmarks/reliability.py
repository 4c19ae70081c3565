"""
Helpers of the reliability measurements: a service process, its memory, and the record in `benchmarks/reliability.md`.

Each measurement prints a table of measured and wanted values. `--record` or `SEGUE_RECORD=1` makes it replace its
section of that document.
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
DOCUMENT = ROOT / "benchmarks" / "reliability.md"
START_WITHIN_S = 120
SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Reply:
    """A response: status, headers in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """
    `python -m service` as a process, on a free port of loopback.

    Args:
        models: the store.
        settings: other settings, by their names without the prefix.
        log: file for its output. Default: a temporary file, in memory if possible.
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
        """Start it without waiting."""
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
        # Any worker may answer each of these.
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
        """Send a request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            own = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, content, own | dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return [pid for pid in children(self.pid) if "resource_tracker" not in command_of(pid)] or [self.pid]

    def memory(self) -> dict[int, int]:
        """Return the private anonymous memory of each worker, in bytes."""
        return {pid: private_memory(pid) for pid in self.workers()}

    def held(self) -> set[int]:
        """Return the client's ports of its connections."""
        return {port for pid in self.workers() for port in connections_of(pid, self.port)}

    def in_progress(self) -> float:
        """Return the number of requests in progress, including the one for it."""
        return metric(self.ask("GET", "/metrics").body.decode(), "segue_requests_in_progress")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, within_s: float = 60.0) -> tuple[int, float]:
        """Stop it and return its exit code and the seconds that this took."""
        assert self._process is not None
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(within_s), time.monotonic() - started

    def wait(self, within_s: float) -> int:
        """Wait for its end and return its exit code."""
        assert self._process is not None
        return self._process.wait(within_s)

    def kill(self) -> None:
        """Stop it, and kill it and its workers if necessary."""
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
            raise AssertionError(f"the service exited with {self._process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            return self.ask("GET", "/health/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False


def _temporary_log() -> Path:
    """Return a temporary file, in memory if possible: a busy disk must not affect the measurements."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    return Path(tempfile.mkstemp(prefix="segue-service-", suffix=".log", dir=place)[1])


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, list | bool) else str(value)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(holds: Callable[[], Any], within_s: float, what: str, every_s: float = 0.05) -> float:
    """
    Wait until *holds* returns a true value, and return the seconds that this took.

    Raises:
        AssertionError: it took longer than *within_s*. The message names *what* did not happen.
    """
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > within_s:
            raise AssertionError(f"waited {within_s:g} s for {what}")
        time.sleep(every_s)
    return time.monotonic() - started


def children(pid: int) -> list[int]:
    """Return the process ids of the children of *pid*."""
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
    """Return the command line of the process *pid*."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def private_memory(pid: int) -> int:
    """Return the private anonymous memory of the process *pid* in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def mapped(pid: int, store: Path) -> set[str]:
    """Return the versions of *store* of which the process *pid* has files mapped or open."""
    root = f"{store.resolve()}/"
    try:
        paths = [line.split(maxsplit=5)[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        paths += [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return set()
    inside = (path.removeprefix(root).split("/") for path in paths if path.startswith(root))
    return {parts[0] for parts in inside if len(parts) > 1}


def connections_of(pid: int, port: int) -> set[int]:
    """Return the client's ports of the connections to *port* that the process *pid* has accepted."""
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
    return ports - {0}  # the listening socket


def metric(text: str, name: str, **labels: str) -> float:
    """Return the sum of the samples of *name* with *labels* in the *text* of /metrics."""
    total = 0.0
    for line in text.splitlines():
        found = re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)(?: \d+)?", line)
        if found and found[1] == name:
            has = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            if all(has.get(label) == value for label, value in labels.items()):
                total += float(found[3])
    return total


def sparkline(values: Sequence[float]) -> str:
    """Return *values* as a line of bars, from the smallest to the greatest."""
    low, high = min(values), max(values)
    step = (high - low) / (len(SPARKS) - 1) or 1.0
    return "".join(SPARKS[round((value - low) / step)] for value in values)


@dataclass
class Report:
    """
    A table of measurements, printed line by line.

    Attributes:
        section: the name of its section in the document.
        command: the command that repeats it.
        data: the name of the data.
        rows: measurement, figure, limit, and whether it holds; None without a limit.
    """

    section: str
    command: str
    data: str
    rows: list[tuple[str, str, str, bool | None]] = field(default_factory=list)

    def add(self, what: str, figure: str, wanted: str = "", holds: bool | None = None) -> None:
        """Add and print one row."""
        self.rows.append((what, figure, wanted, holds))
        verdict = "" if holds is None else "  ok" if holds else "  MISSED"
        print(f"  {what:<58} {figure:<26} {wanted}{verdict}", flush=True)

    @property
    def missed(self) -> list[str]:
        """Return the limits that do not hold."""
        return [f"{what}: {figure}, wanted {wanted}" for what, figure, wanted, holds in self.rows if holds is False]

    def text(self) -> str:
        """Return the section in Markdown."""
        today = dt.datetime.now(dt.UTC).date().isoformat()
        lines = [f"    {self.command}", "", f"{today}; data: {self.data}; {describe_machine()}.", ""]
        lines += ["| what | measured | wanted | |", "|---|---|---|---|"]
        verdicts = {None: "", True: "holds", False: "**missed**"}
        lines += [f"| {what} | {figure} | {wanted} | {verdicts[holds]} |" for what, figure, wanted, holds in self.rows]
        return "\n".join(lines)

    def record(self, path: Path = DOCUMENT) -> None:
        """Replace its section of the document *path*."""
        begin, end = f"<!-- {self.section}: begin -->", f"<!-- {self.section}: end -->"
        text = path.read_text()
        if begin not in text:
            raise SystemExit(f"error: {path} has no section {begin}")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        path.write_text(f"{before}{begin}\n{self.text()}\n{end}{after}")
        print(f"recorded in {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}", flush=True)

    def finish(self, record: bool = False) -> None:
        """Record the table if *record* or the environment demands it."""
        if record or os.environ.get("SEGUE_RECORD") == "1":
            self.record()
