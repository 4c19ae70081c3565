"""Requests that are refused, bodies of all lengths, and turns at the engine."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from httpx import Response

from tests.service.serving import MAX_BODY_BYTES, Service, bearer, in_pieces, send, serving


def is_problem(response: Response, status: int) -> bool:
    content = response.json()
    return (
        response.status_code == status == content["status"]
        and response.headers["content-type"] == "application/problem+json"
        and set(content) - {"errors"} == {"type", "title", "status", "detail"}
        and bool(content["detail"])
    )


def leaving_after(piece: bytes) -> Callable[[], Awaitable[Any]]:
    """Return a `receive` whose client leaves after *piece* of its body."""
    messages: list[Any] = [{"type": "http.request", "body": piece, "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    return receive


# Refusals


def test_every_refusal_is_a_problem_with_the_headers_of_its_status(service: Service):
    get, post = service.client.get, service.client.post

    @service.app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("secret")

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
    failed = get("/fails", headers=bearer())
    assert is_problem(failed, 500)
    assert "secret" not in failed.text


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


def test_a_browser_may_ask_first_if_its_origin_is_allowed(models: Path, stream: io.StringIO):
    with serving(models, stream, cors_origins=["https://good.example"]) as service:
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        allowed = service.client.options("/recommend", headers={"Origin": "https://good.example", **asking})
        answer = service.client.get("/health/live", headers={"Origin": "https://good.example"})
        other = service.client.get("/health/live", headers={"Origin": "https://evil.example"})

    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://good.example"
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-credentials" not in answer.headers
    assert allowed.headers["x-content-type-options"] == "nosniff"
    assert allowed.headers["x-request-id"]


def test_no_other_origin_may_read_an_answer_by_default(open_service: Service):
    answer = open_service.client.get("/model", headers={"Origin": "https://good.example"})

    assert not [name for name in answer.headers if name.startswith("access-control")]


# Paths


@pytest.mark.parametrize(
    "path",
    ["/recommend%0A", "/recommend/", "//recommend", "/recommend%00", "/Recommend", "/recommend;x", "/./recommend",
     "/recommend%2F", "/health/live%0A", "/metrics%0A", "/docs%0A", "/admin%2Freload/", "/%72ecommend/x", "/page",
     "/recommend%20", "/docs/x", "/health/", "/health/../admin/reload"],
)  # fmt: skip
def test_a_path_that_resembles_a_route_is_not_found(path: str, open_service: Service):
    for method in ("GET", "POST"):
        answers: list[Any] = []

        async def keep(message: Any, answers: list[Any] = answers) -> None:
            answers.append(message)

        assert open_service.send(unquote(path), None, keep, method=method) == 404
        assert json.loads(answers[-1]["body"])["status"] == 404


@pytest.mark.parametrize("path", ["/health/../admin/reload", "/health/live/../../metrics", "/health/%2e%2e/model"])
def test_an_open_path_does_not_lead_to_a_closed_one(path: str, service: Service):
    assert service.client.request("GET", f"http://testserver{path}").status_code in (401, 404)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/model", "/docs"])
def test_head_is_answered_like_get(path: str, open_service: Service):
    head, get = open_service.client.head(path), open_service.client.get(path)

    assert (head.status_code, head.headers["content-length"]) == (200, get.headers["content-length"])


# Bodies


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("more", [0, 1])
def test_a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer(announced: bool, more: int, open_service: Service):
    body = b"{}".ljust(MAX_BODY_BYTES + more)
    headers = [(b"content-length", str(len(body)).encode())] if announced else []
    pieces = [body] if announced else [body[:400], body[400:999], *(bytes([byte]) for byte in body[999:])]

    assert open_service.send("/recommend", in_pieces(*pieces), headers=headers) == (413 if more else 200)


def test_reading_stops_at_the_limit(open_service: Service):
    received = []

    async def endless() -> Any:
        received.append(100)
        return {"type": "http.request", "body": b" " * 100, "more_body": True}

    assert open_service.send("/recommend", endless) == 413
    assert sum(received) == MAX_BODY_BYTES + 100


def test_a_body_that_is_announced_as_too_long_is_not_read(open_service: Service):
    async def unwanted() -> Any:
        raise AssertionError("it was read")

    headers = [(b"content-length", b"%d" % (MAX_BODY_BYTES + 1))]
    assert open_service.send("/recommend", unwanted, headers=headers) == 413


def test_a_request_without_a_key_is_refused_before_its_body_is_read(service: Service):
    async def unwanted() -> Any:
        raise AssertionError("it was read")

    assert service.send("/recommend", unwanted) == 401


def test_a_client_that_leaves_within_its_body_is_logged_as_gone(open_service: Service):
    open_service.send("/recommend", leaving_after(b"{"))

    assert open_service.requests[-1]["status"] == 499
    assert open_service.client.get("/model").status_code == 200


def test_identity_is_not_compression(open_service: Service):
    response = open_service.client.post("/recommend", content=b"{}", headers={"Content-Encoding": "Identity"})

    assert response.status_code == 200


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain", "nonsense"])
def test_a_body_is_json_regardless_of_its_content_type(content_type: str | None, open_service: Service):
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = open_service.client.post("/recommend", content=b'{"k": 3}', headers=headers)

    assert len(response.json()["tracks"]) == 3


# Turns at the engine


def test_a_busy_engine_delays_only_the_routes_that_use_it(models: Path, stream: io.StringIO):
    paths = ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/nowhere")
    with serving(models, stream, max_wait_s=0.05) as service:
        client, before = service.client, service.refused("overload")
        with service.busy_engine():
            refused = [client.post("/recommend", json={}), client.get("/similar?track=x"), client.get("/search?q=x")]
            others = [client.get(path) for path in paths]

        assert all(is_problem(response, 503) for response in refused)
        assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
        assert [response.status_code for response in others] == [200, 200, 200, 200, 404]
        assert service.refused("overload") == before + 3
        assert client.get("/model").status_code == 200


def test_a_full_queue_refuses_before_the_body_arrives(models: Path, stream: io.StringIO):
    async def never() -> Any:
        raise AssertionError("the body was read")

    with serving(models, stream, max_waiting=0) as service:
        with service.busy_engine():
            assert service.call(send, service.app, "/recommend", never) == 503
        assert service.client.post("/recommend", json={}).status_code == 200


def test_a_queue_that_fills_while_the_body_arrives_refuses_the_request(models: Path, stream: io.StringIO):
    async def scene(service: Service) -> None:
        async def body() -> Any:
            await service.state.admission.acquire()
            return {"type": "http.request", "body": b"{}", "more_body": False}

        assert await send(service.app, "/recommend", body) == 503
        service.state.admission.release()

    with serving(models, stream, max_waiting=0) as service:
        service.call(scene, service)
        assert service.client.post("/recommend", json={}).status_code == 200


def test_a_client_that_does_not_read_its_answer_does_not_hold_the_engine(open_service: Service):
    async def scene() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def stuck(_: Any) -> None:
            begun.set()
            await go_on.wait()

        slow = asyncio.create_task(send(open_service.app, "/recommend", None, stuck))
        await begun.wait()
        assert await send(open_service.app, "/model", method="GET") == 200
        assert not slow.done()
        go_on.set()
        assert await slow == 200

    open_service.call(scene)


def test_a_client_that_sends_its_body_slowly_does_not_hold_the_engine(open_service: Service):
    async def scene() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> Any:
            begun.set()
            await go_on.wait()
            return {"type": "http.request", "body": b"{}", "more_body": False}

        slow = asyncio.create_task(send(open_service.app, "/recommend", slowly))
        await begun.wait()
        assert await send(open_service.app, "/model", method="GET") == 200
        go_on.set()
        assert await slow == 200

    open_service.call(scene)


@pytest.mark.parametrize("moment", ["waiting", "answering"])
def test_a_cancelled_request_loses_no_turn(moment: str, models: Path, stream: io.StringIO):
    async def scene(service: Service) -> None:
        begun = asyncio.Event()

        async def stuck(_: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        if moment == "waiting":
            await service.state.admission.acquire()
        request = asyncio.create_task(send(service.app, "/model", None, stuck, (), "GET"))
        if moment == "waiting":
            while not service.state.admission.waiting:
                await asyncio.sleep(0)
        else:
            await begun.wait()
        request.cancel()
        await asyncio.wait([request])
        if moment == "waiting":
            assert service.state.admission.waiting == 0
            service.state.admission.release()

    with serving(models, stream, max_wait_s=60.0) as service:
        service.call(scene, service)
        assert service.client.get("/model").status_code == 200
        metrics = service.metrics()
        assert metrics["segue_requests_in_progress", frozenset()] == 1  # the request for the metrics
        assert metrics["segue_requests_waiting", frozenset()] == 0


def test_an_error_of_the_engine_ends_its_turn(service: Service):
    from service.api.routing import Engine

    @service.app.get("/fails")
    async def fails(recommender: Engine) -> None:
        raise RuntimeError("strange")

    assert [service.client.get("/fails", headers=bearer()).status_code for _ in range(3)] == [500] * 3
    assert service.client.post("/recommend", json={}, headers=bearer()).status_code == 200


def test_without_a_model_requests_are_refused_without_waiting(tmp_path: Path, stream: io.StringIO):
    with serving(tmp_path, stream) as service, service.busy_engine():
        response = service.client.post("/recommend", json={})

    assert is_problem(response, 503)
    assert int(response.headers["retry-after"]) >= 1
    assert "overloaded" not in response.json()["detail"]


def test_a_stopping_service_closes_connections_with_its_answers(service: Service):
    """Also with the answer to a request that began before: the next one over that connection would find nobody."""
    key = (b"authorization", bearer()["Authorization"].encode())

    async def scene() -> dict[bytes, bytes]:
        begun, go_on, headers = asyncio.Event(), asyncio.Event(), {}

        async def slowly() -> Any:
            begun.set()
            await go_on.wait()
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def keep(message: Any) -> None:
            headers.update(message.get("headers", ()))

        asked = asyncio.create_task(send(service.app, "/recommend", slowly, keep, [key]))
        await begun.wait()
        service.state.reloader.stop()
        go_on.set()
        assert await asked == 200
        return headers

    assert service.client.get("/health/live").headers.get("connection") != "close"
    assert service.call(scene).get(b"connection") == b"close"
    assert service.client.get("/health/live").headers["connection"] == "close"
