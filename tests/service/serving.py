"""A service with keys, and one without; tests see its responses, its log and its metrics."""

import io
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from service.api.state import AppState
from service.app import create_app
from service.auth.keys import Key, Keys, digest_of, new_key
from service.settings import Settings

MAX_BODY_BYTES = 1000
KEYS: dict[str, str] = {name: new_key() for name in ("use", "metrics", "admin", "slow")}


def key_file(path: Path) -> Path:
    """Write a file with one key for each right, and one that may send a request in 1,000 seconds."""
    created_at = datetime(2026, 1, 31, tzinfo=UTC)
    keys = [
        Key(
            name=name,
            digest=digest_of(secret),
            rights=("use",) if name == "slow" else (name,),
            rate=0.001 if name == "slow" else None,
            created_at=created_at,
        )
        for name, secret in KEYS.items()
    ]
    path.write_text(Keys(keys=tuple(keys)).text())
    return path


def bearer(name: str = "use") -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@dataclass
class Service:
    """A running service and its log."""

    client: TestClient
    app: FastAPI
    stream: io.StringIO

    @property
    def state(self) -> AppState:
        state: AppState = self.app.state.segue
        return state

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The log lines of requests."""
        return [line for line in self.lines if line["event"] == "request"]

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = self.client.get("/metrics", headers=bearer("metrics")).text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def refused(self, reason: str) -> float:
        return self.metrics()["segue_requests_refused_total", frozenset({("reason", reason)})]

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* on the event loop of the service."""
        assert self.client.portal is not None
        return self.client.portal.call(function, *arguments)

    @contextmanager
    def busy_engine(self) -> Iterator[None]:
        """Keep the engine busy."""
        self.call(self.state.admission.acquire)
        try:
            yield
        finally:
            self.call(self.state.admission.release)

    def send(self, path: str, *args: Any, **options: Any) -> int:
        """Send a request message by message; see `send`."""
        status: int = self.call(lambda: send(self.app, path, *args, **options))
        return status


@contextmanager
def serving(models: Path, stream: io.StringIO, **settings: Any) -> Iterator[Service]:
    """Start a service on *models* and wait until it is ready, or has found that there is no model."""
    defaults = {"watch_interval_s": 0.01, "max_body_bytes": MAX_BODY_BYTES, "max_wait_s": 0.25}
    app = create_app(Settings(models=models, **{**defaults, **settings}))
    with TestClient(app, raise_server_exceptions=False) as client:
        for _ in range(10_000):
            if "being opened" not in client.get("/health/ready").text:
                break
        yield Service(client, app, stream)


async def send(
    app: ASGIApp,
    path: str,
    receive: Callable[[], Awaitable[Any]] | None = None,
    on_message: Callable[[Any], Awaitable[None]] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    method: str = "POST",
) -> int:
    """Send a request whose messages come from *receive*; returns the status of the response, 0 if there was none."""
    statuses = []

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        if on_message is not None:
            await on_message(message)

    async def empty_object() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": list(headers),
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    await app(scope, receive or empty_object, sent)
    return statuses[0] if statuses else 0


def in_pieces(*pieces: bytes) -> Callable[[], Awaitable[Any]]:
    """Return a `receive` that gives a body in *pieces*."""
    left = list(pieces)

    async def receive() -> Any:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return receive
