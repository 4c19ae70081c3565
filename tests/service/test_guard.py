"""What stands before the application: each way to be refused, and what no answer, line or metric may hold."""

import asyncio
import io
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from prometheus_client.parser import text_string_to_metric_families

from service import guard
from service.access import Key, Keys, Right
from service.app import create_app
from service.call import Call
from service.engine import Steps
from service.guard import Guard
from service.keys import new_key
from service.logs import configure_logs
from service.parts import Parts
from service.queue import Overloaded
from service.settings import Settings

MAX_BODY_BYTES = 1000
MADE = datetime(2026, 1, 31, tzinfo=UTC)
KEYS: dict[str, str] = {name: new_key() for name in ("use", "metrics", "admin", "slow")}
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def key(name: str) -> Key:
    rights: dict[str, list[Right]] = {"use": ["use"], "metrics": ["metrics"], "admin": ["admin"], "slow": ["use"]}
    rate, burst = (0.001, 1) if name == "slow" else (None, 0)
    digest = sha256(KEYS[name].encode()).hexdigest()
    return Key(name, digest, frozenset(rights[name]), rate, burst, MADE)


def bearer(name: str = "use") -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@dataclass
class Service:
    """A service with keys, and all that it logged."""

    client: TestClient
    app: FastAPI
    stream: io.StringIO
    asked: list[Response] = field(default_factory=list)

    @property
    def guard(self) -> Guard:
        found: Any = self.app.middleware_stack
        while not isinstance(found, Guard):
            found = found.app
        return found

    @property
    def parts(self) -> Parts:
        parts: Parts = self.app.state.parts
        return parts

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = self.client.get("/metrics", headers=bearer("metrics")).text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def refused(self, reason: str) -> float:
        return self.metrics()["segue_requests_refused_total", frozenset({("reason", reason)})]

    def hold_engine(self) -> Callable[[], None]:
        """Have the engine be busy; returns what lets it go."""
        portal = self.client.portal
        assert portal is not None
        portal.call(self.guard._queue.turn)
        return lambda: portal.call(self.guard._queue.done)


