"""
Slow, greedy and malicious clients: refused within the limits, while others are answered and memory stays flat.

`make test` leaves it out, because it takes minutes.

    python -m pytest -s tests/chaos/hostile.py
"""

import gzip
import json
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from load import Load, percentile, run, statuses
from publishing import publish
from reliability import Report, Service, metric, until
from wire import CLOSED, OPEN, Peak, connect, connections, flat_memory, get, post, send, send_slowly

from service.engine import Store

WORKERS, CONNECTIONS = 2, 100
HEADER_S, REQUEST_S, IDLE_S = 1.0, 2.0, 2.0
LONGEST_S = 60.0  # longest wait for anything here
GRACE_S = 1.5  # beyond a limit
BODY, HEADER = 8 << 20, 16 << 10
MIB, GIB, PIPELINED = 1 << 20, 1 << 30, 20_000
PEAK_MIB, HELD_MIB = 64, 24  # growth of a worker: for a while; for good, after its first requests of each kind


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    found = Report("hostile", "make test-chaos", "a synthetic world of 3,000 playlists")
    print()
    yield found
    found.finish()


@pytest.fixture(scope="module")
def service(bases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers with small limits, after a few requests of each kind."""
    directory = tmp_path_factory.mktemp("hostile")
    store = Store(directory / "models")
    publish(store, bases[0])
    settings = {
        "workers": WORKERS,
        "header_timeout_s": HEADER_S,
        "request_timeout_s": REQUEST_S,
        "keep_alive_s": IDLE_S,
        "max_connections": CONNECTIONS,
        "max_body_bytes": BODY,
        "max_header_bytes": HEADER,
    }
    with Service(store.root, directory / "service.log", **settings) as service:
        run(Load(service.port, [post("/recommend", {"title": "chill"}), get("/model"), get("/metrics")]).closed(8, 3.0))
        yield service


@pytest.fixture(scope="module", autouse=True)
def health(service: Service, report: Report) -> Iterator[None]:
    """Request health all the time over older connections; each request must be answered."""
    load = Load(service.port, [get("/health/live")])
    found, before = [], service.memory()
    thread = threading.Thread(target=lambda: found.append(run(load.open(20, 3600.0, least=6))), daemon=True)
    thread.start()
    yield
    load.stop()
    thread.join(20)
    (records,) = found
    figure = f"p99 {percentile(records, 99):.0f}, most {percentile(records, 100):.0f} ms"
    report.add("/health/live all the time", figure, "each answered", set(statuses(records)) == {200})
    assert set(statuses(records)) == {200}, statuses(records)
    after = service.memory()
    held = " and ".join(f"{before[pid] / MIB:.1f} -> {after[pid] / MIB:.1f} MiB" for pid in before)
    flat = all(after[pid] - before[pid] < HELD_MIB * MIB for pid in before)
    report.add("private memory of the workers, before and after", held, f"< {HELD_MIB} MiB more", flat)
    assert flat, held


@pytest.fixture(autouse=True)
def _same_workers_answer(service: Service) -> Iterator[None]:
    """Check after each test that the same workers answer a new client."""
    workers = service.workers()
    yield
    until(lambda: answers(service), 10, "the service to answer a new client")
    assert service.workers() == workers


def answers(service: Service) -> bool:
    try:
        return service.ask("POST", "/recommend", {"k": 3}).status == 200
    except OSError:
        return False


# Slow clients.


@pytest.mark.parametrize(
    ("name", "first", "piece", "within_s"),
    [
        ("nothing at all", b"", b"", max(HEADER_S, IDLE_S)),
        ("a request line that does not end", b"GET /", b"a", HEADER_S),
        ("headers, a byte at a time", b"GET /model HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a", HEADER_S),
        ("headers, a line at a time", b"GET /model HTTP/1.1\r\nHost: x\r\n", b"X-Slow: 1\r\n", HEADER_S),
        ("a body, a byte at a time", post("/recommend", b" " * 5000)[:-5000], b" ", REQUEST_S),
        ("a body that never comes", post("/recommend", b" " * 5000)[:-5000], b"", REQUEST_S),
        (
            "chunks, a byte at a time",
            b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\n \r\n",
            REQUEST_S,
        ),
        (
            "an unread body",
            b"GET /model HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n",
            b"a",
            REQUEST_S,
        ),
        ("a second request that does not end", get("/health/live") + b"GET /model HT", b"", max(HEADER_S, IDLE_S)),
    ],
)
def test_a_slow_client_is_disconnected_in_time(
    service: Service, report: Report, name: str, first: bytes, piece: bytes, within_s: float
):
    started = time.monotonic()
    answers = 2 if first.startswith(b"GET") else 1  # the first response does not end the test
    received = send_slowly(service, first, piece, 0.05, within_s + GRACE_S + 3, answers=answers)
    took = time.monotonic() - started

    assert received.status in (200 if first.startswith(b"GET") else 408, CLOSED, 408)
    assert received.closed, "the connection is still open"
    assert took < within_s + GRACE_S + 0.4
    report.add(f"slow: {name}", f"{received.status or 'closed'} after {took:.1f} s", f"limit {within_s:g} s", True)


def test_an_idle_connection_is_closed_in_time(service: Service, report: Report):
    received = send(service, get("/health/live"), answers=2, patience_s=IDLE_S + GRACE_S + 3)

    assert received.status == 200
    assert received.closed
    assert received.took_s < IDLE_S + GRACE_S
    report.add("slow: idle after a request", f"closed after {received.took_s:.1f} s", f"limit {IDLE_S:g} s", True)


def test_many_half_open_connections_do_not_block_other_clients(service: Service, report: Report):
    n = WORKERS * CONNECTIONS // 2 - 20
    with flat_memory(service), connections(service, n) as sockets:
        for each in sockets:
            each.sendall(b"POST /recommend HTTP/1.1\r\nHo")
        began, asked = time.monotonic(), 0
        while time.monotonic() - began < HEADER_S:
            assert service.ask("POST", "/recommend", {"title": "chill"}).status == 200
            asked += 1
        took = until(lambda: not any(is_open(each) for each in sockets), HEADER_S + GRACE_S + 2, "all to be closed")
    report.add(f"{n} half-open connections", f"{asked} others answered; closed {took:.1f} s later", "no refusal", True)


def test_connections_beyond_the_limit_are_closed_at_once_and_room_comes_back(service: Service, report: Report):
    allowed = WORKERS * CONNECTIONS
    n = allowed + 300
    with flat_memory(service), connections(service, n) as sockets:
        for each in sockets:
            with suppress(OSError):
                each.sendall(b"GET /model HTTP/1.1\r\nHo")
        until(lambda: sum(map(is_open, sockets)) <= allowed, HEADER_S / 2, "those beyond the limit to be closed")
        held = sum(map(is_open, sockets))
        took = until(lambda: not any(is_open(each) for each in sockets), HEADER_S + GRACE_S + 2, "all to be closed")
        room = until(lambda: answers(service), 5, "room for a new client")
    report.add(
        f"{n} half-open connections, {WORKERS} x {CONNECTIONS} allowed",
        f"{held} held, none {took:.1f} s later, a new client {room:.1f} s after that",
        f"<= {allowed} held",
        True,
    )


def is_open(connection: socket.socket) -> bool:
    """Return True if the service holds its end; data that has arrived is skipped."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@pytest.mark.parametrize("reading", ["nothing", "a byte at a time"])
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("300 long answers", post("/recommend", {"title": "chill", "k": 500}) * 300),
        ("20,000 short ones", get("/health/live") * 20_000),
    ],
)
def test_a_client_that_does_not_read_is_disconnected_and_fills_no_memory(
    service: Service, report: Report, name: str, asked: bytes, reading: str
):
    with Peak(service) as peak:
        took = [ignore_answers(service, asked, reading) for _ in range(3)]
    with flat_memory(service):  # the first times may leave something behind, which is no leak
        ignore_answers(service, asked, reading)

    assert max(took) < REQUEST_S + IDLE_S + GRACE_S
    report.add(
        f"20 clients that read {reading} of {name} each",
        f"disconnected after {max(took):.1f} s, {peak.mib:+.0f} MiB meanwhile",
        f"{REQUEST_S + IDLE_S:g} s, < {PEAK_MIB} MiB",
        peak.mib < PEAK_MIB,
    )
    assert peak.mib < PEAK_MIB


