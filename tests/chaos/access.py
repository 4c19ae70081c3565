"""
Requests with no key, a wrong key, another key or a misplaced one: refused, in the same time, and nothing is logged.

`make test` leaves it out, because it takes a minute or two.

    python -m pytest -s tests/chaos/access.py
"""

import base64
import json
import re
import secrets
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import bearer, make_key, make_keys
from load import Load, run, statuses
from publishing import publish
from reliability import Report, Service, until
from wire import get, post, read_answers, send

from service.engine import Store

WORKERS = 2
TIMED = 3000
RATE, BURST, ASKED_RATE, ASKED_S = 20, 20, 100, 4.0
MARK = "oversharing-" + secrets.token_hex(8)  # in queries, titles and ids; it must not appear in logs
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Guarded:
    """A service with keys, and everything secret that was sent to it."""

    def __init__(self, service: Service, use: str, metrics: str, admin: str, limited: str):
        self.service, self.use, self.metrics, self.admin, self.limited = service, use, metrics, admin, limited
        self.presented = {use, metrics, admin, limited, MARK}

    def present(self, key: str) -> str:
        """Note *key* for the search at the end."""
        self.presented.add(key)
        return key

    def wrong(self) -> str:
        """Return an unknown key in the right format."""
        return self.present("segue_" + secrets.token_urlsafe(32))


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    found = Report("access", "make test-chaos", "a synthetic world of 3,000 playlists")
    print()
    yield found
    found.finish()