@pytest.fixture(scope="module")
def stream() -> Iterator[io.StringIO]:
    """What is logged during these tests."""
    root = logging.getLogger()
    changed = [root, *map(logging.getLogger, ("uvicorn.access", "uvicorn.error", "httpx"))]
    before = [(logger, logger.handlers[:], logger.level, logger.disabled) for logger in changed]
    found = io.StringIO()
    configure_logs(Settings(log_level="debug"), found)
    for noisy in ("httpx", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    yield found
    for logger, handlers, level, disabled in before:
        logger.handlers[:], logger.disabled = handlers, disabled
        logger.setLevel(level)


def serving(models: Path, stream: io.StringIO, **settings: Any) -> Iterator[Service]:
    app = create_app(
        Settings(models=models, watch_interval_s=0.01, max_body_bytes=MAX_BODY_BYTES, max_wait_s=0.25, **settings)
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        for _ in range(10_000):
            if client.get("/health/ready").status_code == 200:
                break
        yield Service(client, app, stream)


@pytest.fixture
def service(models: Path, stream: io.StringIO, tmp_path: Path) -> Iterator[Service]:
    """A service that asks for keys."""
    path = tmp_path / "keys.json"
    path.write_text(Keys(tuple(map(key, KEYS))).text())
    yield from serving(models, stream, keys=path)


@pytest.fixture(scope="module")
def open_service(models: Path, stream: io.StringIO) -> Iterator[Service]:
    """A service that anybody may ask."""
    yield from serving(models, stream)


async def ask(
    app: FastAPI,
    path: str,
    receive: Callable[[], Awaitable[Any]] | None = None,
    send: Callable[[Any], Awaitable[None]] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    method: str = "POST",
) -> int:
    """The status of the answer to a request that comes and goes message by message."""
    statuses = []

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        if send is not None:
            await send(message)

    async def nothing() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": list(headers),
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    await app(scope, receive or nothing, sent)
    return statuses[0] if statuses else 0


def in_pieces(*pieces: bytes) -> Callable[[], Awaitable[Any]]:
    """A body that comes in *pieces*; there is no more of it than what is asked for."""
    left = list(pieces)

    async def receive() -> Any:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return receive


def leaving_after(piece: bytes) -> Callable[[], Awaitable[Any]]:
    """A body of which *piece* comes, and then its client is gone."""
    messages: list[Any] = [{"type": "http.request", "body": piece, "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    return receive


def is_problem(response: Response, status: int) -> bool:
    content = response.json()
    return (
        response.status_code == status == content["status"]
        and response.headers["content-type"] == "application/problem+json"
        and set(content) - {"errors"} == {"type", "title", "status", "detail"}
        and bool(content["detail"])
    )


# Each way to be refused


def test_every_refusal_is_a_problem_with_the_headers_of_its_status(service: Service, monkeypatch: pytest.MonkeyPatch):
    get, post = service.client.get, service.client.post

    unauthorized = get("/model")
    assert is_problem(unauthorized, 401)
    assert unauthorized.headers["www-authenticate"] == "Bearer"
    assert is_problem(post("/admin/reload", headers=bearer()), 403)
    assert is_problem(get("/nowhere", headers=bearer()), 404)
    not_allowed = get("/recommend", headers=bearer())
    assert is_problem(not_allowed, 405)
    assert not_allowed.headers["allow"] == "POST"
    too_long = post("/recommend", content=b" " * (MAX_BODY_BYTES + 1), headers=bearer())
    assert is_problem(too_long, 413)
    assert too_long.headers["connection"] == "close"
    assert is_problem(post("/recommend", content=b"{}", headers={**bearer(), "Content-Encoding": "gzip"}), 415)
    assert is_problem(post("/recommend", json={"k": 0}, headers=bearer()), 422)
    assert get("/model", headers=bearer("slow")).status_code == 200
    too_often = get("/model", headers=bearer("slow"))
    assert is_problem(too_often, 429)
    assert int(too_often.headers["retry-after"]) >= 900
    monkeypatch.setattr("service.engine.Recommender.recommend_in_steps", lambda *_: 1 / 0)
    assert is_problem(post("/recommend", json={}, headers=bearer()), 500)


def test_each_reason_is_counted(service: Service):
    before = {reason: service.refused(reason) for reason in ("unauthorized", "forbidden", "body", "rate")}
    service.client.get("/model")
    service.client.get("/model", headers={"X-API-Key": "wrong"})
    service.client.get("/metrics", headers=bearer())
    service.client.post("/recommend", content=b" " * (MAX_BODY_BYTES + 1), headers=bearer())
    service.client.post("/recommend", content=b"{}", headers={**bearer(), "Content-Encoding": "br"})
    for _ in range(3):
        service.client.get("/model", headers=bearer("slow"))

    found = {reason: service.refused(reason) - n for reason, n in before.items()}
    assert found == {"unauthorized": 2, "forbidden": 1, "body": 2, "rate": 2}


def test_every_kind_of_answer_has_its_id_and_the_security_headers(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    client, release = service.client, service.hold_engine()
    answers = [client.get("/model", headers=bearer())]
    release()
    monkeypatch.setattr("service.engine.Recommender.recommend_in_steps", lambda *_: 1 / 0)
    answers += [
        client.get("/health/live"),
        client.get("/health/ready"),
        client.get("/openapi.json", headers=bearer()),
        client.get("/metrics", headers=bearer("metrics")),
        client.get("/model", headers=bearer()),
        client.get("/model"),
        client.get("/metrics", headers=bearer()),
        client.get("/nowhere", headers=bearer()),
        client.put("/model", headers=bearer()),
        client.post("/recommend", content=b" " * (MAX_BODY_BYTES + 1), headers=bearer()),
        client.post("/recommend", json={"k": 0}, headers=bearer()),
        client.post("/recommend", json={}, headers=bearer()),
        client.get("/docs", headers=bearer()),
    ]
    assert service.client.portal is not None
    service.client.portal.call(service.parts.watch.stop)  # on the loop, where it posts
    answers.append(client.get("/health/ready"))

    statuses = [answer.status_code for answer in answers]
    assert statuses == [503, 200, 200, 200, 200, 200, 401, 403, 404, 405, 413, 422, 500, 200, 503]
    for answer in answers:
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert "server" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    policies = [answer.headers.get("content-security-policy") for answer in answers]
    assert [index for index, policy in enumerate(policies) if policy is None] == [statuses.index(500) + 1]  # the page
    assert all("default-src 'none'" in policy for policy in policies if policy is not None)


def test_answers_to_a_browser_that_asks_first_are_like_all_others(models: Path, stream: io.StringIO):
    for service in serving(models, stream, cors_origins=["https://good.example"]):
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        allowed = service.client.options("/recommend", headers={"Origin": "https://good.example", **asking})
        answer = service.client.get("/health/live", headers={"Origin": "https://good.example"})
        other = service.client.get("/health/live", headers={"Origin": "https://evil.example"})

    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://good.example"
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-credentials" not in answer.headers
    assert SECURITY_HEADERS.items() <= dict(allowed.headers).items()
    assert allowed.headers["x-request-id"]


def test_no_page_of_another_origin_may_read_an_answer_unless_told_so(open_service: Service):
    answer = open_service.client.get("/model", headers={"Origin": "https://good.example"})

    assert not [name for name in answer.headers if name.startswith("access-control")]


# Paths


def test_every_documented_path_is_known_to_the_guard(open_service: Service):
    """A path that it did not know would never be reached; and routes label the metrics."""
    description = open_service.client.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        for method in methods:
            assert open_service.client.request(method, path).status_code != 404, path
    labels = {dict(labels).get("route") for _, labels in open_service.metrics()}

    assert set(description["paths"]) <= labels
    assert set(description["paths"]) <= {line.get("route") for line in open_service.lines}


@pytest.mark.parametrize(
    "path",
    ["/recommend%0A", "/recommend/", "//recommend", "/recommend%00", "/Recommend", "/recommend;x", "/./recommend",
     "/recommend%2F", "/health/live%0A", "/metrics%0A", "/admin/reload%0A", "/admin%2Freload/", "/%72ecommend/x", "/",
     "/recommend%20", "/docs/x", "/health/", "/health/../admin/reload"],
)  # fmt: skip
def test_a_path_that_is_only_like_one_is_nothing(path: str, open_service: Service):
    for method in (b"GET", b"POST"):
        answers: list[Any] = []

        async def keep(message: Any, answers: list[Any] = answers) -> None:
            answers.append(message)

        portal = open_service.client.portal
        assert portal is not None
        status = portal.call(ask, open_service.app, unquote(path), None, keep, (), method.decode())
        wanted = 403 if path.startswith("/admin") else 404
        assert status == wanted, path
        assert [line["route"] for line in open_service.lines if line["event"] == "request"][-1] == "other"
        assert json.loads(answers[-1]["body"])["status"] == wanted


@pytest.mark.parametrize("path", ["/health/../admin/reload", "/health/live/../../metrics", "/health/%2e%2e/model"])
def test_nothing_that_needs_a_key_is_reached_through_a_path_that_needs_none(path: str, service: Service):
    response = service.client.request("GET", f"http://testserver{path}")

    assert response.status_code in (401, 404)


# Bodies


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("more", [0, 1])
def test_a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer(known: bool, more: int, open_service: Service):
    body = b"{}".ljust(MAX_BODY_BYTES + more)
    headers = [(b"content-length", str(len(body)).encode())] if known else []
    pieces = [body] if known else [body[:400], body[400:999], *(bytes([byte]) for byte in body[999:])]
    portal = open_service.client.portal
    assert portal is not None

    status = portal.call(ask, open_service.app, "/recommend", in_pieces(*pieces), None, headers)
    assert status == (413 if more else 200)


def test_no_more_of_a_body_is_read_than_may_be(open_service: Service):
    received = []

    async def endless() -> Any:
        received.append(100)
        return {"type": "http.request", "body": b" " * 100, "more_body": True}

    portal = open_service.client.portal
    assert portal is not None
    assert portal.call(ask, open_service.app, "/recommend", endless) == 413
    assert sum(received) == MAX_BODY_BYTES + 100


def test_a_body_that_says_it_is_too_long_is_not_read(open_service: Service):
    async def unwanted() -> Any:
        raise AssertionError("it was read")

    portal = open_service.client.portal
    assert portal is not None
    headers = [(b"content-length", b"%d" % (MAX_BODY_BYTES + 1))]
    assert portal.call(ask, open_service.app, "/recommend", unwanted, None, headers) == 413


def test_memory_is_given_back_after_a_long_body_and_only_then(open_service: Service, monkeypatch: pytest.MonkeyPatch):
    within: list[object] = []  # which task it was given back
    monkeypatch.setattr(guard, "LONG_BODY_BYTES", 100)
    monkeypatch.setattr(guard, "give_back", lambda: within.append(asyncio.current_task()))
    portal = open_service.client.portal
    assert portal is not None

    for length, times in ((100, 0), (101, 1), (MAX_BODY_BYTES, 2), (MAX_BODY_BYTES + 1, 3)):
        portal.call(ask, open_service.app, "/recommend", in_pieces(b"{}".ljust(length - 1), b" "))
        portal.call(asyncio.sleep, 0)
        assert len(within) == times
    portal.call(ask, open_service.app, "/recommend", leaving_after(bytes(101)))
    portal.call(asyncio.sleep, 0)
    assert within == [None] * 4, "within a request its body is still held"


def test_a_client_that_leaves_before_it_has_asked_costs_nothing(open_service: Service):
    portal = open_service.client.portal
    assert portal is not None
    assert portal.call(ask, open_service.app, "/recommend", leaving_after(b"{")) == 0
    assert open_service.lines[-1]["status"] == 499
    assert open_service.client.get("/model").status_code == 200


def test_a_client_that_was_answered_by_the_connection_is_logged_with_that_answer(
    open_service: Service, monkeypatch: pytest.MonkeyPatch
):
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    monkeypatch.setattr("service.guard.Call", partial(Call, status=408))
    portal = open_service.client.portal
    assert portal is not None
    assert portal.call(ask, open_service.app, "/recommend", receive) == 0
    assert open_service.lines[-1]["status"] == 408


def test_identity_is_no_compression(open_service: Service):
    response = open_service.client.post("/recommend", content=b"{}", headers={"Content-Encoding": "Identity"})

    assert response.status_code == 200


# The engine, and who waits for it


def test_while_the_engine_is_busy_health_metrics_and_pages_answer_and_what_needs_it_is_refused(open_service: Service):
    client, before = open_service.client, open_service.refused("overload")
    release = open_service.hold_engine()
    asked = [client.post("/recommend", json={}), client.get("/similar?track=x"), client.get("/search?q=x")]
    others = [client.get(path) for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/nowhere")]
    release()

    assert all(is_problem(response, 503) for response in asked)
    assert all(int(response.headers["retry-after"]) >= 1 for response in asked)
    assert [response.status_code for response in others] == [200, 200, 200, 200, 404]
    assert open_service.refused("overload") == before + 3
    assert client.get("/model").status_code == 200


def test_between_two_steps_of_an_answer_all_else_is_answered(open_service: Service, monkeypatch: pytest.MonkeyPatch):
    """Else what is refused, and health, would wait for as long as the longest answer takes."""
    steps_taken, answered_at = 0, {}

    def endless(*_: Any) -> Steps[Any]:
        nonlocal steps_taken
        while len(answered_at) < 2 and steps_taken < 1000:
            steps_taken += 1
            yield
        raise RuntimeError("that was enough")

    async def note(path: str, status: int) -> None:
        assert await ask(open_service.app, path, method="GET") == status
        answered_at[path] = steps_taken

    async def scene() -> None:
        asked = asyncio.create_task(ask(open_service.app, "/recommend"))
        while not steps_taken:
            await asyncio.sleep(0)
        await asyncio.gather(note("/health/live", 200), note("/model", 503))
        assert await asked == 500

    monkeypatch.setattr("service.engine.Recommender.recommend_in_steps", endless)
    monkeypatch.setattr(open_service.guard._queue, "_max_waiting", 0)
    assert open_service.client.portal is not None
    open_service.client.portal.call(scene)
    assert 1 <= answered_at["/health/live"] < 100


def test_a_client_that_does_not_read_its_answer_holds_the_engine_no_longer(open_service: Service):
    async def scene() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def stuck(_: Any) -> None:
            begun.set()
            await go_on.wait()

        slow = asyncio.create_task(ask(open_service.app, "/recommend", None, stuck))
        await begun.wait()
        assert await ask(open_service.app, "/model", method="GET") == 200
        assert not slow.done()
        go_on.set()
        assert await slow == 200

    assert open_service.client.portal is not None
    open_service.client.portal.call(scene)


def test_a_client_that_is_slow_to_ask_does_not_hold_the_engine(open_service: Service):
    async def scene() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> Any:
            begun.set()
            await go_on.wait()
            return {"type": "http.request", "body": b"{}", "more_body": False}

        slow = asyncio.create_task(ask(open_service.app, "/recommend", slowly))
        await begun.wait()
        assert await ask(open_service.app, "/model", method="GET") == 200
        go_on.set()
        assert await slow == 200

    assert open_service.client.portal is not None
    open_service.client.portal.call(scene)


@pytest.mark.parametrize(("longest_s", "told"), [(3600.0, [True, False, False]), (0.0, [True, True, True])])
def test_refusals_for_overload_leave_at_a_pace_and_hold_up_nothing_else(
    longest_s: float, told: list[bool], open_service: Service, monkeypatch: pytest.MonkeyPatch
):
    async def overloaded() -> None:
        raise Overloaded

    async def scene() -> None:
        refused = [asyncio.create_task(ask(open_service.app, "/model", method="GET")) for _ in told]
        try:
            assert await ask(open_service.app, "/health/live", method="GET") == 200
            for _ in range(100):
                await asyncio.sleep(0)
            assert [request.done() for request in refused] == told
        finally:  # a failure here must not leave the service that other tests share with requests in progress
            for request in refused:
                request.cancel()
            await asyncio.wait(refused)

    monkeypatch.setattr("service.guard.PACE_S", 3600.0)
    monkeypatch.setattr("service.guard.LONGEST_HOLD_S", longest_s)
    monkeypatch.setattr(open_service.guard, "_refused_s", -math.inf)
    monkeypatch.setattr(open_service.guard._queue, "turn", overloaded)
    assert open_service.client.portal is not None
    open_service.client.portal.call(scene)


@pytest.mark.parametrize("moment", ["waiting", "answering"])
def test_a_request_that_is_cancelled_loses_no_turn(moment: str, open_service: Service):
    async def scene() -> None:
        begun = asyncio.Event()

        async def stuck(_: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        if moment == "waiting":
            await open_service.guard._queue.turn()
        request = asyncio.create_task(ask(open_service.app, "/model", None, stuck, (), "GET"))
        if moment == "waiting":
            for _ in range(10):
                await asyncio.sleep(0)
            assert open_service.guard._queue.waiting == 1
        else:
            await begun.wait()
        request.cancel()
        await asyncio.wait([request])
        if moment == "waiting":
            assert open_service.guard._queue.waiting == 0
            open_service.guard._queue.done()

    assert open_service.client.portal is not None
    open_service.client.portal.call(scene)
    assert open_service.client.get("/model").status_code == 200
    metrics = open_service.metrics()
    assert metrics["segue_requests_in_progress", frozenset()] == 1  # the question for it
    assert metrics["segue_requests_waiting", frozenset()] == 0


def test_a_fault_of_the_engine_ends_its_turn(open_service: Service, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr("service.engine.Recommender.recommend_in_steps", lambda *_: 1 / 0)
        statuses = [open_service.client.post("/recommend", json={}).status_code for _ in range(3)]

    assert statuses == [500] * 3
    assert open_service.client.post("/recommend", json={}).status_code == 200


def test_no_model_is_said_at_once_and_not_after_a_wait(tmp_path: Path, stream: io.StringIO):
    with TestClient(create_app(Settings(models=tmp_path, watch_interval_s=0.01))) as client:
        for _ in range(10_000):
            if "being opened" not in client.get("/health/ready").text:
                break
        response = client.post("/recommend", json={})

    assert is_problem(response, 503)
    assert int(response.headers["retry-after"]) >= 1
    assert "no published version" in response.json()["detail"]


def test_an_answer_that_begins_once_the_service_is_stopping_closes_its_connection(service: Service):
    """Whenever it was asked for: the next request over that connection would find nobody."""
    key = (b"x-api-key", KEYS["use"].encode())

    async def scene() -> dict[bytes, bytes]:
        begun, go_on, headers = asyncio.Event(), asyncio.Event(), {}

        async def slowly() -> Any:
            begun.set()
            await go_on.wait()
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def keep(message: Any) -> None:
            headers.update(message.get("headers", ()))

        asked = asyncio.create_task(ask(service.app, "/recommend", slowly, keep, [key]))
        await begun.wait()
        service.parts.watch.stop()
        go_on.set()
        assert await asked == 200
        return headers

    assert service.client.portal is not None
    assert service.client.get("/health/live").headers.get("connection") != "close"
    assert service.client.portal.call(scene).get(b"connection") == b"close"
    assert service.client.get("/health/live").headers["connection"] == "close"


# What must not be seen


SECRET = "segue_" + "Q" * 43
WRONG_PLACES: list[Callable[[TestClient, str], Response]] = [
    lambda client, key: client.get("/model", headers={"Authorization": f"Bearer {key}"}),
    lambda client, key: client.get("/model", headers={"Authorization": key}),
    lambda client, key: client.get("/model", headers={"Authorization": f"Basic {key}"}),
    lambda client, key: client.get("/model", headers={"X-API-Key": key}),
    lambda client, key: client.get("/model", headers={"X-Request-ID": key}),
    lambda client, key: client.get("/model", headers={"X-Request-ID": f"request-{key}"}),
    lambda client, key: client.get("/model", headers={"X-Request-ID": f"Bearer {key}"}),
    lambda client, key: client.get("/model", headers={"Cookie": f"key={key}", "User-Agent": key, "Referer": key}),
    lambda client, key: client.get("/model", headers={"X-Forwarded-For": key, "Forwarded": key}),
    lambda client, key: client.get("/model", params={"api_key": key}),
    lambda client, key: client.get("/similar", params={"key": key, "track": "x"}),
    lambda client, key: client.get(f"/{key}"),
    lambda client, key: client.get(f"/model/{key}"),
    lambda client, key: client.get(f"/health/{key}"),
    lambda client, key: client.post("/admin/reload", json={"key": key}),
    lambda client, key: client.post("/recommend", json={"key": key}),
    lambda client, key: client.get("/metrics", headers={"Authorization": f"Bearer {key}"}),
]


@pytest.mark.parametrize("secret", ["unknown", "known"])
def test_a_key_is_never_seen_wherever_it_was_sent(secret: str, service: Service):
    presented = SECRET if secret == "unknown" else KEYS["use"]
    answers = [place(service.client, presented) for place in WRONG_PLACES]
    metrics = service.client.get("/metrics", headers=bearer("metrics")).text

    assert len(answers) == len(WRONG_PLACES)
    for said in (*(f"{answer.headers} {answer.text}" for answer in answers), metrics, service.stream.getvalue()):
        assert presented not in said
        assert sha256(presented.encode()).hexdigest() not in said
    assert len(service.lines) >= len(answers)


def test_a_key_in_a_wrong_place_lets_nobody_in(service: Service):
    right = [WRONG_PLACES[0](service.client, KEYS["use"]), WRONG_PLACES[3](service.client, KEYS["use"])]
    wrong = [
        place(service.client, KEYS["use"]) for index, place in enumerate(WRONG_PLACES) if index not in (0, 3, 13, 16)
    ]

    assert [answer.status_code for answer in right] == [200, 200]
    assert [answer.status_code for answer in wrong] == [401] * len(wrong)


def test_what_was_asked_is_never_in_the_log_nor_in_a_metric(open_service: Service):
    for name in ("title", "tracks", "artists", "exclude"):
        content = "SECRET" if name == "title" else ["SECRET"]
        assert open_service.client.post("/recommend?q=SECRET", json={name: content}).status_code == 200
    open_service.client.post("/recommend", content=b'{"SECRET": SECRET')
    open_service.client.post("/recommend", json={"SECRET": 1})
    for path in ("/similar?track=SECRET", "/search?q=SECRET", "/similar?SECRET=1", "/SECRET", "/model?SECRET#SECRET"):
        open_service.client.get(path, headers={"User-Agent": "SECRET", "Cookie": "SECRET=1"})

    assert "SECRET" not in open_service.stream.getvalue()
    assert "SECRET" not in open_service.client.get("/metrics").text


def test_a_line_names_the_key_that_asked_and_the_one_that_may_not(service: Service):
    service.client.get("/model", headers=bearer())
    service.client.get("/metrics", headers=bearer("admin"))
    service.client.get("/model", headers={"X-API-Key": "wrong"})
    service.client.get("/health/live", headers=bearer())

    assert [line["key"] for line in service.lines if line["event"] == "request"][-4:] == ["use", "admin", None, None]


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "0" * 128, "4bf92f3577b34da6a3ce929d0e0e4736"])
def test_a_request_id_that_is_harmless_is_kept(given: str, open_service: Service):
    response = open_service.client.get("/health/live", headers={"X-Request-ID": given})

    assert response.headers["x-request-id"] == given
    assert open_service.lines[-1]["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [b"", b"0" * 129, b"a b", b"a\tb", b'a"b', b"a,b", b"<script>", b"\xc3\xa4", b"a\n", b"%0a", b"{}", SECRET.encode(),
     b"x-" + SECRET.encode()],
)  # fmt: skip
def test_a_request_id_that_may_be_harmful_is_replaced(given: bytes, open_service: Service):
    portal, headers = open_service.client.portal, {}

    async def keep(message: Any) -> None:
        headers.update(message.get("headers", ()))

    assert portal is not None
    portal.call(ask, open_service.app, "/health/live", None, keep, [(b"x-request-id", given)], "GET")

    assert re.fullmatch(b"[0-9a-f]{32}", headers[b"x-request-id"])
    assert open_service.lines[-1]["request_id"] == headers[b"x-request-id"].decode()
