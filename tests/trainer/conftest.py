"""A planted world that is trained on within a second, for tests that train."""

import os
import shutil
from pathlib import Path

import pytest

from service.engine import Store
from trainer.config import Configs, TrainingConfig
from trainer.pipeline import Plan, train
from trainer.synthetic.playlists import synthesize

SMALL = TrainingConfig(factors=8, iterations=4, trees=4, neighbour_recall=0.5, ranker_playlists=0)


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of slices: 400 playlists."""
    out = tmp_path_factory.mktemp("data") / "small"
    synthesize(out, 400, seed=1)
    return out


@pytest.fixture(scope="session")
def small_models(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one version, trained on the small world."""
    models = tmp_path_factory.mktemp("small") / "models"
    train([small_world], models, Configs.always(SMALL), Plan(baselines=False))
    return models


@pytest.fixture
def small_store(small_models: Path, tmp_path: Path) -> Path:
    """A copy of that store that a test may write to."""
    return copy_store(small_models, tmp_path / "small")


def copy_store(models: Path, to: Path) -> Path:
    """Copy the current version of the store *models* into a store of its own."""
    version = Store(models).current()
    shutil.copytree(version, to / version.name, copy_function=os.link)
    (to / "CURRENT").write_text(version.name)
    return to