def ignore_answers(service: Service, asked: bytes, reading: str) -> float:
    """
    Send *asked* over twenty connections and hardly read the answers.

    Returns:
        Seconds from the last answer that the system accepted until all connections were closed.
    """
    with connections(service, 20, receive_buffer=2048) as sockets:
        ports = {each.getsockname()[1] for each in sockets}
        for each in sockets:
            each.setblocking(False)
            with suppress(OSError):
                each.send(asked)
        started = moved = time.monotonic()
        answered = n_answered(service)
        while ports & service.held() and time.monotonic() - started < LONGEST_S:
            for each in sockets if reading != "nothing" else ():
                with suppress(OSError):
                    each.recv(1)
            # Requests in progress when a connection ended are counted too.
            if n_answered(service) > answered + 2 * len(sockets):
                answered, moved = n_answered(service), time.monotonic()
            time.sleep(0.1)  # a slow reader
        return time.monotonic() - moved


def n_answered(service: Service) -> float:
    """Return the number of requests answered, without those for metrics."""
    text = service.ask("GET", "/metrics").body.decode()
    counted = "segue_request_duration_seconds_count"
    return metric(text, counted) - metric(text, counted, route="/metrics")


# Greedy clients.


def test_a_body_of_a_gibibyte_is_refused_before_it_arrives(service: Service, report: Report):
    head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {GIB}\r\n\r\n"
    with flat_memory(service):
        silent = send(service, head.encode())
        pushing = send_slowly(service, head.encode(), b" " * (1 << 20), 0, 10, most=GIB)

    assert silent.status == 413
    assert silent.took_s < 0.5
    assert pushing.status in (413, CLOSED)
    assert pushing.closed
    assert pushing.sent < BODY + (16 << 20)
    report.add(
        "a body of 1 GiB, declared",
        f"413 after {silent.took_s * 1e3:.0f} ms; closed after {pushing.sent >> 20} MiB",
        "413",
        True,
    )


