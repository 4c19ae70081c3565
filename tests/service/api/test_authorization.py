"""Authorization: the right of each route, the key of each request, and the check of one against the other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Mount
from starlette.types import Message

from service.api.authorization import Authorization, needed_right, needs, presented_key
from service.api.errors import add_error_handlers
from service.api.requests import RequestReporter, find_route
from service.api.state import AppState
from service.app import create_app
from service.auth.keys import RIGHTS, Key, Keys, Right, digest_of
from service.settings import Settings

ROOT = Path(__file__).parents[3]
SECRETS = {name: f"segue_{name:a<43}" for name in (*RIGHTS, "slow")}
CREATED = datetime(2026, 1, 31, tzinfo=UTC)
KEYS = Keys(
    keys=(
        *(Key(name=right, digest=digest_of(SECRETS[right]), rights=(right,), created_at=CREATED) for right in RIGHTS),
        Key(name="slow", digest=digest_of(SECRETS["slow"]), rate=0.001, burst=1, created_at=CREATED),
    )
)


# The key of a request


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer KEY")],
        [(b"Authorization", b"bearer KEY")],
        [(b"authorization", b"BEARER   KEY ")],
        [(b"x-api-key", b"KEY")],
        [(b"X-API-Key", b" KEY ")],
        [(b"authorization", b"Bearer KEY"), (b"x-api-key", b"KEY")],
        [(b"authorization", b"Basic dTpw"), (b"x-api-key", b"KEY")],
        [(b"host", b"a"), (b"host", b"b"), (b"x-api-key", b"KEY")],
    ],
)
def test_a_key_may_be_in_either_header(headers: list[tuple[bytes, bytes]]):
    assert presented_key(headers) == b"KEY"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"KEY")],
        [(b"authorization", b"BearerKEY")],
        [(b"authorization", b"Basic KEY")],
        [(b"authorization", b"Basic OktFWQ==")],
        [(b"authorization", b"Digest KEY")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"  ")],
        [(b"cookie", b"x-api-key=KEY; authorization=Bearer KEY")],
        [(b"proxy-authorization", b"Bearer KEY")],
        [(b"x-api-keys", b"KEY"), (b"api-key", b"KEY"), (b"x_api_key", b"KEY")],
        [(b"authorization", b"Bearer KEY"), (b"x-api-key", b"OTHER")],
        [(b"x-api-key", b"OTHER"), (b"authorization", b"Bearer KEY")],
        [(b"authorization", b"Bearer KEY"), (b"x-api-key", b"")],
        [(b"authorization", b"Bearer "), (b"x-api-key", b"KEY")],
        [(b"authorization", b""), (b"x-api-key", b"KEY")],
        [(b"authorization", b"Bearer KEY"), (b"authorization", b"Bearer KEY")],
        [(b"authorization", b"Basic dTpw"), (b"authorization", b"Bearer KEY")],
        [(b"x-api-key", b"KEY"), (b"X-Api-Key", b"KEY")],
    ],
)
def test_other_headers_and_ambiguous_ones_carry_no_key(headers: list[tuple[bytes, bytes]]):
    assert presented_key(headers) is None


@pytest.mark.parametrize("header", [b"Bearer KEY, Bearer KEY", b"Bearer KEY KEY", b"Bearer KEY,"])
def test_text_after_a_key_is_not_cut_off(header: bytes):
    assert presented_key([(b"authorization", header)]) != b"KEY"


# The right of a route

SERVED: dict[str, Right | None] = {
    "/health/live": None,
    "/health/ready": None,
    "/robots.txt": None,
    "/": None,
    "/page/page.css": None,
    "/page/page.js": None,
    "/metrics": "metrics",
    "/admin/reload": "admin",
    "/recommend": "use",
    "/similar": "use",
    "/search": "use",
    "/model": "use",
    "/docs": "use",
    "/redoc": "use",
    "/docs/swagger-ui.css": "use",
    "/redoc/redoc.standalone.js": "use",
    "/openapi.json": "use",
}


def right_of(app: FastAPI, path: str) -> Right | None:
    return needed_right(
        find_route({"type": "http", "app": app, "method": "GET", "path": path, "root_path": "", "headers": []})
    )


def test_each_path_of_the_service_needs_its_right(tmp_path: Path):
    app = create_app(Settings(models=tmp_path, runtime=tmp_path))

    assert {path: right_of(app, path) for path in SERVED} == SERVED


def test_the_security_document_names_every_right_and_its_paths():
    text = (ROOT / "docs" / "security.md").read_text()

    for right in RIGHTS:
        assert f"right `{right}`" in text
    for path in ("/health/", "/metrics", "/admin/reload"):
        assert path in text


# The check, in a small application with a route of each kind

ROUTES: dict[str, Right | None] = {
    "/open": None,
    "/health/open": None,
    "/metrics": "metrics",
    "/admin": "admin",
    "/inherited": "metrics",
    "/stated": "use",
    "/unstated": "use",
    "/admin/unstated": "use",
    "/items/{item}": "metrics",
    "/mounted/page": "use",
}
PATHS = {path.format(item=1): right for path, right in ROUTES.items()}


def small_app(state: AppState) -> FastAPI:
    """Return an application whose endpoints answer with their paths."""

    def endpoint(path: str) -> Callable[[], Awaitable[str]]:
        async def answer() -> str:
            return path

        return answer

    app, mounted = FastAPI(openapi_url=None, redirect_slashes=False), FastAPI(openapi_url=None)
    app.state.segue = state
    router = APIRouter(dependencies=[needs("metrics")])
    for path, right in ROUTES.items():
        dependencies = [] if path.endswith(("unstated", "/inherited", "/mounted/page")) else [needs(right)]
        owner = router if path == "/inherited" else mounted if path.startswith("/mounted") else app
        owner.get(path.removeprefix("/mounted"), dependencies=dependencies)(endpoint(path))
    app.post("/stated", dependencies=[needs("admin")])(endpoint("/stated"))
    app.include_router(router)
    app.mount("/mounted", mounted)
    app.add_middleware(Authorization, state=state)
    app.add_middleware(RequestReporter, state=state)
    return app


async def page() -> str:
    return "page"


def stating_apps() -> dict[str, FastAPI]:
    """Return applications whose `/x` states `admin` in a place that the path alone does not show."""
    overridden, nested, mounted, pages = FastAPI(), FastAPI(), FastAPI(), FastAPI()
    router = APIRouter(dependencies=[needs("metrics")])
    router.get("/x", dependencies=[needs("admin")])(page)
    overridden.include_router(router)

    async def weaker(key: Annotated[Key | None, needs("use")]) -> None: ...

    nested.get("/x", dependencies=[needs("admin"), Depends(weaker)])(page)
    inner = FastAPI(dependencies=[needs("admin")])
    inner.get("/")(page)
    mounted.mount("/x", inner)
    closed = APIRouter(dependencies=[needs("admin")])
    closed.frontend("/x", directory=Path(__file__).parent, fallback=None)
    pages.include_router(closed)
    return {"overridden": overridden, "nested": nested, "mounted": mounted, "pages": pages}


@pytest.mark.parametrize("name", ["overridden", "nested", "mounted", "pages"])
def test_a_right_is_enforced_wherever_it_is_stated(name: str, tmp_path: Path):
    app = stating_apps()[name]
    path = {"pages": f"/x/{Path(__file__).name}", "mounted": "/x/"}.get(name, "/x")
    state = state_with(tmp_path, KEYS)
    for each in [app, *(route.app for route in app.routes if isinstance(route, Mount))]:
        add_error_handlers(each)
    app.add_middleware(Authorization, state=state)
    app.add_middleware(RequestReporter, state=state)
    with TestClient(app) as client:
        statuses = [client.get(path, headers={"X-API-Key": SECRETS[right]}).status_code for right in ("use", "metrics")]

    assert statuses == [403, 403]


def state_with(directory: Path, keys: Keys | None) -> AppState:
    """Return a state with *keys*; None: without a key file."""
    path = directory / "keys.json"
    if keys is not None:
        path.write_text(keys.text())
    return AppState.of(Settings(models=directory, runtime=directory, keys=None if keys is None else path))


@contextmanager
def serving(directory: Path, keys: Keys | None) -> Iterator[TestClient]:
    """Serve the small application with *keys*; None: without a key file."""
    state = state_with(directory, keys)
    with TestClient(small_app(state)) as client:
        yield client
    state.rates.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("keys"), KEYS) as client:
        yield client


@pytest.fixture(scope="module")
def open_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client on a service without a key file."""
    with serving(tmp_path_factory.mktemp("open"), None) as client:
        yield client


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[name]}"}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_key_opens_the_routes_that_need_its_right_and_no_others(right: Right, client: TestClient):
    found = {path: client.get(path, headers=bearer(right)).status_code for path in PATHS}

    assert found == {path: 200 if needed in (None, right) else 403 for path, needed in PATHS.items()}


