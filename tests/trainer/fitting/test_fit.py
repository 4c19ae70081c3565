"""From a dataset to the files of a version, in a cold or a warm start."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from service.engine import Artifacts, Manifest, Options, Playlist, Recommender
from trainer.config import TrainingConfig
from trainer.dataset import Dataset, build_dataset
from trainer.fitting.fit import fit_and_write
from trainer.fitting.provenance import trained_hashes, unseen
from trainer.sources import read
from trainer.timing import Stopwatch

TINY = TrainingConfig(factors=8, iterations=12, trees=4, neighbour_recall=0.5)


@pytest.fixture(scope="module")
def dataset(small_world: Path) -> Dataset:
    return build_dataset(read([small_world]))


@pytest.fixture(scope="module")
def cold(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version from nothing."""
    return fit(dataset, tmp_path_factory.mktemp("fit") / "cold")


@pytest.fixture(scope="module")
def warm(dataset: Dataset, cold: Path) -> Path:
    """A version of the same data that started from the cold one."""
    return fit(dataset, cold.with_name("warm"), start=cold)


@pytest.fixture(scope="module")
def halves(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A version of one half of the data, and one of the other half that started from it."""
    half, directory = np.arange(len(dataset)) % 2 == 0, tmp_path_factory.mktemp("halves")
    old = fit(dataset.select(half), directory / "old")
    return old, fit(dataset.select(~half), directory / "new", start=old)


def fit(dataset: Dataset, directory: Path, config: TrainingConfig = TINY, start: Path | None = None) -> Path:
    directory.mkdir()
    opened = None if start is None else Artifacts.open(start)
    fit_and_write(dataset, directory, directory.name, config, {}, opened, Stopwatch())
    if opened is not None:
        opened.close()
    return directory


def training(directory: Path) -> dict:
    return Manifest.read(directory).training


def answers(directory: Path) -> list[list[str]]:
    with closing(Recommender.open(directory)) as recommender:
        found = recommender.recommend([Playlist(title=title) for title in ("jazz", "metal", "salsa")], Options(20))
        return [[track.id for track in answer.found] for answer in found]


def test_the_loss_falls_from_iteration_to_iteration(cold: Path):
    losses = training(cold)["losses"]

    assert len(losses) == 12
    assert losses == sorted(losses, reverse=True)


def test_a_warm_start_continues_where_the_published_version_ended(cold: Path, warm: Path):
    before, after = training(cold)["losses"], training(warm)["losses"]
    shared = [len(set(a) & set(b)) for a, b in zip(answers(cold), answers(warm), strict=True)]

    assert len(after) == training(warm)["iterations"] == 1
    assert after[0] < 1.01 * before[-1]
    assert after[0] < 0.99 * before[0]
    assert min(shared) > 12


def test_a_warm_start_is_in_the_manifest(cold: Path, warm: Path):
    shape = Manifest.read(cold).shape
    n_features = shape.tracks + shape.artists + shape.words + shape.grams

    assert training(warm)["warm_start"] == {"version": "cold", "shared_features": n_features}
    assert training(cold)["warm_start"] is None


def test_new_features_start_at_random_and_missing_ones_are_dropped(halves: tuple[Path, Path]):
    old, new = (Artifacts.open(directory) for directory in halves)
    known = {*old.catalogue.ids("tracks"), *old.catalogue.ids("artists")}
    both = known & {*new.catalogue.ids("tracks"), *new.catalogue.ids("artists")}
    terms = sum(len(set(a) & set(b)) for a, b in zip(old.catalogue.terms(), new.catalogue.terms(), strict=True))

    assert new.manifest.training["warm_start"]["shared_features"] == len(both) + terms
    assert 0 < len(both) < len(known)
    old.close()
    new.close()


def test_another_number_of_factors_is_a_cold_start(
    dataset: Dataset, cold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    new = fit(dataset, tmp_path / "new", TrainingConfig(factors=4, iterations=2, trees=4), start=cold)

    assert training(new)["warm_start"] is None
    assert training(new)["iterations"] == 2
    assert "cold has 8 factors, this run has 4" in capsys.readouterr().err


def test_a_version_knows_its_own_playlists_and_those_of_the_versions_before_it(
    dataset: Dataset, halves: tuple[Path, Path]
):
    old, new = halves

    assert trained_hashes(new).tolist() == sorted(dataset.hashes.tolist())
    assert unseen(dataset, old).tolist() == [index % 2 == 1 for index in range(len(dataset))]


def test_the_same_data_numbers_and_start_give_the_same_answers(dataset: Dataset, cold: Path, warm: Path):
    again = fit(dataset, cold.with_name("again"), start=cold)

    assert answers(again) == answers(warm)