def test_a_body_of_unknown_length_is_refused_at_the_limit(service: Service, report: Report):
    head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with flat_memory(service):
        received = send_slowly(service, head, chunk, 0, 10, most=GIB)

    assert received.status in (413, CLOSED)
    assert received.closed
    assert received.sent < BODY + (16 << 20)
    report.add(
        "a body of 1 GiB, in chunks", f"{received.status or 'closed'} after {received.sent >> 20} MiB", "413", True
    )


@pytest.mark.parametrize("path", ["/health/live", "/model", "/no/such/path"])
def test_an_endless_body_of_a_get_is_not_read_to_its_end(service: Service, path: str):
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with flat_memory(service):
        received = send_slowly(service, head, b"100000\r\n" + b" " * (1 << 20) + b"\r\n", 0, 10, most=GIB)

    assert received.status in (200, 404, 413, CLOSED)
    assert received.sent < GIB


def test_compressed_bodies_are_refused_unread(service: Service, report: Report):
    bomb = gzip.compress(b" " * (64 << 20), 9)
    for encoding, body in (
        ("gzip", bomb),
        ("GZIP", bomb),
        ("x-gzip", bomb),
        ("deflate", zlib.compress(b" " * (64 << 20), 9)),
        ("br", b"\x0b\x02\x80" * 100),
        ("zstd", b"(\xb5/\xfd" * 100),
        ("gzip, gzip", gzip.compress(bomb)),
        ("gzip, identity", bomb),
    ):
        with flat_memory(service):
            received = send(service, post("/recommend", body, {"Content-Encoding": encoding}))
        assert received.status == 415, encoding
        assert received.took_s < 0.5
    transferred = b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    received = send(service, transferred + b"%x\r\n" % len(bomb) + bomb + b"\r\n0\r\n\r\n")
    assert received.refused
    report.add("compressed bodies of eight kinds, bombs", "415, unread", "415", True)


