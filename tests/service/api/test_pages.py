"""The pages of the documentation: whole without another host, and nothing but their own scripts runs."""

import re
from base64 import b64encode
from hashlib import sha256
from urllib.parse import urljoin

import pytest

from tests.service.serving import Service, bearer

PAGES = ["/docs", "/redoc"]
FILE = re.compile(r'(?:src|href|spec-url)="(?!data:)([^"]+)"|url: \'([^\']+)\'')


def files_of(page: str, html: str) -> list[str]:
    """Return the paths that a browser loads for *page*."""
    return [urljoin(page, "".join(found)) for found in FILE.findall(html)]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_loads_files_of_this_service_alone(page: str, method: str, open_service: Service):
    files = files_of(page, open_service.client.get(page).text)

    assert len(files) >= 2
    for file in files:
        response = open_service.client.request(method, file)
        assert response.status_code == 200, file
        assert response.headers["content-type"].partition(";")[0] in (
            "text/javascript", "text/css", "application/json",
        ), file  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_a_page_are_found_under_any_prefix(page: str, open_service: Service):
    files = files_of(f"/any/where{page}", open_service.client.get(page).text)

    assert files
    assert all(file.startswith("/any/where/") for file in files)


@pytest.mark.parametrize("page", PAGES)
def test_the_policy_of_a_page_names_no_host_and_lets_its_own_scripts_run(page: str, open_service: Service):
    response = open_service.client.get(page)
    policy = response.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", response.text, flags=re.DOTALL)

    sources = set(re.sub(r"'sha256-\S*'", "", policy).replace(";", "").split())
    assert not {source for source in sources if any(character in source for character in "/.*")}
    assert "'unsafe-inline'" not in re.findall(r"script-src [^;]*", policy)[0]
    assert len(scripts) == (1 if page == "/docs" else 0)
    for script in scripts:
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize("page", PAGES)
def test_a_page_and_its_files_need_the_same_key(page: str, service: Service):
    files = files_of(page, service.client.get(page, headers=bearer()).text)

    assert {service.client.get(file).status_code for file in [page, *files]} == {401}
    assert {service.client.get(file, headers=bearer()).status_code for file in [page, *files]} == {200}


@pytest.mark.parametrize("path", ["/docs/", "/docs/nothing.js", "/docs/../redoc.js", "/redoc/%2e%2e/swagger/LICENSE"])
def test_other_files_are_not_found(path: str, open_service: Service):
    response = open_service.client.get(path)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_a_file_that_a_browser_has_is_not_sent_again(open_service: Service):
    first = open_service.client.get("/docs/swagger-ui.css")
    again = open_service.client.get("/docs/swagger-ui.css", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
