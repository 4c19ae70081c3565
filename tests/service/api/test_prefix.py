"""A service behind a proxy that publishes it under a prefix, whether the proxy removes the prefix or not."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.app import create_app
from service.settings import Settings
from tests.service.serving import bearer, key_file, serving

PROXY, STRANGER = "10.1.2.3", "10.2.0.1"
TRUSTED = ["10.1.0.0/16", "2001:db8::/32", "192.0.2.7"]
PATHS = ["/health/live", "/openapi.json", "/docs", "/docs/swagger-ui.css", "/redoc", "/redoc/redoc.standalone.js", "/",
         "/page/page.js"]  # fmt: skip


@contextmanager
def published(models: Path, **settings: Any) -> Iterator[TestClient]:
    """Return a proxy as the client of a service."""
    with TestClient(create_app(Settings(models=models, **settings)), client=(PROXY, 1)) as client:
        yield client


@pytest.fixture(scope="module", params=["/segue", "/apps/segue-2.0", "/health", "/search", "/docs"])
def prefix(request: pytest.FixtureRequest) -> str:
    """A prefix, possibly one with which paths of the API begin."""
    return request.param


@pytest.fixture(scope="module")
def proxy(prefix: str, models: Path) -> Iterator[TestClient]:
    with published(models, root_path=prefix) as client:
        yield client


@pytest.fixture(scope="module")
def trusted(models: Path) -> Iterator[TestClient]:
    with published(models, trusted_proxies=TRUSTED, root_path="/default") as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_path_is_found_with_the_prefix_and_without(method: str, prefix: str, proxy: TestClient):
    for path in PATHS:
        removed, passed_on = proxy.request(method, path), proxy.request(method, prefix + path)

        assert (removed.status_code, passed_on.status_code) == (200, 200), path
        assert removed.content == passed_on.content


def test_a_path_that_is_none_is_none_under_the_prefix(prefix: str, proxy: TestClient):
    for path in (f"{prefix}nowhere", f"{prefix}//health/live", f"{prefix}/nowhere", "*"):
        response = proxy.get(path)
        assert response.status_code == 404, path
        assert response.headers["content-type"] == "application/problem+json"


def test_the_description_says_the_prefix(prefix: str, proxy: TestClient):
    for path in ("/openapi.json", f"{prefix}/openapi.json"):
        assert proxy.get(path).json()["servers"] == [{"url": prefix}]


def test_without_a_prefix_the_description_names_no_server(client: TestClient):
    assert "servers" not in client.get("/openapi.json").json()


def servers(proxy: TestClient, host: str, *values: str) -> list[str]:
    """Return the prefixes that the description names to a client with the address *host*."""
    headers = [(b"X-Forwarded-Prefix", value.encode()) for value in values]
    description = TestClient(proxy.app, client=(host, 1)).get("/openapi.json", headers=headers).json()
    return [server["url"] for server in description["servers"]]


@pytest.mark.parametrize("host", [PROXY, "2001:db8::1", "192.0.2.7"])
@pytest.mark.parametrize(("value", "found"), [("/a", "/a"), ("/a/b/", "/a/b"), ("a", "/a")])
def test_the_prefix_of_a_trusted_proxy_counts(host: str, value: str, found: str, trusted: TestClient):
    assert servers(trusted, host, value) == [found]


@pytest.mark.parametrize("host", [STRANGER, "127.0.0.1", "2001:db9::1", "testclient", ""])
def test_the_prefix_of_anybody_else_is_ignored(host: str, trusted: TestClient):
    assert servers(trusted, host, "/a") == ["/default"]


@pytest.mark.parametrize(
    "values",
    [["https://evil.example"], ["/a//b"], ["/a b"], ["/a?b"], ["/a%2fb"], ["/a, /b"], ["/a", "/b"], ["/<x>"], ["/é"]],
)
def test_a_prefix_that_is_none_is_ignored(values: list[str], trusted: TestClient):
    assert servers(trusted, PROXY, *values) == ["/default"]


def test_a_prefix_never_names_another_host(trusted: TestClient):
    assert servers(trusted, PROXY, "//evil.example") == ["/evil.example"]


def test_by_default_no_proxy_is_trusted(models: Path):
    with published(models, root_path="/default") as proxy:
        assert servers(proxy, "127.0.0.1", "/a") == ["/default"]


# Rights, logs and metrics


@pytest.mark.parametrize("prefix", ["/segue", "/health", "/health/live", "/admin", "/docs", "/metrics"])
def test_no_prefix_opens_a_closed_route(prefix: str, models: Path, tmp_path: Path):
    named = {"X-Forwarded-Prefix": prefix}
    with published(models, keys=key_file(tmp_path / "keys.json"), trusted_proxies=["0.0.0.0/0"]) as proxy:
        for method, path, right in (
            ("GET", "/metrics", "metrics"),
            ("POST", "/admin/reload", "admin"),
            ("GET", "/docs/swagger-ui.css", "use"),
        ):
            for whole in (path, prefix + path):
                assert proxy.request(method, whole, headers=named).status_code == 401
                for name in {"use", "metrics", "admin"} - {right}:
                    assert proxy.request(method, whole, headers=named | bearer(name)).is_client_error
            assert proxy.request(method, path, headers=named | bearer(right)).status_code == 200


def test_log_and_metrics_name_the_route_without_the_prefix(models: Path, stream: io.StringIO, tmp_path: Path):
    with serving(models, stream, keys=key_file(tmp_path / "keys.json"), root_path="/segue") as service:
        assert service.send("*", method="OPTIONS") == 204
        assert service.client.get("/segue/model", headers=bearer()).status_code == 200
        assert service.requests[-1]["route"] == "/model"
        labels = {dict(labels).get("route", "") for _, labels in service.metrics()}

    assert "/model" in labels
    assert not [label for label in labels if "segue" in label]


def test_a_page_elsewhere_may_ask_for_leave_under_the_prefix(models: Path):
    origin = "https://example.org"
    with published(models, root_path="/segue", cors_origins=[origin]) as proxy:
        ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for path in ("/recommend", "/segue/recommend"):
            answer = proxy.options(path, headers=ask)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)


# Settings


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("/segue", "/segue"), ("segue", "/segue"), ("/segue/", "/segue"), (" /a/b ", "/a/b"), ("/", ""), ("", "")],
)
def test_the_setting_needs_no_exact_slashes(text: str, prefix: str):
    assert Settings(root_path=text).root_path == prefix


@pytest.mark.parametrize("text", ["https://example.org/segue", "/a//b", "/a b", "/a?b", "/%61", "/a\n/b", "/ü"])
def test_a_setting_that_is_no_prefix_is_refused_with_the_remedy(text: str):
    with pytest.raises(ValidationError, match="expected a path such as /segue"):
        Settings(root_path=text)


@pytest.mark.parametrize("proxy", ["proxy", "10.0.0.0/33", "10.0.0.1/8", ""])
def test_a_trusted_proxy_is_an_address_or_a_network(proxy: str):
    with pytest.raises(ValidationError, match="network"):
        Settings(trusted_proxies=[proxy])