MILLION = 1_000_000


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a million tracks", b'{"tracks":[' + b'"a",' * (MILLION - 1) + b'"a"]}'),
        ("a million exclusions", b'{"exclude":[' + b'"a",' * (MILLION - 1) + b'"a"]}'),
        ("a million numbers for artists", b'{"artists":[' + b"1," * (MILLION - 1) + b"1]}"),
        ("300,000 wrong artists", b'{"artists":[' + b'{"a":1},' * 299_999 + b'{"a":1}]}'),
        ("a hundred thousand fields", json.dumps({f"f{i}": i for i in range(100_000)}).encode()),
        ("a million brackets", b"[" * MILLION),
        ("a million braces", b'{"tracks":' * (MILLION // 10)),
        ("a field name of a megabyte", json.dumps({"x" * MILLION: 1}).encode()),
        ("a title of four megabytes", json.dumps({"title": "x" * 4 * MILLION}).encode()),
        ("a number of a million digits", b'{"k":' + b"9" * MILLION + b"}"),
        ("1e999999999", b'{"k": 1e999999999}'),
        ("not a number", b'{"k": NaN}'),
        ("no UTF-8", b'{"title": "\xff\xfe"}'),
        ("a lone surrogate", b'{"k": "\\ud800"}'),
        ("eight megabytes of spaces", b" " * (BODY - 1)),
        ("eight megabytes of quotes", b'"' * (BODY - 1)),
    ],
)
def test_an_expensive_body_is_refused_quickly(service: Service, report: Report, name: str, body: bytes):
    with flat_memory(service):
        received = [send(service, post("/recommend", body)) for _ in range(6)]

    took = max(each.took_s for each in received)
    assert {each.status for each in received} <= {413, 422}
    assert all(len(each.body) < 20_000 for each in received), "the response repeats the request"
    assert took < 1.5
    report.add(f"a body of {name}", f"{received[0].status} after {took * 1e3:.0f} ms", "413 or 422", True)


# Malicious clients.


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a URL of 100 kB", get("/similar?track=" + "a" * 100_000), {400, 414, 431}),
        ("a header of 100 kB", get("/model", {"X-Long": "a" * 100_000}), {400, 431}),
        ("a header name of 100 kB", get("/model", {"X" * 100_000: "a"}), {400, 431}),
        ("10,000 headers", get("/model", {f"X-{i}": "a" for i in range(10_000)}), {400, 431}),
        ("a trailer of 100 kB", b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n", {200, 400, 413, 431}),
        ("a chunk extension of 100 kB", b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=" + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n", {200, 400, 413, 431}),
    ],
)  # fmt: skip
def test_headers_beyond_the_limit_are_refused_and_the_connection_closed(
    service: Service, report: Report, name: str, content: bytes, expected: set[int]
):
    with flat_memory(service):
        received = send(service, content)

    assert received.status in expected | {CLOSED}
    assert received.took_s < 1
    if received.status != 200:
        assert received.closed
    report.add(name, str(received.status or "closed"), "4xx, closed or skipped", True)


