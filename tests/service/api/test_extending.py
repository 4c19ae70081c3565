"""Routes that a stranger adds in a few lines, without stating needs: each is closed, bounded, logged and counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, Request
from fastapi.staticfiles import StaticFiles

from service.api.authorization import needs
from service.api.routing import Engine
from service.engine import Recommender
from tests.service.serving import MAX_BODY_BYTES, Service, bearer, in_pieces

# Path, and its label in logs and metrics.
ADDED = [("/popular", "/popular"), ("/tracks/x", "/tracks/{track_id}"), ("/files/hello.txt", "/files"),
         ("/more/included", "/more/included")]  # fmt: skip


@pytest.fixture
def extended(service: Service, tmp_path: Path) -> Iterator[Service]:
    """A service with four GETs and a POST that are not ours."""
    app = service.app
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "hello.txt").write_text("hello")

    @app.get("/popular")
    async def popular(recommender: Engine) -> list[str]:
        return [track.id for track in recommender.popular("tracks", 3)]

    @app.get("/tracks/{track_id}")
    async def track(track_id: str) -> dict[str, str]:
        return {"id": track_id}

    app.mount("/files", StaticFiles(directory=tmp_path / "files"))

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    router = APIRouter(prefix="/more")

    @router.get("/included")
    async def included() -> str:
        return "included"

    app.include_router(router)
    return service


def test_added_routes_answer(extended: Service, recommender: Recommender):
    answers = [extended.client.get(path, headers=bearer()) for path, _ in ADDED]

    assert [answer.status_code for answer in answers] == [200] * len(ADDED)
    assert answers[0].json() == [track.id for track in recommender.popular("tracks", 3)]
    assert [answer.text for answer in answers[1:]] == ['{"id":"x"}', "hello", '"included"']
    assert extended.client.post("/echo", content=b"12345", headers=bearer()).json() == 5


@pytest.mark.parametrize(("headers", "status"), [({}, 401), (bearer("metrics"), 403)])
def test_added_routes_need_the_ordinary_key(headers: dict[str, str], status: int, extended: Service):
    paths = [*(path for path, _ in ADDED), "/files/nowhere", "/files/../model", "/nowhere"]

    answers = {path: extended.client.get(path, headers=headers).status_code for path in paths}
    assert answers == dict.fromkeys(paths, status)
    assert extended.client.post("/echo", content=b"x", headers=headers).status_code == status


def test_an_added_body_is_bounded(extended: Service):
    """The length may be announced, or unknown until the body has been read."""
    authorization = (b"authorization", bearer()["Authorization"].encode())
    announced = extended.client.post("/echo", content=b" " * 50_000, headers=bearer())
    chunked = extended.send("/echo", in_pieces(*[b" " * 500] * 100), headers=[authorization])

    assert (announced.status_code, chunked) == (413, 413)
    assert announced.headers["content-type"] == "application/problem+json"
    assert extended.client.post("/echo", content=b" " * MAX_BODY_BYTES, headers=bearer()).json() == MAX_BODY_BYTES


def test_a_route_may_state_a_larger_body(extended: Service):
    @extended.app.post("/large", max_body_size=5 * MAX_BODY_BYTES)
    async def large(request: Request) -> int:
        return len(await request.body())

    statuses = [
        extended.client.post("/large", content=b" " * n, headers=bearer()).status_code
        for n in (5 * MAX_BODY_BYTES, 5 * MAX_BODY_BYTES + 1)
    ]
    assert statuses == [200, 413]


def test_a_route_may_state_another_right_or_none(extended: Service):
    @extended.app.get("/secret", dependencies=[needs("admin")])
    async def secret() -> None: ...

    @extended.app.get("/open", dependencies=[needs(None)])
    async def open_to_all() -> None: ...

    get = extended.client.get
    assert [get("/secret", headers=bearer(name)).status_code for name in ("use", "metrics", "admin")] == [403, 403, 200]
    assert (get("/secret").status_code, get("/open").status_code) == (401, 200)


def test_added_routes_are_logged_and_counted(extended: Service):
    for path, label in ADDED:
        counted = frozenset({("route", label), ("status", "200"), ("strategy", "")})
        before = extended.metrics().get(("segue_request_duration_seconds_count", counted), 0)
        response = extended.client.get(path, headers=bearer())

        line = extended.requests[-1]
        assert (line["request_id"], line["route"], line["status"], line["key"]) == (
            response.headers["x-request-id"], label, 200, "use"
        )  # fmt: skip
        assert response.headers["x-content-type-options"] == "nosniff"
        assert extended.metrics()["segue_request_duration_seconds_count", counted] == before + 1


def test_a_route_that_uses_the_engine_waits_its_turn(extended: Service):
    with extended.busy_engine():
        assert extended.client.get("/popular", headers=bearer()).status_code == 503
        assert extended.client.get("/tracks/x", headers=bearer()).status_code == 200
    assert extended.client.get("/popular", headers=bearer()).status_code == 200
