"""Log lines: one a request, of one shape, and without a secret in it."""

import io
import json
import logging
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.logs import JSONHandler, configure_logs, log_request
from service.settings import Settings

log = logging.getLogger("segue")
CHANGED = ("uvicorn.access", "uvicorn.error", "httpx")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What is configured here ends here."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, CHANGED)]
    before = [(logger, logger.handlers[:], logger.level, logger.disabled) for logger in loggers]
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the client of these tests
    yield
    for logger, handlers, level, disabled in before:
        logger.handlers[:], logger.disabled = handlers, disabled
        logger.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    """What is logged as JSON."""
    found = io.StringIO()
    configure_logs(Settings(), found)
    return found


def test_a_line_is_a_json_object_with_its_fields(stream: io.StringIO):
    log.info("serving version %s", "v1", extra={"model": "v1"})

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "serving version v1", "level": "info", "model": "v1"}


def test_lines_of_libraries_are_of_the_same_shape(stream: io.StringIO):
    logging.getLogger("some.library").warning("careful: %d", 5)

    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("careful: 5", "warning")


def test_a_fault_is_one_line_with_its_traceback(stream: io.StringIO):
    try:
        raise ValueError("strange\nfault")
    except ValueError:
        log.exception("it failed", extra={"request_id": "abc"})

    (line,) = lines(stream)
    assert (line["event"], line["request_id"]) == ("it failed", "abc")
    assert "Traceback" in line["exception"]
    assert "strange" in line["exception"]


@pytest.mark.parametrize(
    "value", [Path("/models"), object(), "\udcff", float("nan")], ids=["path", "object", "surrogate", "nan"]
)
def test_what_json_does_not_know_never_loses_a_line(value: Any, stream: io.StringIO):
    """`\\udcff` is what Python makes of a file's name that is no UTF-8."""
    handler = next(handler for handler in logging.getLogger().handlers if isinstance(handler, JSONHandler))
    # Straight to the handler: what pytest keeps of the logs, it could not pass on.
    handler.handle(logging.makeLogRecord({"msg": "unusual", "value": value}))
    handler.handle(logging.makeLogRecord({"msg": "unusual: %s", "args": (value,)}))

    assert [line["event"][:7] for line in lines(stream)] == ["unusual"] * 2


def test_what_is_logged_cannot_begin_a_line_of_its_own(stream: io.StringIO):
    log.warning("not a version: %s", 'v1\n{"event": "forged"}')

    assert len(lines(stream)) == 1


def test_the_level_is_a_setting():
    stream = io.StringIO()
    configure_logs(Settings(log_level="warning"), stream)
    log.info("not this")
    log.warning("but this")

    assert [line["event"] for line in lines(stream)] == ["but this"]


def test_uvicorn_tells_nothing_that_has_the_query_in_it():
    stream = io.StringIO()
    configure_logs(Settings(log_level="debug"), stream)
    logging.getLogger("uvicorn.access").info('"GET /similar?track=secret HTTP/1.1" 200')
    logging.getLogger("uvicorn.error").info("HTTP connection made")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")

    assert [line["event"] for line in lines(stream)] == ["Invalid HTTP request received."]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("log_format", "stream", "for_a_person"),
    [("auto", Terminal(), True), ("auto", io.StringIO(), False), ("json", Terminal(), False),
     ("console", io.StringIO(), True)],
)  # fmt: skip
def test_lines_are_for_a_person_on_a_terminal_or_where_told_so(
    log_format: Any, stream: io.StringIO, for_a_person: bool
):
    configure_logs(Settings(log_format=log_format), stream)
    log.info("hello", extra={"route": "/model"})

    assert stream.getvalue().startswith("{") is not for_a_person
    assert "hello" in stream.getvalue()
    assert "/model" in stream.getvalue()


def test_a_traceback_for_a_person_shows_no_values_which_may_be_secret():
    """A pretty traceback would print the variables of each call: headers, keys and bodies among them."""
    stream = Terminal()
    configure_logs(Settings(), stream)

    def fail(headers: dict[str, str]) -> None:
        raise ValueError("strange")

    try:
        fail({"authorization": "Bearer segue_" + "k" * 20})
    except ValueError:
        log.exception("it failed")

    assert "strange" in stream.getvalue()
    assert "k" * 20 not in stream.getvalue()


