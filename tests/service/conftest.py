"""Services that the tests of several rooms send requests to."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from service.telemetry.logs import configure_logs
from tests.service.serving import Service, key_file, serving


@pytest.fixture(scope="module")
def stream() -> Iterator[io.StringIO]:
    """The log of these tests."""
    root = logging.getLogger()
    changed = [root, *map(logging.getLogger, ("uvicorn.access", "uvicorn.error", "httpx", "asyncio"))]
    before = [(logger, logger.handlers[:], logger.level, logger.disabled) for logger in changed]
    found = io.StringIO()
    configure_logs(Settings(log_level="debug"), found)
    for noisy in ("httpx", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    yield found
    for logger, handlers, level, disabled in before:
        logger.handlers[:], logger.disabled = handlers, disabled
        logger.setLevel(level)


@pytest.fixture
def service(models: Path, stream: io.StringIO, tmp_path: Path) -> Iterator[Service]:
    """A service that needs keys."""
    with serving(models, stream, keys=key_file(tmp_path / "keys.json")) as found:
        yield found


@pytest.fixture(scope="module")
def open_service(models: Path, stream: io.StringIO) -> Iterator[Service]:
    """A service without keys, shared by the tests of a module."""
    with serving(models, stream) as found:
        yield found
