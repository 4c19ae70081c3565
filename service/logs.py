"""Log lines: JSON for machines, coloured columns where a person looks on."""

import json
import logging
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
import structlog

from service.settings import Settings

log = logging.getLogger("segue")

# What every record has; all else is what the line is about.
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all that is logged, by us and by libraries, as lines of one shape to *stream*, standard error by default."""
    stream = sys.stderr if stream is None else stream
    handler: logging.Handler = JSONHandler(stream)
    if _is_for_a_person(settings, stream):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_columns(stream))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Its own line for each request has the query in it; ours has not. What else it tells in passing, we say too.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))


def log_request(fields: dict[str, Any]) -> None:
    """
    What `log.info("request", extra=fields)` does, and where lines are JSON without a record of `logging` in between.

    That costs about as much as all else that the application does to refuse a request, as most are under overload.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    handler = next(iter(logging.getLogger().handlers), None)
    if isinstance(handler, JSONHandler):
        handler.write(_line(time.time(), "info", "request") | fields)
    else:
        log.info("request", extra=fields)


class JSONHandler(logging.StreamHandler[TextIO]):
    """Writes each record, or what is given instead of one, as a line of JSON."""

    def __init__(self, stream: TextIO):
        super().__init__(stream)
        self.setFormatter(JSONFormatter())

    def write(self, line: dict[str, Any]) -> None:
        """Write *line*; as with a record, that it cannot be written is nobody's fault who wanted it to be."""
        self.acquire()
        try:
            with suppress(OSError, ValueError):
                self.stream.write(_dump(line) + "\n")
                self.flush()
        finally:
            self.release()


class JSONFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of *record*."""
        line = _line(record.created, record.levelname.lower(), record.getMessage())
        line |= {name: value for name, value in vars(record).items() if name not in OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _dump(line)


def _line(at_s: float, level: str, event: str) -> dict[str, Any]:
    timestamp = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return {"timestamp": timestamp, "level": level, "event": event}


def _dump(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=repr).decode()
    except TypeError:  # half a surrogate pair, say, which is no Unicode
        return json.dumps(line, default=repr)


def _is_for_a_person(settings: Settings, stream: TextIO) -> bool:
    return settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())


def _columns(stream: TextIO) -> logging.Formatter:
    # Its own tracebacks, where rich is installed, show the values of variables.
    renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