@pytest.fixture(scope="module")
def guarded(bases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("access")
    store, keys = Store(directory / "models"), make_keys(directory / "keys" / "keys.json")
    publish(store, bases[0])
    limited = make_key(keys.file, "a-limited-one", "use", "--rate", str(RATE), "--burst", str(BURST))
    for number in range(20):
        make_key(keys.file, f"one-of-many-{number}", "use")
    of = [headers["Authorization"].removeprefix("Bearer ") for headers in (keys.use, keys.metrics, keys.admin)]
    with Service(store.root, directory / "service.log", workers=WORKERS, keys=keys.file) as service:
        yield Guarded(service, *of, limited)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_a_key_opens_the_paths_of_its_right(guarded: Guarded):
    for headers in (bearer(guarded.use), {"X-API-Key": guarded.use}):
        assert send(guarded.service, post("/recommend", {"title": MARK}, headers)).status == 200
        assert send(guarded.service, get(f"/similar?track={MARK}", headers)).status == 404
        assert send(guarded.service, get(f"/search?q={MARK}", headers)).status == 200
    assert send(guarded.service, get("/metrics", bearer(guarded.metrics))).status == 200
    assert send(guarded.service, post("/admin/reload", b"", bearer(guarded.admin))).status == 200
    assert send(guarded.service, get("/health/live")).status == 200
    assert send(guarded.service, get("/health/ready")).status == 200


def refusals(guarded: Guarded) -> dict[str, tuple[str, dict[str, str], bytes | None]]:
    """Return query, headers and body of requests without a valid key in the right place."""
    use, wrong = guarded.use, guarded.wrong()
    cut, grown, turned = (guarded.present(key) for key in (use[:-1], use + "A", use.swapcase()))
    return {
        "no key": ("", {}, None),
        "an empty key": ("", {"Authorization": "Bearer "}, None),
        "no scheme": ("", {"Authorization": use}, None),
        "an empty X-API-Key": ("", {"X-API-Key": ""}, None),
        "a wrong key": ("", bearer(wrong), None),
        "a wrong X-API-Key": ("", {"X-API-Key": wrong}, None),
        "a right key without its end": ("", bearer(cut), None),
        "a right key and more": ("", bearer(grown), None),
        "a right key in other letters": ("", bearer(turned), None),
        "a key of 10 kB": ("", bearer(guarded.present("k" * 10_000)), None),
        "a key that is not ASCII": ("", {"X-API-Key": guarded.present("schlüssel-" + secrets.token_hex(8))}, None),
        "two keys that differ": ("", {**bearer(use), "X-API-Key": wrong}, None),
        "the key in the query": (f"key={use}", {}, None),
        "the key in the query as api_key": (f"api_key={use}&access_token={use}", {}, None),
        "the key in a cookie": ("", {"Cookie": f"Authorization={use}; key={use}; X-API-Key={use}"}, None),
        "the key as a user name": ("", basic(use, ""), None),
        "the key as a password": ("", basic("a-user", use), None),
        "the key in another header": ("", {"X-Auth-Token": use, "Api-Key": use, "Proxy-Authorization": use}, None),
        "the key in the body": ("", {}, json.dumps({"key": use, "title": MARK}).encode()),
        "a name in place of a key": ("", bearer("a-user"), None),
    }


REFUSALS = tuple(refusals(Guarded(None, "", "", "", "")))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", REFUSALS)
def test_a_request_without_a_valid_key_gets_401_and_no_secret(guarded: Guarded, report: Report, case: str):
    query, headers, body = refusals(guarded)[case]
    for method, path in (("POST", "/recommend"), ("GET", "/model"), ("GET", "/metrics"), ("POST", "/admin/reload")):
        target = f"{path}?{query}" if query else path
        request = post(target, body or b"{}", headers) if method == "POST" else get(target, headers)
        received = send(guarded.service, request)
        assert received.status == 401, (case, path, received.status, received.body[:200])
        assert "bearer" in received.answers[0][1]["www-authenticate"].lower()
        assert not any(secret.encode() in received.body for secret in guarded.presented)
        for _, returned, _ in received.answers:
            assert not any(secret in value for secret in guarded.presented for value in returned.values())
    report.add(case, "401", "401", True)


@pytest.mark.parametrize(
    ("right", "method", "path"),
    [
        ("use", "POST", "/admin/reload"),
        ("use", "GET", "/metrics"),
        ("metrics", "POST", "/admin/reload"),
        ("metrics", "POST", "/recommend"),
        ("metrics", "GET", "/model"),
        ("admin", "POST", "/recommend"),
        ("admin", "GET", "/similar"),
        ("admin", "GET", "/metrics"),
    ],
)
def test_a_key_does_not_open_the_paths_of_other_rights(
    guarded: Guarded, report: Report, right: str, method: str, path: str
):
    headers = bearer(getattr(guarded, right))
    received = send(guarded.service, post(path, b"{}", headers) if method == "POST" else get(path, headers))

    assert received.status == 403
    report.add(f"a key with the right `{right}` at {method} {path}", "403", "403", True)


@pytest.mark.parametrize(
    "path",
    ["//admin/reload", "/health/../admin/reload", "/health/%2e%2e/admin/reload", "/admin%2freload", "/x/../model"],
)
def test_no_spelling_of_a_path_avoids_the_check(guarded: Guarded, path: str):
    for key in ("", guarded.use, guarded.wrong()):
        received = send(guarded.service, post(path, b"", bearer(key) if key else {}))
        assert received.refused, (received.status, received.body[:100])


def test_all_refusals_take_the_same_time(guarded: Guarded, report: Report):
    last = guarded.present(guarded.use[:-1] + ("A" if guarded.use[-1] != "A" else "B"))
    requests = {
        "no key": get("/model"),
        "a wrong key": get("/model", bearer(guarded.wrong())),
        "a key with another last letter": get("/model", bearer(last)),
        "a key in the query": get(f"/model?key={guarded.use}"),
        "a key for metrics": get("/model", bearer(guarded.metrics)),
    }
    took = timed(guarded.service, requests)
    medians = {case: statistics.median(times) * 1e6 for case, times in took.items()}
    wrong = {case: median for case, median in medians.items() if case != "a wrong key"}
    for case, median in wrong.items():
        ratio = median / medians["a wrong key"]
        report.add(
            f"time for {case}, relative to a wrong key",
            f"{median:.0f} to {medians['a wrong key']:.0f} us, {ratio:.3f}",
            "0.9 to 1.1",
            0.9 <= ratio <= 1.1,
        )
    assert all(0.9 <= median / medians["a wrong key"] <= 1.1 for median in wrong.values()), medians


def timed(service: Service, requests: dict[str, bytes]) -> dict[str, list[float]]:
    """Return the seconds of each of *requests*, sent in turn over one connection."""
    took: dict[str, list[float]] = {case: [] for case in requests}
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(TIMED):
            for case, request in requests.items():
                started = time.perf_counter()
                connection.sendall(request)
                answer = b""
                while not (received := read_answers(answer)):
                    answer += connection.recv(65536)
                    if answer.endswith(b"}"):
                        took[case].append(time.perf_counter() - started)
                assert received[0][0] in (401, 403), answer[:200]
    return took


def test_the_rate_of_a_key_holds_over_all_workers(guarded: Guarded, report: Report):
    request = post("/recommend", {"k": 1}, bearer(guarded.limited))
    retry_after = []

    def note(_: int, status: int, head: bytes, __: bytes) -> None:
        if status == 429:
            retry_after.append(b"\nretry-after: " in head)

    records = run(Load(guarded.service.port, [request], note, lifetime=3).open(ASKED_RATE, ASKED_S, least=10))

    found = statuses(records)
    expected = BURST + RATE * ASKED_S
    report.add(
        f"answered of {len(records)} requests in {ASKED_S:g} s, {RATE}/s and {BURST} at once allowed",
        f"{found.get(200, 0)}, the others 429 with Retry-After",
        f"{expected:g} +- 5 %",
        abs(found.get(200, 0) - expected) <= 0.05 * expected,
    )
    assert set(found) == {200, 429}, found
    assert abs(found[200] - expected) <= 0.05 * expected
    assert all(retry_after)


def test_a_safe_request_id_is_returned_and_an_unsafe_one_is_replaced(guarded: Guarded):
    mine = f"mine-{secrets.token_hex(8)}"
    received = send(guarded.service, get("/model", {**bearer(guarded.use), "X-Request-ID": mine}))
    assert received.answers[0][1]["x-request-id"] == mine
    refused = send(guarded.service, get("/model", {"X-Request-ID": f"{mine}.401"}))
    assert refused.answers[0][1]["x-request-id"] == f"{mine}.401"
    made = set()
    hostile = ["a b", 'x"},{"level":"error"', "x" * 129, "\x1b[31mred", "é", "${jndi:ldap://x}", "", "a;b", "../../x"]
    for each in hostile:
        received = send(
            guarded.service, get("/model", {**bearer(guarded.use), "X-Request-ID": f"{each}{MARK}" if each else ""})
        )
        if received.status == 400:  # not a valid header
            continue
        given = received.answers[0][1]["x-request-id"]
        assert REQUEST_ID.fullmatch(given), given
        assert MARK not in given
        made.add(given)
    for _ in range(3):
        made.add(send(guarded.service, get("/model", bearer(guarded.use))).answers[0][1]["x-request-id"])
    assert len(made) >= len(hostile) - 2 + 3

    until(lambda: {mine, f"{mine}.401", *made} <= logged_ids(guarded.service), 5, "every request to be logged")


def logged_ids(service: Service) -> set[str]:
    """Return the ids of the requests in complete log lines."""
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.endswith("}")]
    return {line["request_id"] for line in lines if line.get("event") == "request"}