@pytest.mark.parametrize(("method", "path"), [("POST", "/stated"), ("HEAD", "/admin")])
def test_each_method_of_a_path_needs_its_own_right(method: str, path: str, client: TestClient):
    found = {name: client.request(method, path, headers=bearer(name)).status_code for name in RIGHTS}

    assert found == {"use": 403, "metrics": 403, "admin": 200}


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer segue_unknown"}, {"Cookie": f"x-api-key={SECRETS['use']}"}]
)
def test_only_open_routes_answer_without_a_known_key(headers: dict[str, str], client: TestClient):
    found = {path: client.get(path, headers=headers).status_code for path in PATHS}

    assert found == {path: 200 if needed is None else 401 for path, needed in PATHS.items()}


def test_an_empty_key_file_accepts_no_key(tmp_path: Path):
    with serving(tmp_path, Keys(keys=())) as client:
        found = {path: client.get(path, headers=bearer("use")).status_code for path in PATHS}

    assert found == {path: 200 if needed is None else 401 for path, needed in PATHS.items()}


def test_without_a_key_file_everything_but_administration_is_open(open_client: TestClient):
    for headers in ({}, bearer("admin")):
        found = {path: open_client.get(path, headers=headers).status_code for path in PATHS}
        assert found == {path: 403 if needed == "admin" else 200 for path, needed in PATHS.items()}


