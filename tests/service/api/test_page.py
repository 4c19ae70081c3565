"""The page at `/`: open to everybody, whole without another host, and absent if it is switched off."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from service.api.playlists import RecommendRequest
from service.app import create_app
from service.settings import Settings
from tests.service.serving import Service, bearer, serving

FILES = Path(__file__).parents[3] / "service" / "page"
LOADED = re.compile(r'<(?:script|link)\b[^>]*(?:src|href)="(?!data:)([^"]+)"')
IMPORTED = re.compile(r'^(?:import|\}) .*from "([^"]+)";$', re.MULTILINE)


def files_of(page: str, client: TestClient) -> set[str]:
    """Return the paths that a browser loads for the page at the address *page*."""
    found, waiting = set(), [urljoin(page, file) for file in LOADED.findall(client.get("/").text)]
    while waiting:
        path = waiting.pop()
        found.add(path)
        text = client.get(f"/page/{path.rpartition('/')[2]}").text
        waiting += [urljoin(path, file) for file in IMPORTED.findall(text) if urljoin(path, file) not in found]
    return found


@pytest.fixture
def without_page(models: Path, stream: io.StringIO) -> Iterator[Service]:
    with serving(models, stream, page=False) as found:
        yield found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_and_the_files_that_it_loads_are_served(method: str, open_service: Service):
    types = {"css": "text/css", "js": "text/javascript"}
    page, files = open_service.client.request(method, "/"), files_of("/", open_service.client)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert {Path(file).name for file in files} == {file.name for file in FILES.iterdir()} - {"index.html"}
    for file in files:
        response = open_service.client.request(method, file)
        assert response.status_code == 200, file
        assert response.headers["content-type"].partition(";")[0] == types[file.rpartition(".")[2]]


@pytest.mark.parametrize("prefix", ["/segue", "/apps/segue-2.0"])
@pytest.mark.parametrize("is_removed", [True, False])
def test_the_page_works_under_the_prefix_of_a_proxy(prefix: str, is_removed: bool, models: Path):
    client = TestClient(create_app(Settings(models=models, root_path=prefix)))
    files = files_of(f"{prefix}/", client)

    assert files
    assert all(file.startswith(f"{prefix}/page/") for file in files)
    for path in [f"{prefix}/", *files]:
        assert client.get(path.removeprefix(prefix) if is_removed else path).status_code == 200, path


def test_its_policy_runs_files_of_this_service_alone_and_no_text_as_markup(open_service: Service):
    policy = open_service.client.get("/").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_nothing_on_the_page_is_refused_by_its_policy(open_service: Service):
    html = open_service.client.get("/").text
    scripts = "".join(file.read_text() for file in FILES.glob("*.js"))

    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:|https?:", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", scripts)


def test_the_page_needs_no_key_and_all_that_it_shows_does(service: Service):
    files = files_of("/", service.client)

    assert {service.client.get(path).status_code for path in ["/", *files]} == {200}
    assert {service.client.get(path, headers=bearer("metrics")).status_code for path in ["/", *files]} == {200}
    for path in ("/search?q=love", "/similar?track=x", "/model", "/docs"):
        assert service.client.get(path).status_code == 401
    assert service.client.post("/recommend", json={}).status_code == 401


def test_the_page_is_the_same_for_everybody(service: Service, open_service: Service):
    assert service.client.get("/").content == open_service.client.get("/").content


def test_a_page_that_is_switched_off_is_an_unknown_path(without_page: Service):
    for path in ("/", "/page/page.js", "/page/page.css"):
        response = without_page.client.get(path)
        assert response.status_code == 404, path
        assert response.headers["content-type"] == "application/problem+json"
    assert without_page.client.get("/docs").status_code == 200


@pytest.mark.parametrize("value", ["off", "false", "0"])
def test_the_environment_switches_the_page_off(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGUE_PAGE", value)

    assert Settings().page is False


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/index.html", "/index.html", "/page/../settings.py", "/page/%2e%2e/settings.py"]
)
def test_other_files_are_not_found(path: str, open_service: Service):
    assert open_service.client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
def test_a_file_that_a_browser_has_is_not_sent_again(path: str, open_service: Service):
    first = open_service.client.get(path)
    again = open_service.client.get(path, headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_the_page_sends_fields_that_a_request_has_and_knows_their_defaults():
    (table,) = re.findall(r"^const defaults = \{(.*?)^\};", (FILES / "page.js").read_text(), re.DOTALL | re.MULTILINE)
    defaults = dict(re.findall(r"^  (\w+): (.*),$", table, re.MULTILINE))
    words = {"null": None, "false": False}

    assert len(defaults) == 8
    for name, text in defaults.items():
        field = RecommendRequest.model_fields[name]
        if name != "kind":  # the catalogue decides
            assert (words[text] if text in words else float(text)) == field.default, name
