"""Requests that browsers, crawlers, load balancers and odd clients send to any server."""

import codecs
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.serving import Service

BODY = '{"title": "jazz", "k": 3}'
JSON = "application/json"
GET_PATHS = ["/health/live", "/health/ready", "/metrics", "/model", "/search?q=love", "/openapi.json", "/docs",
             "/redoc", "/docs/swagger-ui.css", "/redoc/redoc.standalone.js", "/robots.txt", "/",
             "/page/page.js"]  # fmt: skip


def post(client: TestClient, body: bytes, content_type: str = JSON) -> Any:
    return client.post("/recommend", content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize("path", GET_PATHS)
def test_head_is_get_without_its_body(path: str, client: TestClient):
    head, get = client.head(path), client.get(path)

    varying = {"x-request-id", "date", "content-length"} if path == "/metrics" else {"x-request-id", "date"}
    assert head.status_code == get.status_code == 200
    assert [header for header in head.headers.items() if header[0] not in varying] == [
        header for header in get.headers.items() if header[0] not in varying
    ]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/similar", "GET, HEAD"), ("/openapi.json", "GET, HEAD"), ("/docs", "GET, HEAD"), ("/recommend", "POST"),
     ("/docs/swagger-ui.css", "GET, HEAD")],
)  # fmt: skip
def test_a_wrong_method_is_told_the_right_ones(path: str, allowed: str, client: TestClient):
    response = client.delete(path)

    assert response.status_code == 405
    assert response.headers["allow"] == allowed


# Bodies


@pytest.mark.parametrize("content_type", [JSON, f"{JSON}; charset=utf-8", "text/plain", "text/csv; charset=latin-1"])
def test_a_byte_order_mark_before_json_is_accepted(content_type: str, client: TestClient):
    plain, marked = (post(client, mark + BODY.encode(), content_type) for mark in (b"", codecs.BOM_UTF8))

    assert plain.status_code == marked.status_code == 200
    assert plain.json() == marked.json()


@pytest.mark.parametrize("body", [codecs.BOM_UTF8, codecs.BOM_UTF8 * 2 + b"{}", b"{}" + codecs.BOM_UTF8])
def test_a_mark_elsewhere_is_not_json(body: bytes, client: TestClient):
    response = post(client, body)

    assert response.status_code == 422
    assert "not valid JSON" in response.json()["detail"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_a_body_in_another_encoding_is_told_the_one_that_is_read(encoding: str, client: TestClient):
    response = post(client, BODY.encode(encoding), f"{JSON}; charset={encoding}")

    assert response.status_code == 422
    assert f"the body is {encoding[:6].upper()}" in response.json()["detail"]
    assert "send UTF-8" in response.json()["detail"]


# Paths and queries


@pytest.mark.parametrize(
    "query", ["q=late+night", "q=late%20night", "q=late%20night&", "q=l%61te+night", "&q=late+night"]
)
def test_a_blank_in_a_query_has_two_spellings(query: str, client: TestClient):
    names = [track["name"] for track in client.get("/search", params={"q": "late night"}).json()["tracks"]]

    assert [track["name"] for track in client.get(f"/search?{query}").json()["tracks"]] == names


@pytest.mark.parametrize(
    "path", ["/search/", "//search", "/search//", "/Search", "/search%20", "/docs/", "/favicon.ico"]
)
def test_a_path_that_is_nearly_one_is_a_problem_and_no_redirect(path: str, client: TestClient):
    response = client.get(f"http://testserver{path}", headers={"Accept": "text/html"}, follow_redirects=False)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_an_encoded_letter_of_a_path_is_that_letter(client: TestClient):
    assert client.get("/%68ealth/%6Cive").json() == {"status": "live"}


# Everybody's questions


def test_anybody_may_ask_for_the_methods_of_the_service(service: Service):
    messages: list[Any] = []

    async def keep(message: Any) -> None:
        messages.append(message)

    assert service.send("*", method="OPTIONS", on_message=keep) == 204
    assert (b"allow", b"GET, HEAD, OPTIONS, POST") in messages[0]["headers"]
    assert service.send("*", method="GET") == 405


def test_crawlers_are_asked_to_stay_away(service: Service):
    response = service.client.get("/robots.txt")

    assert (response.status_code, response.text) == (200, "User-agent: *\nDisallow: /\n")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/search", "/recommend", "/anything"])
def test_a_listed_origin_may_use_each_method_that_is_served(method: str, path: str, tmp_path: Path):
    origin = "https://example.org"
    client = TestClient(create_app(Settings(models=tmp_path, runtime=tmp_path, cors_origins=[origin])))
    ask = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}

    answer = client.options(path, headers=ask)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert client.options(path, headers=ask | {"Origin": "https://elsewhere.example"}).status_code == 400