def test_standard_error_is_where_lines_go_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs(Settings())
    log.info("hello")

    assert lines(stream)[0]["event"] == "hello"


def test_a_real_terminal_is_recognised():
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(follower, "w") as terminal:
        configure_logs(Settings(), terminal)
        log.info("hello")
        said = os.read(leader, 1 << 12)

    assert b"hello" in said
    assert not said.startswith(b"{")


# The line of a request


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[TestClient]:
    with TestClient(
        create_app(Settings(models=models, watch_interval_s=0.01)), raise_server_exceptions=False
    ) as opened:
        for _ in range(10_000):
            if opened.get("/health/ready").status_code == 200:
                break
        yield opened


def test_each_request_is_one_line_that_says_what_became_of_it(service: TestClient, stream: io.StringIO):
    version = service.get("/model").json()["version"]
    stream.truncate(stream.seek(0))
    asked = [
        service.post("/recommend?secret=1", json={"k": 1}, headers={"X-Request-ID": "mine"}),
        service.get("/similar", params={"track": "secret"}),
        service.get("/health/live"),
        service.get("/secret"),
        service.put("/model"),
    ]

    said = lines(stream)
    assert [line["event"] for line in said] == ["request"] * len(asked)
    assert [line["request_id"] for line in said] == [response.headers["x-request-id"] for response in asked]
    assert (
        [line["status"] for line in said] == [response.status_code for response in asked] == [200, 404, 200, 404, 405]
    )
    assert [line["route"] for line in said] == ["/recommend", "/similar", "/health/live", "other", "/model"]
    assert [line["method"] for line in said] == ["POST", "GET", "GET", "GET", "PUT"]
    assert [line["model"] for line in said] == [version, version, None, None, version]
    assert said[0]["strategy"] == "popular"
    assert all(line["key"] is None and line["duration_ms"] >= line["waited_ms"] >= 0 for line in said)
    assert "secret" not in stream.getvalue()
    assert set(said[0]) == {
        "event", "level", "timestamp", "request_id", "method", "route", "status", "duration_ms", "waited_ms", "key",
        "model", "strategy",
    }  # fmt: skip


def test_an_unexpected_fault_is_logged_once_with_the_id_of_its_request(
    service: TestClient, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("strange")

    monkeypatch.setattr("service.engine.Recommender.recommend_in_steps", fail)
    service.post("/recommend", json={}, headers={"X-Request-ID": "mine"})

    fault, request = lines(stream)
    assert (fault["event"], fault["request_id"], fault["level"]) == ("an unexpected error", "mine", "error")
    assert "strange" in fault["exception"]
    assert (request["event"], request["status"]) == ("request", 500)


def test_a_request_is_logged_as_any_other_line_is(stream: io.StringIO):
    fields = {"request_id": "1", "status": 200, "key": None}
    log.info("request", extra=fields)
    log_request(fields)

    said, written = lines(stream)
    assert said.pop("timestamp") <= written.pop("timestamp")
    assert said == written


@pytest.mark.parametrize(("level", "told"), [("info", ["request"]), ("warning", [])])
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_request_is_logged_where_its_level_is(level: str, told: list[str], log_format: str):
    stream = io.StringIO()
    configure_logs(Settings(log_level=level, log_format=log_format), stream)
    log_request({"route": "/similar"})

    assert [word for word in ["request"] if word in stream.getvalue()] == told


def test_that_a_line_cannot_be_written_is_no_fault_of_the_request(stream: io.StringIO):
    stream.close()
    log_request({"route": "/similar"})


def test_lines_of_requests_can_be_turned_off(models: Path, stream: io.StringIO):
    with TestClient(create_app(Settings(models=models, access_log=False))) as service:
        service.get("/health/live")

    assert "request" not in [line["event"] for line in lines(stream)]
