"""
Shared by the chaos tests: three models of the same playlists that answer differently.

SEGUE_CHAOS_DATA names playlists, by default a synthetic world. SEGUE_CHAOS_S and SEGUE_CHAOS_CASES are lengths of
tests. SEGUE_RECORD=1 writes the figures into benchmarks/reliability.md.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "benchmarks")]  # helpers of these tests, and the load


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The playlists of all models."""
    from trainer.synthetic.playlists import synthesize

    if given := os.environ.get("SEGUE_CHAOS_DATA"):
        return Path(given)
    out = tmp_path_factory.mktemp("chaos-data") / "synthetic-3000"
    synthesize(out, 3000, seed=1)
    return out


@pytest.fixture(scope="session")
def bases(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The directories of three models of the same tracks that answer differently."""
    from service.engine import Store
    from trainer.config import Configs, TrainingConfig
    from trainer.pipeline import Plan, train

    found = []
    for seed in (1, 2, 3):
        models = tmp_path_factory.mktemp("chaos-base") / "models"
        config = TrainingConfig(factors=32, iterations=3, trees=10, seed=seed, ranker_playlists=500)
        train([data], models, Configs.always(config), Plan(hold_out=False))
        found.append(Store(models).current())
    return found
