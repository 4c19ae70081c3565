"""One small planted world, trained once a run, and a client on it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.engine import Recommender, Store
from service.settings import Settings
from trainer.config import Configs, TrainingConfig
from trainer.pipeline import Plan, train
from trainer.synthetic.playlists import synthesize

TINY = TrainingConfig(factors=16, iterations=4, trees=10, ranker_playlists=120, ranker_networks=1, title_axes=0)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of slices: 1,200 playlists of 20 genres, with titles that fit."""
    out = tmp_path_factory.mktemp("data") / "world"
    synthesize(out, 1200, seed=1)
    return out


@pytest.fixture(scope="session")
def models(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one published version, trained on the world."""
    store = tmp_path_factory.mktemp("store") / "models"
    train([world], store, Configs.always(TINY), Plan(baselines=False))
    return store


@pytest.fixture
def published(models: Path, tmp_path: Path) -> Path:
    """A store of its own with the published version, that a test may write to."""
    store = tmp_path / "published"
    version = Store(models).current()
    shutil.copytree(version, store / version.name, copy_function=os.link)
    (store / "CURRENT").write_text(version.name)
    return store


@pytest.fixture(scope="session")
def recommender(models: Path) -> Iterator[Recommender]:
    opened = Recommender.open(Store(models).current())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def client(models: Path) -> Iterator[TestClient]:
    """A client on a service that is ready."""
    with TestClient(create_app(Settings(models=models, watch_interval_s=0.01))) as opened:
        wait_until_ready(opened)
        yield opened


def wait_until_ready(client: TestClient) -> None:
    """Ask until a model is open; each question lets the opening go on."""
    for _ in range(10_000):
        if client.get("/health/ready").status_code == 200:
            return
    raise AssertionError(client.get("/health/ready").text)
