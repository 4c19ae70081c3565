"""A store and a key file for services that run as processes."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.auth.keys import RIGHTS, Key, Keys, digest_of
from service.engine import Store
from tests.service.server.processes import ADMIN


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key file with one key that has all rights."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key = Key(name="all", digest=digest_of(ADMIN), rights=RIGHTS, created_at=datetime(2026, 1, 31, tzinfo=UTC))
    path.write_text(Keys(keys=(key,)).text())
    return path


@pytest.fixture(scope="module")
def store(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests may publish to."""
    found = tmp_path_factory.mktemp("supervisor") / "models"
    version = Store(models).current()
    (found / version.name).mkdir(parents=True)
    for path in version.iterdir():
        os.link(path, found / version.name / path.name)
    (found / "CURRENT").write_text(version.name)
    return found
