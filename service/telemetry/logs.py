"""Log lines: JSON for machines, coloured columns on a terminal."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import orjson
import structlog

from service.settings import Settings


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all log records, ours and those of libraries, to *stream* in one format. Default: standard error."""
    stream = stream or sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115  # it may be closed
    for_a_person = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(_columns(stream) if for_a_person else _json()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.raiseExceptions = False  # a line that cannot be written must not print another
    # uvicorn's own line for each request contains the query. The rest of its information duplicates ours.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))


def _formatter(renderers: list[Any]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )


def _json() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]


def _columns(stream: TextIO) -> list[Any]:
    # The default tracebacks show the values of variables, which may be secret.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]


def _dump(line: dict[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(line, default=repr).decode()
    except TypeError:  # a lone surrogate, for example
        return json.dumps(line, default=repr)
