"""What a catalogue says of tracks is in the version, and only that of its tracks."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.engine import Manifest, Options, Playlist, Recommender, Store
from tests.trainer.conftest import SMALL
from trainer.config import Configs
from trainer.dataset.attributes import attribute_columns
from trainer.pipeline import Plan, train
from trainer.sources.catalogue import read_catalogue


def test_columns_have_the_values_of_the_tracks_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "c.jsonl"
    rows = [
        {"id": "b", "year": 2001, "live": True, "mood": "wild", "tags": ["y", "X"], "unused": None},
        {"id": "d", "year": 2002, "live": False, "mood": "calm", "tags": [], "unused": None},
        {"id": "other", "year": 1900, "live": None, "mood": "other", "tags": ["z"], "unused": "only here"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))

    columns = attribute_columns(read_catalogue([path]), ["a", "b", "c", "d"])

    found = {column.name: (column.type, column.read(range(4))) for column in columns}
    assert found == {
        "year": ("number", [None, 2001, None, 2002]),
        "live": ("boolean", [None, True, None, False]),
        "mood": ("text", [None, "wild", None, "calm"]),
        "tags": ("texts", [[], ["y", "X"], [], []]),
    }
    assert "it knows 2 of 4 tracks; attributes: year (number), live (boolean), mood (text), tags (texts)" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_catalogue_of_other_tracks_has_no_columns(tmp_path: Path):
    path = tmp_path / "c.csv"
    path.write_text("id,year\nx,1\n")

    assert attribute_columns(read_catalogue([path]), ["a"]) == []
    assert attribute_columns(read_catalogue([path]), []) == []


@pytest.mark.parametrize("refit", [False, True])
def test_a_version_filters_by_its_catalogue_and_the_next_has_that_of_its_own(
    small_world: Path, tmp_path: Path, refit: bool
):
    ids = [track["track_uri"] for playlist in _playlists(small_world) for track in playlist["tracks"]]
    ids = list(dict.fromkeys(ids))
    years = {id_: 1950 + place % 70 for place, id_ in enumerate(ids) if place % 3}
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    pl.DataFrame({"track_uri": list(years), "year": list(years.values())}).write_csv(first)
    pl.DataFrame({"id": ids, "era": ["old"] * len(ids)}).write_csv(second)
    plan = Plan(baselines=False, refit=refit, catalogues=[first])

    manifest = train([small_world], tmp_path / "models", Configs.always(SMALL), plan)

    assert "attributes" in manifest.parts
    with closing(Recommender.open(Store(tmp_path / "models").current())) as opened:
        options = Options(10**6, fields=("year",))
        (answer,) = opened.recommend([Playlist(title="jazz", where={"year": {"gte": 2000}})], options)
        served = {track.id for track in opened.popular("tracks", 10**6)}
        assert {track.id for track in answer.found} == {id_ for id_ in served if years.get(id_, 0) >= 2000}
        assert {track.id: track.attributes["year"] for track in answer.found}.items() <= years.items()
    for catalogues, types in (([second], ["text"]), ([], [])):
        train(
            [small_world], tmp_path / "models", Configs.always(SMALL), replace(plan, catalogues=catalogues, force=True)
        )
        manifest = Manifest.read(Store(tmp_path / "models").current())
        assert [attribute["type"] for attribute in manifest.shape.attributes] == types
        assert ("attributes" in manifest.parts) == bool(types)


def _playlists(world: Path) -> list[dict]:
    return [playlist for path in sorted(world.iterdir()) for playlist in json.loads(path.read_text())["playlists"]]


def test_missing_values_of_numbers_are_no_numbers():
    catalogue = pl.DataFrame({"id": ["a", "b"], "bpm": [1.5, None]}, schema={"id": pl.String, "bpm": pl.Float64})

    (column,) = attribute_columns(catalogue, ["b", "a"])

    np.testing.assert_array_equal(column.values, [np.nan, 1.5])
