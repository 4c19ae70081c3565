"""The id, the headers and the log line of every request; and the secrets that none of them may contain."""

import asyncio
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from service.api.requests import CONTEXT, LONG_BODY_BYTES, RequestReporter
from service.api.routing import JSONRoute
from service.auth.keys import digest_of
from tests.service.serving import KEYS, MAX_BODY_BYTES, Service, bearer, in_pieces, send

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def test_every_kind_of_answer_has_an_id_and_the_security_headers(service: Service):
    @service.app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("strange")

    client = service.client
    with service.busy_engine():
        answers = [client.get("/model", headers=bearer())]
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
        client.get("/fails", headers=bearer()),
    ]
    service.call(service.state.reloader.stop)
    answers.append(client.get("/health/ready"))

    statuses = [answer.status_code for answer in answers]
    assert statuses == [503, 200, 200, 200, 200, 200, 401, 403, 404, 405, 413, 422, 500, 503]
    for answer in answers:
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert "server" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_a_response_with_a_policy_of_its_own_keeps_it(open_service: Service):
    page = open_service.client.get("/docs")

    assert [value for value in page.headers.get_list("content-security-policy") if "script-src" not in value] == []
    assert SECURITY_HEADERS.items() <= dict(page.headers).items()


def test_every_documented_path_is_a_label_in_log_and_metrics(open_service: Service):
    description = open_service.client.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        for method in methods:
            assert open_service.client.request(method, path).status_code != 404, path
    labels = {dict(labels).get("route") for _, labels in open_service.metrics()}

    assert set(description["paths"]) <= labels
    assert set(description["paths"]) <= {line.get("route") for line in open_service.lines}


def test_paths_without_a_route_share_one_label(open_service: Service):
    for path in ("/nowhere", "/recommend/", "/x" * 1000):
        open_service.client.get(path)
        assert open_service.requests[-1]["route"] == "other"


@pytest.mark.parametrize(("path", "length", "times"), [("/json", LONG_BODY_BYTES, 0), ("/json", LONG_BODY_BYTES + 1, 1),
                                                       ("/nowhere", LONG_BODY_BYTES + 1, 0)])  # fmt: skip
def test_memory_is_trimmed_after_a_long_json_body_was_read(path: str, length: int, times: int):
    """Within the request the body would still be in use."""
    trimmed_in: list[object] = []
    state: Any = SimpleNamespace(
        tracer=None, settings=SimpleNamespace(access_log=False), reloader=SimpleNamespace(stopping=False)
    )
    app = FastAPI()
    router = APIRouter(route_class=JSONRoute)

    @router.post("/json")
    async def json_route(body: Annotated[str, Body()]) -> None: ...

    app.include_router(router)
    app.add_middleware(RequestReporter, state=state, trim=lambda: trimmed_in.append(asyncio.current_task()))

    async def scene() -> None:
        await send(app, path, in_pieces(b'""'.ljust(length)))
        assert trimmed_in == []
        await asyncio.sleep(0)

    asyncio.run(scene())
    assert trimmed_in == [None] * times


def test_a_request_that_the_connection_answered_is_logged_with_that_status(open_service: Service):
    """The connection answers 408 when a request takes too long, and then the client is gone."""

    async def scene() -> None:
        scopes: list[Any] = []

        async def note(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)
            await open_service.app(scope, receive, send)

        async def time_out() -> Any:
            scopes[0][CONTEXT].status = 408
            return {"type": "http.disconnect"}

        await send(note, "/recommend", time_out)

    open_service.call(scene)
    assert open_service.requests[-1]["status"] == 408


# Secrets


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
def test_a_key_is_never_repeated_wherever_it_was_sent(secret: str, service: Service):
    presented = SECRET if secret == "unknown" else KEYS["use"]
    answers = [place(service.client, presented) for place in WRONG_PLACES]
    metrics = service.client.get("/metrics", headers=bearer("metrics")).text

    for text in (*(f"{answer.headers} {answer.text}" for answer in answers), metrics, service.stream.getvalue()):
        assert presented not in text
        assert digest_of(presented) not in text
    assert len(service.lines) >= len(answers) == len(WRONG_PLACES)


def test_a_key_in_a_wrong_place_is_not_accepted(service: Service):
    right = [WRONG_PLACES[0](service.client, KEYS["use"]), WRONG_PLACES[3](service.client, KEYS["use"])]
    wrong = [place(service.client, KEYS["use"]) for index, place in enumerate(WRONG_PLACES) if index not in (0, 3, 16)]

    assert [answer.status_code for answer in right] == [200, 200]
    assert [answer.status_code for answer in wrong] == [401] * len(wrong)


def test_the_content_of_a_request_is_neither_logged_nor_counted(open_service: Service):
    for name in ("title", "tracks", "artists", "exclude"):
        content = "SECRET" if name == "title" else ["SECRET"]
        assert open_service.client.post("/recommend?q=SECRET", json={name: content}).status_code == 200
    open_service.client.post("/recommend", content=b'{"SECRET": SECRET')
    open_service.client.post("/recommend", json={"SECRET": 1})
    for path in ("/similar?track=SECRET", "/search?q=SECRET", "/similar?SECRET=1", "/SECRET", "/model?SECRET#SECRET"):
        open_service.client.get(path, headers={"User-Agent": "SECRET", "Cookie": "SECRET=1"})

    assert "SECRET" not in open_service.stream.getvalue()
    assert "SECRET" not in open_service.client.get("/metrics").text


def test_a_line_names_the_key_also_if_its_right_is_missing(service: Service):
    service.client.get("/model", headers=bearer())
    service.client.get("/metrics", headers=bearer("admin"))
    service.client.get("/model", headers={"X-API-Key": "wrong"})
    service.client.get("/health/live", headers=bearer())

    assert [line["key"] for line in service.requests[-4:]] == ["use", "admin", None, None]


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "0" * 128, "4bf92f3577b34da6a3ce929d0e0e4736"])
def test_a_harmless_request_id_is_kept(given: str, open_service: Service):
    response = open_service.client.get("/health/live", headers={"X-Request-ID": given})

    assert response.headers["x-request-id"] == given
    assert open_service.lines[-1]["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [b"", b"0" * 129, b"a b", b"a\tb", b'a"b', b"a,b", b"<script>", b"\xc3\xa4", b"a\n", b"%0a", b"{}", SECRET.encode(),
     b"x-" + SECRET.encode()],
)  # fmt: skip
def test_a_harmful_request_id_is_replaced(given: bytes, open_service: Service):
    headers: dict[bytes, bytes] = {}

    async def keep(message: Any) -> None:
        headers.update(message.get("headers", ()))

    open_service.send("/health/live", None, keep, [(b"x-request-id", given)], "GET")

    assert re.fullmatch(b"[0-9a-f]{32}", headers[b"x-request-id"])
    assert open_service.lines[-1]["request_id"] == headers[b"x-request-id"].decode()
