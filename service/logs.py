"""Log lines: JSON for machines, coloured columns where a person looks on."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
import structlog

from service.settings import Settings

# What every record has; all else is what the line is about.
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all that is logged, by us and by libraries, as lines of one shape to *stream*, standard error by default."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_columns(stream) if _is_for_a_person(settings, stream) else JSONFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Its own line for each request has the query in it; ours has not. What else it tells in passing, we say too.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))


class JSONFormatter(logging.Formatter):
    """A record as one line of JSON; one is written for each request, so it is to be quick."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of *record*."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
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
