"""Continuations of files are those of the engine, whole, and go on after an interruption."""

import io
import json
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from service.engine import Manifest, Options, Playlist, Plays, Recommender, Store
from trainer import continuations
from trainer.cli import main
from trainer.continuations import PART, Job, playlists_of, write_continuations
from trainer.dataset import Dataset, build_dataset
from trainer.errors import BadInput
from trainer.sources import read


@pytest.fixture
def plays(tmp_path: Path, small_world: Path) -> Path:
    """A table of more playlists than a part has, of tracks of the small world."""
    tracks = [t["track_uri"] for t in json.loads(min(small_world.iterdir()).read_text())["playlists"][0]["tracks"]]
    rows = [f"p{n},{tracks[(n + place) % len(tracks)]}" for n in range(PART + 20) for place in range(3)]
    path = tmp_path / "playlists.csv"
    path.write_text("\n".join(["playlist,track", *rows]))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_every_playlist_has_the_answer_of_the_engine(small_models: Path, plays: Path, tmp_path: Path, suffix: str):
    out = tmp_path / "new" / f"found{suffix}"

    assert main(["recommend", str(plays), "--models", str(small_models), "--out", str(out), "--k", "5"]) == 0

    rows = (pl.read_parquet(out) if suffix == ".parquet" else pl.read_ndjson(out)).to_dicts()
    dataset = build_dataset(read([plays]))
    assert [row["playlist"] for row in rows] == list(dataset.playlist_ids)
    with closing(Recommender.open(Store(small_models).current())) as recommender:
        for place in (0, PART - 1, PART, PART + 19):
            (expected,) = recommender.recommend(playlists_of(dataset, place, place + 1), Options(5))
            assert rows[place]["ids"] == expected.found.ids
            assert rows[place]["scores"] == [item.score for item in expected.found]
            assert rows[place]["strategy"] == expected.strategy
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name]


def test_listeners_keep_their_plays(tmp_path: Path):
    path = tmp_path / "plays.csv"
    path.write_text("user,artist,plays\nu,a,3\nu,b,1\nv,a,2\n")

    assert playlists_of(build_dataset(read([path])), 0, 2) == [
        Playlist([], [Plays("a", 3.0), Plays("b", 1.0)]),
        Playlist([], [Plays("a", 2.0)]),
    ]


@pytest.fixture
def dataset(plays: Path) -> Dataset:
    return build_dataset(read([plays]))


def test_a_run_goes_on_after_the_parts_of_an_interrupted_one(
    small_models: Path,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    version, out = Store(small_models).current(), tmp_path / "found.parquet"

    class Interrupted(Job):
        """A job that ends after its first part."""

        def __call__(self, part):
            if part[0]:
                raise KeyboardInterrupt
            return super().__call__(part)

    with monkeypatch.context() as patched:
        patched.setattr(continuations, "Job", Interrupted)
        patched.setattr(continuations, "each_in_turn", lambda job, given, *_, **__: map(job, given))
        with pytest.raises(KeyboardInterrupt):
            write_continuations(dataset, version, out, 5, None)
    assert not out.exists()
    first = tmp_path / ".found.parquet.parts" / "000000.parquet"
    pl.read_parquet(first).with_columns(strategy=pl.lit("kept")).write_parquet(first)

    assert write_continuations(dataset, version, out, 5, None) == len(dataset)

    assert "goes on after 1 of 2 parts" in capsys.readouterr().err
    found, whole = pl.read_parquet(out), tmp_path / "whole.parquet"
    assert (found["strategy"] == "kept").sum() == PART  # not made again
    write_continuations(dataset, version, whole, 5, None)
    assert found.drop("strategy").equals(pl.read_parquet(whole).drop("strategy"))


def part_of(n: int) -> bytes:
    """A part of *n* playlists with answers that no version gives."""
    file = io.BytesIO()
    rows = {"playlist": ["p"] * n, "strategy": ["none"] * n, "ids": [["x"]] * n, "scores": [[0.0]] * n}
    pl.DataFrame(rows, continuations.SCHEMA).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize("damage", [b"", b"PAR1", part_of(19)])
def test_a_part_that_is_damaged_is_made_again(small_models: Path, dataset: Dataset, tmp_path: Path, damage: bytes):
    version, out, parts = Store(small_models).current(), tmp_path / "found.parquet", tmp_path / ".found.parquet.parts"
    job = Job(str(version), str(parts), 5, "tracks")
    parts.mkdir()
    key = {**continuations._key(job, Manifest.read(version)), "data": dataset.fingerprint}
    (parts / "job.json").write_text(json.dumps(key))
    (parts / "000001.parquet").write_bytes(damage)

    assert write_continuations(dataset, version, out, 5, None) == len(pl.read_parquet(out))
    assert "none" not in pl.read_parquet(out)["strategy"]


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(OSError, match="No space left") as error, continuations.writing(tmp_path / "x"):
        raise pl.exceptions.ComputeError("No space left on device (os error 28)")

    assert error.value.filename == str(tmp_path / "x")


def test_parts_of_other_options_are_not_taken(small_models: Path, dataset: Dataset, tmp_path: Path):
    out, parts = tmp_path / "found.jsonl", tmp_path / ".found.jsonl.parts"
    parts.mkdir()
    (parts / "job.json").write_text('{"k": 4}')
    (parts / "000000.parquet").write_bytes(part_of(PART))

    write_continuations(dataset, Store(small_models).current(), out, 3, "artists")

    assert {len(row["ids"]) for row in pl.read_ndjson(out).to_dicts()} == {3}


def test_a_file_that_exists_or_has_another_suffix_is_refused(small_models: Path, dataset: Dataset, tmp_path: Path):
    version, out = Store(small_models).current(), tmp_path / "found.parquet"
    out.write_text("mine")

    with pytest.raises(BadInput, match=r"found\.parquet: it exists already"):
        write_continuations(dataset, version, out, 5, None)
    with pytest.raises(BadInput, match=r"expected a name that ends in \.parquet or \.jsonl"):
        write_continuations(dataset, version, out.with_suffix(".csv"), 5, None)
    assert out.read_text() == "mine"