@pytest.mark.parametrize(
    ("name", "first", "piece"),
    [
        ("a trailer that does not end", b"2\r\n{}\r\n0\r\nX-Long: ", b"a"),
        ("trailers without end", b"2\r\n{}\r\n0\r\n", b"X-Long: aaaaaa\r\n"),
        ("a chunk extension that does not end", b"2;x=", b"a"),
    ],
)
def test_endless_trailers_and_chunk_extensions_are_refused(
    service: Service, report: Report, name: str, first: bytes, piece: bytes
):
    head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Peak(service) as peak:
        received = send_slowly(service, head + first, piece * ((1 << 20) // len(piece)), 0, 10, most=GIB)

    report.add(
        name,
        f"{received.status or 'closed'} after {received.sent >> 20} MiB, {max(0, peak.mib):+.0f} MiB of memory",
        f"closed, < {PEAK_MIB} MiB",
        received.status != OPEN and peak.mib < PEAK_MIB,
    )
    assert received.status != OPEN
    assert peak.mib < PEAK_MIB


SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: smuggled\r\n\r\n"
BODY_2 = b"{}"


def smuggling() -> dict[str, bytes]:
    """Return requests whose end two parsers may see in different places."""
    line = b"POST /recommend HTTP/1.1\r\nHost: x\r\n"
    chunked = b"0\r\n\r\n" + SMUGGLED
    return {
        "two lengths that differ": line + b"Content-Length: 2\r\nContent-Length: 50\r\n\r\n" + BODY_2 + SMUGGLED,
        "two lengths in one": line + b"Content-Length: 2, 50\r\n\r\n" + BODY_2 + SMUGGLED,
        "a length and chunks": line + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
        "chunks and a length": line + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunked,
        "chunks twice": line + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked,
        "chunks that are not the last": line + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunked,
        "xchunked": line + b"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\n" + chunked,
        "chunked with a tab": line + b"Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n\r\n" + chunked,
        "chunked after a fold": line + b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + chunked,
        "a space before the colon": line + b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n" + chunked,
        "a negative length": line + b"Content-Length: -2\r\n\r\n" + BODY_2,
        "a length with a plus": line + b"Content-Length: +2\r\n\r\n" + BODY_2,
        "a length in hexadecimal": line + b"Content-Length: 0x2\r\n\r\n" + BODY_2,
        "a length beyond 64 bits": line + b"Content-Length: 18446744073709551618\r\n\r\n" + BODY_2,
        "a chunk beyond 64 bits": line + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
        "a negative chunk": line + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        "a chunk longer than it says": line + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    }


def malformed() -> dict[str, bytes]:
    """Return data that is no valid request."""
    end = b"\r\nHost: x\r\n\r\n"
    return {
        "a lower-case method": b"get /health/live HTTP/1.1" + end,
        "no such method": b"FROBNICATE /health/live HTTP/1.1" + end,
        "HTTP/9.9": b"GET /health/live HTTP/9.9" + end,
        "HTTP/1.1.1": b"GET /health/live HTTP/1.1.1" + end,
        "no version": b"GET /health/live" + end,
        "HTTP/2, with knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
        "NUL in the path": b"GET /health/live\x00 HTTP/1.1" + end,
        "a space in the path": b"GET /health/live x HTTP/1.1" + end,
        "a carriage return alone": b"GET /health/live HTTP/1.1\rHost: x\r\r",
        "NUL in a header": b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        "a folded header": b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
        "a header without a name": b"GET /health/live HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
        "a header without a colon": b"GET /health/live HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n",
        "noise": bytes(range(256)) * 4,
    }


@pytest.mark.parametrize("name", smuggling())
def test_a_request_cannot_be_smuggled_in_another(service: Service, report: Report, name: str):
    received = send(service, smuggling()[name], answers=2, patience_s=REQUEST_S + GRACE_S + 1)

    assert len(received.answers) <= 1, f"{[status for status, _, _ in received.answers]}"
    assert received.refused, received.status
    assert received.closed
    report.add(f"smuggling: {name}", str(received.status or "closed"), "4xx or closed", True)


@pytest.mark.parametrize("name", malformed())
def test_an_invalid_request_is_refused_and_the_connection_closed(service: Service, report: Report, name: str):
    received = send(service, malformed()[name], patience_s=HEADER_S + GRACE_S + 1)

    assert received.refused, received.status
    assert received.status != OPEN
    if received.status not in (404, 405, 501):  # the connection of a valid request may stay open
        assert received.closed
    report.add(f"malformed: {name}", str(received.status or "closed"), "4xx or closed", True)


PATHS = (
    "//recommend //model /model/ /MODEL /model// /./model /x/../model /health/../model /health/..%2fmodel "
    "/%2e%2e/model /%2e/model /..;/model /health/live/../../model /model%00 /model%00.json /model%20 "
    "/model%0d%0aX:1 /model;x=1 /model%3Fk=1 /%6dodel%2f /model%252e \\model /admin /admin/ /admin//reload /admin/%2e "
    "/metrics/ /openapi.json/ /static/../../etc/passwd /..%c0%af..%c0%afetc/passwd /%ff%fe /.git/config /.env * "
    "/cgi-bin/x /health/ /health /docs/../model"
).split()


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_path_is_refused(service: Service, path: str):
    received = send(service, get(path))

    assert received.refused, f"{received.status}: {received.body[:200]!r}"
    assert b"Traceback" not in received.body
    if received.answers and received.status != 400:
        assert json.loads(received.body)["status"] == received.status


def test_a_target_in_absolute_form_is_a_path_of_this_service(service: Service):
    received = send(service, b"GET http://elsewhere.example/model HTTP/1.1\r\nHost: x\r\n\r\n")
    proxied = send(service, b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")

    assert received.status in {200, 400, 404}
    assert proxied.refused


def test_pipelined_requests_are_answered_in_order(service: Service):
    bodies = [post("/recommend", {"k": k}) for k in range(1, 21)]

    received = send(service, b"".join(bodies), answers=20)

    assert [status for status, _, _ in received.answers] == [200] * 20
    assert [len(json.loads(body)["tracks"]) for _, _, body in received.answers] == list(range(1, 21))


def test_an_endless_pipeline_does_not_fill_memory(service: Service, report: Report):
    for _ in range(4):
        answered = read_pipeline(service)
    with flat_memory(service), Peak(service) as peak:
        answered = read_pipeline(service)

    assert answered > 1
    assert peak.mib < PEAK_MIB
    report.add(
        f"{PIPELINED:,} requests in one pipeline",
        f"{answered:,} answered, {peak.mib:+.0f} MiB meanwhile",
        f"< {PEAK_MIB} MiB",
        True,
    )


def read_pipeline(service: Service) -> int:
    """Send as many requests as possible at once and return the number of answers."""
    with connect(service) as connection:
        asked = get("/health/live") * PIPELINED
        sender = threading.Thread(target=lambda: push(connection, asked), daemon=True)
        sender.start()
        answered, deadline = 0, time.monotonic() + 30
        while answered < PIPELINED and time.monotonic() < deadline:
            try:
                part = connection.recv(1 << 20)
            except OSError:
                break
            if not part:
                break
            answered += part.count(b"HTTP/1.1 200")
        sender.join(5)
    return answered


def push(connection: socket.socket, content: bytes) -> None:
    try:
        connection.sendall(content)
    except OSError:
        return


def test_all_errors_have_one_shape_and_all_responses_the_security_headers(service: Service):
    seen = Counter()
    for request in (
        get("/health/live"),
        get("/health/ready"),
        get("/metrics"),
        get("/model"),
        get("/openapi.json"),
        post("/recommend", {}),
        post("/recommend", {"k": 0}),
        post("/recommend", b"{}", {"Content-Encoding": "gzip"}),
        f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: {GIB}\r\n\r\n".encode(),
        get("/similar?track=no-such"),
        get("/nowhere"),
        post("/model", {}),
        post("/admin/reload", b""),
        prepared_options(),
    ):
        received = send(service, request)
        status, headers, body = received.answers[0]
        seen[status] += 1
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert "content-security-policy" in headers
        assert "x-request-id" in headers
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
        if status >= 400:
            assert headers["content-type"] == "application/problem+json"
            problem = json.loads(body)
            assert problem.keys() >= {"type", "title", "status", "detail"}
            assert problem["status"] == status
    assert set(seen) >= {200, 403, 404, 405, 413, 415, 422}


def prepared_options() -> bytes:
    """Return the preflight request of a page of another origin."""
    origin = b"Origin: https://e.example\r\nAccess-Control-Request-Method: POST"
    return b"OPTIONS /recommend HTTP/1.1\r\nHost: x\r\n" + origin + b"\r\n\r\n"
