"""
Who has no key, a wrong one, another's, or one in a wrong place: kept out, in the same time, and nothing of it is kept.

No part of `make test`, as it takes a minute or two.

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
from wire import get, post, read_answers, say

from service.engine import Store

WORKERS = 2
TIMED = 3000
RATE, BURST, ASKED_RATE, ASKED_S = 20, 20, 100, 4.0
MARK = "oversharing-" + secrets.token_hex(8)  # in queries, titles and ids: it must not be found again
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Door:
    """A service with keys, and all that was presented to it."""

    def __init__(self, service: Service, use: str, metrics: str, admin: str, limited: str):
        self.service, self.use, self.metrics, self.admin, self.limited = service, use, metrics, admin, limited
        self.presented = {use, metrics, admin, limited, MARK}

    def present(self, key: str) -> str:
        """Note *key*, so that it is looked for in the end."""
        self.presented.add(key)
        return key

    def wrong(self) -> str:
        """A key such as the right ones, but not one of them."""
        return self.present("segue_" + secrets.token_urlsafe(32))


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    found = Report("access", "make test-chaos", "a synthetic world of 3,000 playlists")
    print()
    yield found
    found.finish()


@pytest.fixture(scope="module")
def door(bases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    directory = tmp_path_factory.mktemp("access")
    store, keys = Store(directory / "models"), make_keys(directory / "keys" / "keys.json")
    publish(store, bases[0])
    limited = make_key(keys.file, "a-limited-one", "use", "--rate", str(RATE), "--burst", str(BURST))
    for number in range(20):
        make_key(keys.file, f"one-of-many-{number}", "use")
    of = [headers["Authorization"].removeprefix("Bearer ") for headers in (keys.use, keys.metrics, keys.admin)]
    with Service(store.root, directory / "service.log", workers=WORKERS, keys=keys.file) as service:
        yield Door(service, *of, limited)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_each_key_opens_what_it_is_for(door: Door):
    for headers in (bearer(door.use), {"X-API-Key": door.use}):
        assert say(door.service, post("/recommend", {"title": MARK}, headers)).status == 200
        assert say(door.service, get(f"/similar?track={MARK}", headers)).status == 404
        assert say(door.service, get(f"/search?q={MARK}", headers)).status == 200
    assert say(door.service, get("/metrics", bearer(door.metrics))).status == 200
    assert say(door.service, post("/admin/reload", b"", bearer(door.admin))).status == 200
    assert say(door.service, get("/health/live")).status == 200
    assert say(door.service, get("/health/ready")).status == 200


def strangers(door: Door) -> dict[str, tuple[str, dict[str, str], bytes | None]]:
    """Query, headers and body of requests without a good key in the right place."""
    use, wrong = door.use, door.wrong()
    cut, grown, turned = (door.present(key) for key in (use[:-1], use + "A", use.swapcase()))
    return {
        "no key": ("", {}, None),
        "an empty key": ("", {"Authorization": "Bearer "}, None),
        "no scheme": ("", {"Authorization": use}, None),
        "an empty X-API-Key": ("", {"X-API-Key": ""}, None),
        "a wrong key": ("", bearer(wrong), None),
        "a wrong X-API-Key": ("", {"X-API-Key": wrong}, None),
        "a right key but for its end": ("", bearer(cut), None),
        "a right key and more": ("", bearer(grown), None),
        "a right key in other letters": ("", bearer(turned), None),
        "a key of 10 kB": ("", bearer(door.present("k" * 10_000)), None),
        "a key that is not ASCII": ("", {"X-API-Key": door.present("schlüssel-" + secrets.token_hex(8))}, None),
        "two keys that differ": ("", {**bearer(use), "X-API-Key": wrong}, None),
        "the key in the query": (f"key={use}", {}, None),
        "the key in the query as api_key": (f"api_key={use}&access_token={use}", {}, None),
        "the key in a cookie": ("", {"Cookie": f"Authorization={use}; key={use}; X-API-Key={use}"}, None),
        "the key as a user's name": ("", basic(use, ""), None),
        "the key as a password": ("", basic("a-user", use), None),
        "the key by another header": ("", {"X-Auth-Token": use, "Api-Key": use, "Proxy-Authorization": use}, None),
        "the key in the body": ("", {}, json.dumps({"key": use, "title": MARK}).encode()),
        "a name in place of a key": ("", bearer("a-user"), None),
    }


STRANGERS = tuple(strangers(Door(None, "", "", "", "")))  # type: ignore[arg-type]


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_is_told_so_and_nothing_else(door: Door, report: Report, who: str):
    query, headers, body = strangers(door)[who]
    # How a scheme-less Authorization is read is not for the client to choose: only what is documented opens.
    for method, path in (("POST", "/recommend"), ("GET", "/model"), ("GET", "/metrics"), ("POST", "/admin/reload")):
        target = f"{path}?{query}" if query else path
        request = post(target, body or b"{}", headers) if method == "POST" else get(target, headers)
        said = say(door.service, request)
        assert said.status == 401, (who, path, said.status, said.body[:200])
        assert "bearer" in said.answers[0][1]["www-authenticate"].lower()
        assert not any(secret.encode() in said.body for secret in door.presented)
        for _, headers_said, _ in said.answers:
            assert not any(secret in value for secret in door.presented for value in headers_said.values())
    report.add(who, "401", "401", True)


@pytest.mark.parametrize(
    ("whose", "method", "path"),
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
def test_a_key_for_something_else_does_not_open(door: Door, report: Report, whose: str, method: str, path: str):
    headers = bearer(getattr(door, whose))
    said = say(door.service, post(path, b"{}", headers) if method == "POST" else get(path, headers))

    assert said.status == 403
    report.add(f"a key with the right `{whose}` at {method} {path}", "403", "403", True)


@pytest.mark.parametrize(
    "path",
    ["//admin/reload", "/health/../admin/reload", "/health/%2e%2e/admin/reload", "/admin%2freload", "/x/../model"],
)
def test_no_path_leads_around_the_key(door: Door, path: str):
    for key in ("", door.use, door.wrong()):
        said = say(door.service, post(path, b"", bearer(key) if key else {}))
        assert said.refused, (said.status, said.body[:100])


def test_it_takes_the_same_time_whatever_is_wrong(door: Door, report: Report):
    last = door.present(door.use[:-1] + ("A" if door.use[-1] != "A" else "B"))
    contenders = {
        "no key": get("/model"),
        "a wrong key": get("/model", bearer(door.wrong())),
        "a key but for its last letter": get("/model", bearer(last)),
        "a key in the query": get(f"/model?key={door.use}"),
        "another's key": get("/model", bearer(door.metrics)),
    }
    took = timed(door.service, contenders)
    medians = {who: statistics.median(times) * 1e6 for who, times in took.items()}
    wrong = {who: median for who, median in medians.items() if who != "a wrong key"}
    for who, median in wrong.items():
        ratio = median / medians["a wrong key"]
        report.add(
            f"time for {who}, to that for a wrong key",
            f"{median:.0f} to {medians['a wrong key']:.0f} us, {ratio:.3f}",
            "0.9 to 1.1",
            0.9 <= ratio <= 1.1,
        )
    assert all(0.9 <= median / medians["a wrong key"] <= 1.1 for median in wrong.values()), medians


def timed(service: Service, requests: dict[str, bytes]) -> dict[str, list[float]]:
    """Seconds that each of *requests* took, taking turns over one connection."""
    took: dict[str, list[float]] = {who: [] for who in requests}
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(TIMED):
            for who, request in requests.items():
                started = time.perf_counter()
                connection.sendall(request)
                answer = b""
                while not (said := read_answers(answer)):
                    answer += connection.recv(65536)
                    if answer.endswith(b"}"):
                        took[who].append(time.perf_counter() - started)
                assert said[0][0] in (401, 403), answer[:200]
    return took


def test_the_rate_of_a_key_holds_over_all_workers(door: Door, report: Report):
    request = post("/recommend", {"k": 1}, bearer(door.limited))
    retry_after = []

    def note(_: int, status: int, head: bytes, __: bytes) -> None:
        if status == 429:
            retry_after.append(b"\nretry-after: " in head)

    records = run(Load(door.service.port, [request], note, lifetime=3).open(ASKED_RATE, ASKED_S, least=10))

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


def test_a_request_id_that_is_good_comes_back_and_another_is_replaced(door: Door):
    mine = f"mine-{secrets.token_hex(8)}"
    said = say(door.service, get("/model", {**bearer(door.use), "X-Request-ID": mine}))
    assert said.answers[0][1]["x-request-id"] == mine
    refused = say(door.service, get("/model", {"X-Request-ID": f"{mine}.401"}))
    assert refused.answers[0][1]["x-request-id"] == f"{mine}.401"
    made = set()
    hostile = ["a b", 'x"},{"level":"error"', "x" * 129, "\x1b[31mred", "é", "${jndi:ldap://x}", "", "a;b", "../../x"]
    for each in hostile:
        said = say(door.service, get("/model", {**bearer(door.use), "X-Request-ID": f"{each}{MARK}" if each else ""}))
        if said.status == 400:  # not even a header
            continue
        given = said.answers[0][1]["x-request-id"]
        assert REQUEST_ID.fullmatch(given), given
        assert MARK not in given
        made.add(given)
    for _ in range(3):
        made.add(say(door.service, get("/model", bearer(door.use))).answers[0][1]["x-request-id"])
    assert len(made) >= len(hostile) - 2 + 3

    until(lambda: {mine, f"{mine}.401", *made} <= logged_ids(door.service), 5, "every request to be logged")


def logged_ids(service: Service) -> set[str]:
    """The ids of the requests whose lines are whole."""
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.endswith("}")]
    return {line["request_id"] for line in lines if line.get("event") == "request"}


def test_every_log_line_of_a_request_says_what_it_should(door: Door):
    lines = [json.loads(line) for line in door.service.log.read_text().splitlines() if line.strip()]
    requests = [line for line in lines if line.get("event") == "request"]
    answered = [line for line in requests if line["status"] == 200 and line["route"] == "/recommend"]

    assert len(answered) > 3
    for line in requests:
        assert {"timestamp", "level", "request_id", "method", "route", "status", "duration_ms"} <= set(line), line
    for line in answered:
        assert line["key"] in ("a-user", "a-limited-one")
        assert line["model"]
        assert line["strategy"] in ("fold-in", "popular")


def test_nothing_that_was_presented_is_found_again(door: Door, report: Report):
    """The last: in no log line, no metric, no description is a key, a query or a title."""
    text = door.service.log.read_text()
    metrics = say(door.service, get("/metrics", bearer(door.metrics))).body.decode()
    ready = say(door.service, get("/health/ready")).body.decode()
    for place, content in (("the log", text), ("/metrics", metrics), ("/health/ready", ready)):
        for secret in door.presented:
            if len(secret) > 12:
                assert secret not in content, f"{place} holds {secret[:12]}..."
                assert base64.b64encode(secret.encode()).decode()[:-4] not in content
    assert "Traceback" not in text
    report.add(
        f"{len(door.presented)} keys, queries and titles in {len(text.splitlines()):,} log lines and /metrics",
        "found nowhere",
        "nowhere",
        True,
    )
