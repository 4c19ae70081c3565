"""One retrain after another: publications, refusals, and what they leave behind."""

import io
import json
import os
import shutil
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.engine import Manifest, Options, Playlist, Recommender, Store
from trainer.cli import main
from trainer.dataset import build_dataset
from trainer.fitting.provenance import trained_hashes
from trainer.sources import read
from trainer.synthetic.playlists import synthesize

QUICK = ["--trees", "4", "--neighbour-recall", "0.5", "--ranker-playlists", "0"]
TINY = ["--factors", "8", "--iterations", "4", "--tolerance", "0.1", *QUICK]
QUIET = "--no-baselines"


def train(data: Path, store: Path, *options: str) -> int:
    return main(["train", str(data), "--models", str(store), *TINY, *options])


def current(store: Path) -> Manifest:
    return Manifest.read(Store(store).current())


def copied(models: Path, to: Path) -> Path:
    return Path(shutil.copytree(models, to, copy_function=os.link))


@pytest.fixture(scope="module")
def retrained(small_models: Path, small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a second version, trained on the same data as the first, and the progress of that run."""
    store, said = copied(small_models, tmp_path_factory.mktemp("retrained") / "models"), io.StringIO()
    with redirect_stderr(said):
        assert train(small_world, store) == 0
    return store, said.getvalue()


@pytest.fixture(scope="module")
def refitted(small_models: Path, small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a second version, to which the held-out playlists were added."""
    store = copied(small_models, tmp_path_factory.mktemp("refitted") / "models")
    assert train(small_world, store, "--refit", QUIET) == 0
    return store


def test_a_retrain_starts_from_the_published_version_and_is_compared_with_it(retrained: tuple[Path, str]):
    store, said = retrained
    before, training = Store(store).versions()[0], current(store).training

    assert training["warm_start"]["version"] == before
    assert training["iterations"] == 1
    assert training["gate"]["against"] == before
    assert training["gate"]["playlists"] == current(store).metrics["playlists"]
    assert training["gate"]["overlap"]["10"] > 0.5
    assert not training["forced"]
    assert f"warm start from {before}" in said
    assert f"published: NDCG {current(store).metrics['ndcg']:.4f} against" in said


def test_the_published_version_and_the_baselines_are_in_the_metrics_and_the_report(retrained: tuple[Path, str]):
    directory = Store(retrained[0]).current()
    others = json.loads((directory / "metrics.json").read_text())["others"]
    page = (directory / "report.html").read_text()
    recommender = Recommender.open(directory)
    artist = recommender.popular("artists", 1)[0].name
    recommender.close()

    assert set(others) == {"published", "popularity", "item cosine", "plain ALS", "playlist kNN"}
    for said in ("Against the published version", artist, "popularity", "plain ALS", directory.name):
        assert said in page


def test_a_cold_retrain_with_another_seed_starts_from_nothing_and_passes(small_store: Path, small_world: Path):
    assert train(small_world, small_store, "--cold", "--seed", "1", QUIET) == 0

    assert current(small_store).training["warm_start"] is None
    assert current(small_store).training["iterations"] == 4


def test_a_worse_model_is_refused_and_kept_and_force_publishes_it(
    small_store: Path, small_world: Path, capsys: pytest.CaptureFixture[str]
):
    before = current(small_store).version
    worse = ["train", str(small_world), "--models", str(small_store), "--factors", "1", QUIET, *QUICK]

    assert main(worse) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("not published: ndcg fell from")
    assert "publish it with --force" in said
    assert current(small_store).version == before
    (kept,) = (small_store / "refused").iterdir()
    assert str(kept) in said
    assert not Manifest.read(kept).training["gate"]["passed"]
    Manifest.read(kept).verify(kept)
    assert "Refused: ndcg fell from" in (kept / "report.html").read_text()
    assert Store(small_store).versions() == [before]

    assert main([*worse, "--force"]) == 0
    assert current(small_store).version != before
    assert current(small_store).training["forced"]
    assert not current(small_store).training["gate"]["passed"]


def part(world: Path, out: Path, count: int, shuffle: bool = False) -> Path:
    """The first *count* playlists of *world*, if so with their tracks dealt anew among them."""
    playlists = json.loads(min(world.iterdir()).read_text())["playlists"][:count]
    if shuffle:
        tracks = [track for playlist in playlists for track in playlist["tracks"]]
        dealt = iter(np.random.default_rng(0).permutation(len(tracks)).tolist())
        for playlist in playlists:
            playlist["tracks"] = [tracks[next(dealt)] for _ in playlist["tracks"]]
    out.write_text(json.dumps({"playlists": playlists}))
    return out


def test_incomplete_data_are_refused(
    small_store: Path, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    little = part(small_world, tmp_path / "little.json", 60)

    assert train(little, small_store, QUIET) == 3
    assert "are the data complete?" in capsys.readouterr().err.splitlines()[-1]
    assert train(little, small_store, "--no-holdout") == 3


def test_a_run_without_holdout_does_not_open_the_gate_for_the_next(
    small_store: Path, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(small_world, small_store, "--no-holdout") == 0
    record = current(small_store).training["record"]
    assert record["means"]["ndcg"] > 0.2

    shuffled = part(small_world, tmp_path / "shuffled.json", 400, shuffle=True)
    assert train(shuffled, small_store, "--cold", QUIET) == 3
    assert f"recorded for {record['version']}" in capsys.readouterr().err


def test_data_that_share_nothing_with_the_published_version_are_fitted_from_nothing(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    synthesize(tmp_path / "other", 200, seed=2)

    assert train(tmp_path / "other", small_store, "--force", QUIET) == 0
    assert "of these data" in capsys.readouterr().err
    assert current(small_store).training["iterations"] == 4


def test_a_refit_adds_the_held_out_playlists_and_keeps_the_measures_from_before(
    retrained: tuple[Path, str], refitted: Path
):
    store, said = retrained
    plain, full = current(store), current(refitted)

    assert f"{plain.training['unserved']:,} tracks are in held-out playlists only" in said
    assert plain.training["unserved"] > 0
    assert full.training["refit"]
    assert full.training["unserved"] == 0
    assert full.shape.tracks == plain.shape.tracks + plain.training["unserved"]
    assert full.metrics["playlists"] == plain.metrics["playlists"]
    assert full.data["playlists"] == 400
    assert len(trained_hashes(Store(refitted).current())) == 400
    Recommender.open(Store(refitted).current()).close()


def test_the_run_after_a_refit_starts_from_nothing_and_is_judged_by_the_recorded_quality(
    refitted: Path, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store, before = copied(refitted, tmp_path / "models"), current(refitted).version

    assert train(small_world, store, QUIET) == 0
    assert f"cold start: {before} was trained on the playlists that are now held out" in capsys.readouterr().err
    assert f"recorded for {before}" in current(store).training["gate"]["reason"]


def test_a_refitted_version_is_compared_on_playlists_that_no_version_has_seen(world: Path, tmp_path: Path):
    assert train(part(world, tmp_path / "first.json", 400), tmp_path / "store", "--refit", QUIET) == 0
    before = current(tmp_path / "store").version

    assert train(world, tmp_path / "store", "--force", QUIET) == 0
    gate = current(tmp_path / "store").training["gate"]
    assert gate["against"] == before
    assert 30 < gate["playlists"] == current(tmp_path / "store").metrics["playlists"] < 82


def test_a_version_of_another_kind_is_refused(small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plays = tmp_path / "plays.csv"
    rows = [f"u{user},a{(user * 7 + step) % 600},{step + 1}" for user in range(120) for step in range(20)]
    plays.write_text("\n".join(["user,artist,plays", *rows]))

    assert train(plays, small_store, QUIET) == 3
    assert "recommends tracks, and these data contain artists" in capsys.readouterr().err.splitlines()[-1]


def test_several_inputs_of_several_formats_are_one_run(small_world: Path, tmp_path: Path):
    table = tmp_path / "mine.csv"
    table.write_text("playlist,track,artist,name\n" + "".join(f"p{n % 40},t{n % 7},a,Song\n" for n in range(280)))

    assert main(["train", str(small_world), str(table), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]) == 0
    manifest = current(tmp_path / "m")
    assert manifest.data["playlists"] == 440
    assert manifest.training["inputs"] == [str(small_world), str(table)]


def test_columns_are_named_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = tmp_path / "odd.csv"
    table.write_text("wer,was,wieoft\nu,x,3\nv,x,1\nv,y,2\n")

    base = ["train", str(table), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]
    assert main(base) == 1
    assert "wer, was, wieoft" in capsys.readouterr().err
    assert main([*base, "--columns", "playlist=wer,track=was,count=wieoft"]) == 0
    assert current(tmp_path / "m").data["kind"] == "listening"
    with pytest.raises(SystemExit):
        main([*base, "--columns", "playlist"])


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The plays of two tastes that share nothing, even tracks and odd ones, in every format of tables."""
    out = tmp_path_factory.mktemp("tables")
    table = pl.DataFrame(
        [
            {"user": f"u{user}", "song": f"t{(user % 2) + 2 * ((user * 5 + step) % 40)}", "plays": step + 1}
            for user in range(80)
            for step in range(15)
        ]
    )
    table.write_csv(out / "plays.csv")
    table.write_csv(out / "plays.tsv", separator="\t")
    table.write_parquet(out / "plays.parquet")
    table.write_ndjson(out / "plays.jsonl")
    return sorted(out.iterdir())


def test_tables_of_any_format_are_the_same_data(tables: list[Path]):
    fingerprints = {build_dataset(read([table])).fingerprint for table in tables}

    assert len(tables) == 4
    assert len(fingerprints) == 1


def test_a_table_becomes_a_model_that_answers(tables: list[Path], tmp_path: Path):
    options = ["--alpha", "20", "--regularization", "0.1", *TINY, "--no-holdout"]

    assert main(["train", str(tables[0]), "--models", str(tmp_path / "m"), *options]) == 0
    recommender = Recommender.open(Store(tmp_path / "m").current())
    (answer,) = recommender.recommend([Playlist(tracks=["t0", "t2", "t4"])], Options(10))
    assert len(answer.found) == 10
    assert all(int(track.id[1:]) % 2 == 0 for track in answer.found)
    recommender.close()
