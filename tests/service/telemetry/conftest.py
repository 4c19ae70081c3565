"""Services of their own for the tests of logs, metrics and traces."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings


@pytest.fixture(scope="session")
def serve(models: Path) -> Callable[..., AbstractContextManager[TestClient]]:
    """Return a context manager that starts a service with the settings it is given and waits until it is ready."""

    @contextmanager
    def start(**settings: Any) -> Iterator[TestClient]:
        app = create_app(Settings(models=models, watch_interval_s=0.01, **settings))
        with TestClient(app, raise_server_exceptions=False) as client:
            for _ in range(10_000):  # each request lets the opening go on
                if client.get("/health/ready").status_code == 200:
                    break
            yield client

    return start
