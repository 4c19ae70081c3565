"""From a dataset to the files of a version, from nothing or from a published version."""

from pathlib import Path

import numpy as np
import pytest

from service.engine import Artifacts, Playlist, Recommender, Store
from trainer.config import TrainingConfig
from trainer.dataset import Dataset, playlist_hash
from trainer.fitting import fit_and_write, trained_hashes
from trainer.intake import read_dataset
from trainer.sources import read
from trainer.steps import Steps

TINY = TrainingConfig(factors=16, iterations=4, trees=5, neighbour_recall=0.5)


@pytest.fixture(scope="module")
def dataset(world: Path) -> Dataset:
    return read_dataset(read([world]))


def fit(dataset: Dataset, directory: Path, config: TrainingConfig = TINY, begin: Path | None = None) -> Artifacts:
    directory.mkdir()
    opened = None if begin is None else Artifacts.open(begin)
    fit_and_write(dataset, directory, directory.name, config, {}, opened, Steps())
    if opened is not None:
        opened.close()
    return Artifacts.open(directory)


def answers(directory: Path) -> list[list[str]]:
    recommender = Recommender.open(directory)
    found = recommender.recommend([Playlist(title=title) for title in ("jazz", "metal", "salsa")], 20)
    recommender.close()
    return [[track.id for track in answer.found] for answer in found]


def test_a_warm_fit_begins_where_the_published_version_ended(dataset: Dataset, tmp_path: Path):
    cold = fit(dataset, tmp_path / "cold", TrainingConfig(factors=16, iterations=12, trees=5, neighbour_recall=0.5))
    warm = fit(dataset, tmp_path / "warm", begin=tmp_path / "cold")

    assert warm.manifest.training["warm_start"] == {"version": "cold", "shared_features": len(cold.vectors)}
    assert warm.manifest.training["iterations"] == 1
    assert warm.manifest.training["losses"][0] < 1.01 * cold.manifest.training["losses"][-1]
    one_from_nothing = fit(
        dataset, tmp_path / "one", TrainingConfig(factors=16, iterations=1, trees=5, neighbour_recall=0.5)
    )
    assert warm.manifest.training["losses"][0] < 0.99 * one_from_nothing.manifest.training["losses"][0]
    shared = [len(set(a) & set(b)) for a, b in zip(answers(tmp_path / "cold"), answers(tmp_path / "warm"), strict=True)]
    assert min(shared) > 12


def test_features_that_are_new_begin_at_random_and_those_that_are_gone_are_left(dataset: Dataset, tmp_path: Path):
    half = np.arange(len(dataset)) % 2 == 0
    old = fit(dataset.select(half), tmp_path / "old")
    new = fit(dataset.select(~half), tmp_path / "new", begin=tmp_path / "old")

    known = {*old.catalogue.track_ids(), *old.catalogue.artist_ids()}
    both = known & {*new.catalogue.track_ids(), *new.catalogue.artist_ids()}
    terms = sum(len(set(a) & set(b)) for a, b in zip(old.catalogue.terms(), new.catalogue.terms(), strict=True))
    assert new.manifest.training["warm_start"]["shared_features"] == len(both) + terms
    assert 0 < len(both) < len(known)


def test_another_number_of_factors_begins_from_nothing(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fit(dataset, tmp_path / "old").close()
    new = fit(dataset, tmp_path / "new", TrainingConfig(factors=8, iterations=2, trees=5), begin=tmp_path / "old")

    assert new.manifest.training["warm_start"] is None
    assert new.manifest.training["iterations"] == 2
    assert "old has 16 factors, and 8 are wanted" in capsys.readouterr().err


def test_a_version_knows_what_it_and_those_that_it_began_from_were_trained_on(dataset: Dataset, tmp_path: Path):
    half = np.arange(len(dataset)) % 2 == 0
    fit(dataset.select(half), tmp_path / "old").close()
    fit(dataset.select(~half), tmp_path / "new", begin=tmp_path / "old").close()
    fit(dataset.select(~half), tmp_path / "alone").close()

    everything = sorted(playlist_hash(id_) for id_ in dataset.playlist_ids)
    assert trained_hashes(tmp_path / "new").tolist() == everything
    assert len(trained_hashes(tmp_path / "alone")) == len(everything) // 2


def test_the_same_data_numbers_and_beginning_give_the_same_answers(dataset: Dataset, tmp_path: Path):
    fit(dataset, tmp_path / "old").close()
    for name in ("a", "b"):
        fit(dataset, tmp_path / name, begin=tmp_path / "old").close()

    assert answers(tmp_path / "a") == answers(tmp_path / "b")


def test_the_loss_falls_from_iteration_to_iteration(models: Path):
    losses = Artifacts.open(Store(models).current()).manifest.training["losses"]

    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)