def test_the_log_line_of_a_request_has_all_fields(guarded: Guarded):
    lines = [json.loads(line) for line in guarded.service.log.read_text().splitlines() if line.strip()]
    requests = [line for line in lines if line.get("event") == "request"]
    answered = [line for line in requests if line["status"] == 200 and line["route"] == "/recommend"]

    assert len(answered) > 3
    for line in requests:
        assert {"timestamp", "level", "request_id", "method", "route", "status", "duration_ms"} <= set(line), line
    for line in answered:
        assert line["key"] in ("a-user", "a-limited-one")
        assert line["model"]
        assert line["strategy"] in ("ranked", "fold-in", "popular")


def test_no_key_query_or_title_is_logged_or_exported(guarded: Guarded, report: Report):
    """This is the last test, so that the log is complete."""
    text = guarded.service.log.read_text()
    metrics = send(guarded.service, get("/metrics", bearer(guarded.metrics))).body.decode()
    ready = send(guarded.service, get("/health/ready")).body.decode()
    for place, content in (("the log", text), ("/metrics", metrics), ("/health/ready", ready)):
        for secret in guarded.presented:
            if len(secret) > 12:
                assert secret not in content, f"{place} holds {secret[:12]}..."
                assert base64.b64encode(secret.encode()).decode()[:-4] not in content
    assert "Traceback" not in text
    report.add(
        f"{len(guarded.presented)} keys, queries and titles in {len(text.splitlines()):,} log lines and /metrics",
        "not found",
        "not found",
        True,
    )
