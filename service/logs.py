"""Log lines: JSON for machines, coloured columns where a person looks on."""

import logging
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.types import Processor

from service.settings import Settings


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all that is logged, by us and by libraries, as lines of one shape to *stream*, standard error by default."""
    stream = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings, stream)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Its own line for each request has the query in it; ours has not. What else it tells in passing, we say too.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))


def _renderers(settings: Settings, stream: TextIO) -> list[Processor]:
    if settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty()):
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumps)]


def _dumps(content: Any, **_: Any) -> str:
    return orjson.dumps(content, default=repr).decode()
