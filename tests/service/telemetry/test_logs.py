"""Log lines: their format, and the line of each request."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.requests import RequestContext
from service.settings import Settings
from service.telemetry.logs import configure_logs

log = logging.getLogger("segue")
CHANGED = ("uvicorn.access", "uvicorn.error", "httpx")


@pytest.fixture(autouse=True)
def _restore_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo the configuration of each test."""
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
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
    """The stream to which lines are written as JSON."""
    stream = io.StringIO()
    configure_logs(Settings(), stream)
    return stream


def test_a_line_is_a_json_object_with_its_fields(stream: io.StringIO):
    log.info("serving version %s", "v1", extra={"model": "v1"})

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "serving version v1", "level": "info", "model": "v1"}


def test_lines_of_libraries_have_the_same_format(stream: io.StringIO):
    logging.getLogger("some.library").warning("careful: %d", 5)

    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("careful: 5", "warning")


def test_an_exception_is_one_line_with_its_traceback(stream: io.StringIO):
    try:
        raise ValueError("strange\nerror")
    except ValueError:
        log.exception("it failed", extra={"request_id": "abc"})

    (line,) = lines(stream)
    assert (line["event"], line["request_id"]) == ("it failed", "abc")
    assert "Traceback" in line["exception"]
    assert "strange" in line["exception"]


@pytest.mark.parametrize(
    "value", [Path("/models"), object(), "\udcff", float("nan")], ids=["path", "object", "surrogate", "nan"]
)
def test_values_unknown_to_json_lose_no_line(value: Any, stream: io.StringIO):
    """Python represents a file name that is not UTF-8 with surrogates such as `\\udcff`."""
    handler = next(each for each in logging.getLogger().handlers if getattr(each, "stream", None) is stream)
    # Straight to the handler: pytest cannot report a captured line with a surrogate.
    handler.handle(logging.makeLogRecord({"msg": "unusual", "value": value}))
    handler.handle(logging.makeLogRecord({"msg": "unusual: %s", "args": (value,)}))

    assert [line["event"][:7] for line in lines(stream)] == ["unusual"] * 2


def test_a_logged_value_cannot_begin_a_line(stream: io.StringIO):
    log.warning("not a version: %s", 'v1\n{"event": "forged"}')

    assert len(lines(stream)) == 1


def test_lines_below_the_level_are_not_logged():
    stream = io.StringIO()
    configure_logs(Settings(log_level="warning"), stream)
    log.info("not this")
    log.warning("but this")

    assert [line["event"] for line in lines(stream)] == ["but this"]


def test_uvicorn_logs_warnings_but_no_queries():
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
    ("log_format", "stream", "are_columns"),
    [("auto", Terminal(), True), ("auto", io.StringIO(), False), ("json", Terminal(), False),
     ("console", io.StringIO(), True)],
)  # fmt: skip
def test_lines_are_columns_on_a_terminal_or_by_setting(log_format: Any, stream: io.StringIO, are_columns: bool):
    configure_logs(Settings(log_format=log_format), stream)
    log.info("hello", extra={"route": "/model"})

    assert stream.getvalue().startswith("{") is not are_columns
    assert "hello" in stream.getvalue()
    assert "/model" in stream.getvalue()


def test_a_traceback_on_a_terminal_shows_no_variables():
    """They may hold headers, keys and bodies."""
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


def test_the_default_stream_is_standard_error(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs(Settings())
    log.info("hello")

    assert lines(stream)[0]["event"] == "hello"


def test_a_pseudo_terminal_gets_columns():
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(follower, "w") as terminal:
        configure_logs(Settings(), terminal)
        log.info("hello")
        written = os.read(leader, 1 << 12)

    assert b"hello" in written
    assert not written.startswith(b"{")


# The line of a request


@pytest.fixture(scope="module")
def service(serve: Callable[..., Any]) -> Iterator[TestClient]:
    """A service with a route that fails."""

    async def fail() -> None:
        raise RuntimeError("strange")

    with serve() as client:
        client.app.add_api_route("/fails", fail)
        yield client


def test_each_request_is_one_line_without_its_content(service: TestClient, stream: io.StringIO):
    version = service.get("/model").json()["version"]
    stream.truncate(stream.seek(0))
    responses = [
        service.post("/recommend?secret=1", json={"k": 1}, headers={"X-Request-ID": "mine"}),
        service.get("/similar", params={"track": "secret"}),
        service.get("/health/live"),
        service.get("/secret"),
        service.put("/model"),
    ]

    logged = lines(stream)
    assert [line["event"] for line in logged] == ["request"] * len(responses)
    assert [line["request_id"] for line in logged] == [response.headers["x-request-id"] for response in responses]
    assert [line["status"] for line in logged] == [response.status_code for response in responses]
    assert [line["status"] for line in logged] == [200, 404, 200, 404, 405]
    assert [line["route"] for line in logged] == ["/recommend", "/similar", "/health/live", "other", "/model"]
    assert [line["method"] for line in logged] == ["POST", "GET", "GET", "GET", "PUT"]
    assert [line["model"] for line in logged] == [version, version, None, None, None]
    assert logged[0]["strategy"] == "popular"
    assert all(line["key"] is None and line["duration_ms"] >= line["waited_ms"] >= 0 for line in logged)
    assert "secret" not in stream.getvalue()
    assert set(logged[0]) == {
        "event", "level", "timestamp", "request_id", "method", "route", "status", "duration_ms", "waited_ms", "key",
        "model", "strategy",
    }  # fmt: skip


def test_an_unexpected_error_is_logged_once_with_the_id_of_its_request(service: TestClient, stream: io.StringIO):
    service.get("/fails", headers={"X-Request-ID": "mine"})

    error, request = lines(stream)
    assert (error["event"], error["request_id"], error["level"]) == ("unexpected error", "mine", "error")
    assert "strange" in error["exception"]
    assert (request["event"], request["status"]) == ("request", 500)


@pytest.mark.parametrize(("level", "is_logged"), [("info", True), ("warning", False)])
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_request_is_logged_at_the_level_info(level: Any, is_logged: bool, log_format: Any):
    stream = io.StringIO()
    configure_logs(Settings(log_level=level, log_format=log_format), stream)
    log.info("request", extra=RequestContext("mine", "GET").describe())

    assert ("mine" in stream.getvalue()) == is_logged


def test_a_line_that_cannot_be_written_raises_no_error(stream: io.StringIO, capsys: pytest.CaptureFixture[str]):
    stream.close()
    log.info("request", extra=RequestContext("mine", "GET").describe())

    assert capsys.readouterr() == ("", "")


def test_the_lines_of_requests_can_be_turned_off(serve: Callable[..., Any], stream: io.StringIO):
    with serve(access_log=False) as client:
        client.get("/health/live")

    assert "request" not in [line["event"] for line in lines(stream)]


def test_a_closed_standard_error_loses_the_log_and_nothing_else():
    code = "import logging; from service.settings import Settings; from service.telemetry.logs import configure_logs; "
    code += "configure_logs(Settings()); logging.getLogger('segue').error('lost'); print('goes on')"
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-W", "ignore", "-c", code]

    done = subprocess.run(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "goes on\n"
