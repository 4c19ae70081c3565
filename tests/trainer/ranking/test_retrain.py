"""Runs with a ranker: what they write, say and keep."""

import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from service.engine import INPUTS, Manifest, Recommender, Store, UnsupportedFormat, installed_encoder
from trainer.cli import main

OPTIONS = ["--factors", "8", "--iterations", "4", "--trees", "4", "--neighbour-recall", "0.5", "--no-baselines"]
OPTIONS += ["--ranker-playlists", "150", "--ranker-networks", "2", "--tolerance", "0.5"]


@pytest.fixture(scope="module")
def ranked(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a version that has a ranker."""
    models = tmp_path_factory.mktemp("ranked") / "models"
    assert main(["train", str(small_world), "--models", str(models), *OPTIONS]) == 0
    return models


def test_a_version_names_its_optional_parts(ranked: Path):
    manifest = Manifest.read(Store(ranked).current())

    assert manifest.parts == ["playlists", "ranker", "titles"]
    assert manifest.numbers["title_encoder"] == installed_encoder()
    assert (manifest.shape.ranker_networks, manifest.shape.ranker_units) == (2, [64, 32])
    first, second = np.load(Store(ranked).current() / "ranker_weights_0.npy")
    assert (first != second).any()
    assert manifest.shape.playlists == manifest.data["playlists"] > 300


def test_a_warm_retrain_keeps_the_ranker(ranked: Path, small_world: Path, capsys: pytest.CaptureFixture[str]):
    before = Store(ranked).current()
    assert main(["train", str(small_world), "--models", str(ranked), *OPTIONS]) == 0

    after, said = Store(ranked).current(), capsys.readouterr().err
    assert after != before
    assert f"the ranker stays that of {before.name}" in said
    assert "titles are compared by their meaning" in said
    taught, kept = (Manifest.read(version).training["ranker"] for version in (before, after))
    assert taught == kept
    assert (taught["version"], set(taught["importance"])) == (before.name, set(INPUTS))
    assert taught["ndcg"] > taught["first_ndcg"] > 0
    for name in ("ranker_weights_0.npy", "ranker_mean.npy"):
        assert (np.load(after / name) == np.load(before / name)).all()


@pytest.mark.parametrize(("asked", "start"), [("15", "the-rankers-first-stage"), ("60", None)])
def test_a_fit_starts_from_the_rankers_first_stage_if_that_has_seen_nearly_all_data(
    small_world: Path, tmp_path: Path, asked: str, start: str | None
):
    assert main(["train", str(small_world), "--models", str(tmp_path), *OPTIONS, "--ranker-playlists", asked]) == 0

    training = Manifest.read(Store(tmp_path).current()).training
    assert (training["warm_start"] or {}).get("version") == start
    assert training["iterations"] == (1 if start else 4)


def test_a_ranker_that_knows_no_titles_does_not_stay(
    ranked: Path, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    models = shutil.copytree(ranked, tmp_path / "models")
    version = Store(models).current()
    replace(Manifest.read(version), parts=["playlists", "ranker"]).write(version)

    assert (
        main(["train", str(small_world), "--models", str(models), *OPTIONS, "--ranker-playlists", "1", "--force"]) == 0
    )

    said = capsys.readouterr().err
    assert "warm start from" in said
    assert "the ranker stays" not in said
    assert "too few playlists to learn from" in said


def test_a_run_without_the_encoder_says_so_and_compares_words(
    ranked: Path, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    models = shutil.copytree(ranked, tmp_path / "models")
    monkeypatch.setattr(metadata, "version", version)

    assert main(["train", str(small_world), "--models", str(models), *OPTIONS]) == 0

    said = capsys.readouterr().err
    assert "compared by their words alone; install segue[titles]" in said
    assert "the ranker stays" in said
    assert Manifest.read(Store(models).current()).parts == ["playlists", "ranker"]


def test_evaluate_shows_the_first_stage_beside_the_ranked_answers(
    small_world: Path, capsys: pytest.CaptureFixture[str]
):
    numbers = [option for option in OPTIONS if option != "--no-baselines"][:-2]
    assert main(["evaluate", str(small_world), *numbers, "--ranker-networks", "1", "--title-axes", "0"]) == 0

    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if "R-prec+artist" in line]
    assert rows[:2] == ["segue", "first stage"]


def test_a_ranker_of_other_inputs_is_refused_by_name(ranked: Path):
    version = Store(ranked).current()
    manifest = Manifest.read(version)
    other = Manifest(**{**vars(manifest), "numbers": {**manifest.numbers, "ranker_inputs": ["mood"]}})
    other.write(version)
    try:
        with pytest.raises(UnsupportedFormat, match="a ranker of other inputs"):
            Recommender.open(version)
    finally:
        manifest.write(version)
