"""`python -m service` as a process, for the tests of its workers and its end."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from service.auth.keys import new_key

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0  # nothing here takes as long unless it is broken
EVERY_S = 0.02
ADMIN = new_key()


def environment(**settings: Any) -> dict[str, str]:
    """Our environment with *settings* and no other settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SEGUE_", "PROMETHEUS_"))}
    return ours | {f"SEGUE_{name.upper()}": str(value) for name, value in settings.items()}


@dataclass
class Running:
    """A running service and its log."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    host: str = ""
    port: int = 0

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def logged(self, text: str) -> int:
        """Return the number of log lines that contain *text*."""
        return sum(text in line for line in self.lines)

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Send a request over a connection of its own, which any worker may accept."""
        connection = HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers={"X-API-Key": ADMIN, "Connection": "close"})
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
        """Return the process ids of the workers."""
        return sorted(int(has["worker"]) for name, has, _ in self.metrics() if name == "segue_worker_memory_bytes")

    def serving(self, version: str) -> int:
        """Return the number of workers that serve *version*."""
        return int(self.metric("segue_workers", version=version))


def until(happens: Callable[[], object]) -> None:
    """Wait until *happens* returns a true value."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / EVERY_S)):
        with suppress(OSError):  # a worker that dies closes its connections
            if happens():
                return
        pause.wait(EVERY_S)
    raise AssertionError("it did not happen")


def is_alive(pid: int) -> bool:
    """Return True if the process *pid* exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@contextmanager
def running(store: Path, workers: int, mount: str = "", **settings: Any) -> Iterator[Running]:
    """
    Start a service on a free port, wait until it is ready, and kill the rest of it at the end.

    Args:
        mount: a shell command, which runs before it in a namespace of mounts of its own.
    """
    command = [sys.executable, "-m", "service"]
    process = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *command] if mount else command,
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
        until(lambda: service.logged("listening on") and service.logged("serving version") == workers)
        found = re.search(r"listening on (\S+):(\d+)", "".join(service.lines))
        assert found is not None
        service.host, service.port = found[1], int(found[2])
        until(lambda: mount or len(service.workers()) == workers)  # each writes its status after its log line
        yield service
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        listener.join()
        assert process.stderr is not None
        process.stderr.close()