def test_closed_administration_gives_the_remedy(open_client: TestClient):
    detail = open_client.get("/admin").json()["detail"]

    assert "python -m service keys create NAME --right admin" in detail
    assert "SEGUE_KEYS" in detail


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/health", "/health/", "/OPEN", "//open", "/open/", "/open%2f", "/admin/x", "/mounted/x"]
)
def test_paths_without_a_route_need_the_right_use(path: str, client: TestClient):
    found = {name: client.get(f"http://testserver{path}", headers=bearer(name)).status_code for name in RIGHTS}

    assert found == {"use": 404, "metrics": 403, "admin": 403}
    assert client.get(f"http://testserver{path}").status_code == 401


def test_missing_and_unknown_keys_get_the_same_answer(client: TestClient):
    missing, unknown = client.get("/stated"), client.get("/stated", headers={"X-API-Key": "segue_unknown"})
    for answer in (missing, unknown):
        del answer.headers["x-request-id"]

    assert (missing.status_code, missing.headers, missing.content) == (401, unknown.headers, unknown.content)
    assert missing.headers["www-authenticate"] == "Bearer"


def test_a_key_without_the_right_is_told_which_one_it_lacks(client: TestClient):
    answer = client.get("/admin", headers=bearer("use"))

    assert answer.json()["detail"] == "this path needs a key with the right `admin`"


def test_a_key_beyond_its_rate_is_refused_and_other_refusals_do_not_count(tmp_path: Path):
    with serving(tmp_path, KEYS) as client:
        answers = [client.get(path, headers=bearer("slow")) for path in ("/admin", "/open", "/stated", "/stated")]

    assert [answer.status_code for answer in answers] == [403, 200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 1000
    assert "0.001 requests a second" in answers[-1].json()["detail"]


# Spellings of a path

TRICKS = [
    "{}", "{}/", "/{}", "{}\n", "{}\t", "{} ", "{}%0a", "{}%0A", "{}%00", "{}%2f", "{}/.", "{}//", "/.{}", "/x/..{}",
    "/open/..{}", "/open{}", "/health/..{}", "/health/%2e%2e{}", "/health%2f..{}", "{};a=b", "{}?", "{}#", "{}.json",
    "%2f{}", "\\{}", "http://host{}",
]  # fmt: skip


async def reached(app: FastAPI, path: str, key: str | None = None) -> str | None:
    """Return the path of the route that answers a request for *path*; None if none does."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "client": None,
        "server": ("testserver", 80), "headers": [(b"x-api-key", key.encode())] if key else [], "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return messages[1]["body"].decode().strip('"') if messages[0]["status"] == 200 else None


def spellings(path: str) -> Iterator[str]:
    for spelled in (path, path.upper(), path.replace("/", "//")):
        yield from (unquote(trick.format(spelled)) for trick in TRICKS)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", RIGHTS)
def test_no_spelling_of_a_path_reaches_a_route_without_its_right(name: Right, route: str, client: TestClient):
    async def try_all() -> set[str | None]:
        return {await reached(client.app, path, SECRETS[name]) for path in spellings(route.format(item=1))}

    found = asyncio.run(try_all())

    assert found <= {None, *(route for route, right in ROUTES.items() if right in (None, name))}
    assert (route in found) == (ROUTES[route] in (None, name))


@given(
    st.text(alphabet="/adminhelthrcsovyupg.%\n\\2fOPEN;?#", max_size=20), st.sampled_from(sorted(PATHS)), st.booleans()
)
def test_no_path_reaches_a_route_without_its_right(client: TestClient, noise: str, path: str, before: bool):
    spelled = unquote(noise + path if before else path + noise)

    assert asyncio.run(reached(client.app, spelled)) in (None, "/open", "/health/open")
