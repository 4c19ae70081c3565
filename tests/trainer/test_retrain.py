"""One retrain after another: what is published, what is refused, and what is left behind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.engine import Manifest, Playlist, Recommender, Store
from trainer import pipeline
from trainer.__main__ import main
from trainer.dataset import hash_share
from trainer.fitting import trained_hashes
from trainer.sources.synthetic import synthesize

QUICK = ["--trees", "5", "--neighbour-recall", "0.5"]
TINY = ["--factors", "16", "--iterations", "4", *QUICK]


def train(data: Path, store: Path, *options: str) -> int:
    return main(["train", str(data), "--models", str(store), *TINY, *options])


def current(store: Path) -> Manifest:
    return Manifest.read(Store(store).current())


def test_a_retrain_begins_from_the_published_version_and_is_compared_with_it(
    published: Path, world: Path, capsys: pytest.CaptureFixture[str]
):
    before = current(published)

    assert train(world, published) == 0

    training = current(published).training
    assert training["warm_start"]["version"] == before.version
    assert training["iterations"] == 1
    assert training["gate"]["against"] == before.version
    assert training["gate"]["playlists"] == current(published).metrics["playlists"]
    assert training["gate"]["overlap"]["10"] > 0.5
    assert not training["forced"]
    said = capsys.readouterr().err
    assert f"began from {before.version}" in said
    assert f"published: NDCG {current(published).metrics['ndcg']:.4f} against" in said


def test_the_published_version_and_the_baselines_are_in_the_metrics_and_the_report(
    published: Path, world: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("trainer.examination.BASELINE_ENTRIES", 10**6)

    assert train(world, published) == 0

    directory = Store(published).current()
    metrics = json.loads((directory / "metrics.json").read_text())
    assert set(metrics["others"]) >= {"published", "popularity", "plain ALS", "playlist kNN"}
    page = (directory / "report.html").read_text()
    recommender = Recommender.open(directory)
    artist = recommender.popular_artists(1)[0].name
    recommender.close()
    for said in (
        "Against the published version",
        artist,
        "popularity",
        "plain ALS",
        current(published).version,
    ):
        assert said in page


def test_a_cold_retrain_begins_from_nothing(published: Path, world: Path):
    assert train(world, published, "--cold") == 0

    assert current(published).training["warm_start"] is None
    assert current(published).training["iterations"] == 4


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_retrains_that_differ_by_their_seed_alone_pass(published: Path, world: Path, seed: str):
    assert train(world, published, "--cold", "--seed", seed) == 0


def test_a_model_of_two_factors_is_refused_and_kept(published: Path, world: Path, capsys: pytest.CaptureFixture[str]):
    before = current(published).version

    assert main(["train", str(world), "--models", str(published), "--factors", "2", *QUICK]) == 3

    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("not published: ndcg fell from")
    assert "--force publishes regardless" in said
    assert current(published).version == before
    (kept,) = (published / "refused").iterdir()
    assert str(kept) in said
    assert not Manifest.read(kept).training["gate"]["passed"]
    Manifest.read(kept).verify(kept)
    assert "Refused: ndcg fell from" in (kept / "report.html").read_text()
    assert Store(published).versions() == [before]


def shuffled(world: Path, out: Path, spare: float) -> Path:
    """*world* with its tracks dealt anew among all playlists but those whose ids hash below *spare*."""
    slices = [json.loads(path.read_text()) for path in sorted(world.iterdir())]
    playlists = [
        playlist for slice_ in slices for playlist in slice_["playlists"] if hash_share(str(playlist["pid"])) >= spare
    ]
    tracks = [track for playlist in playlists for track in playlist["tracks"]]
    dealt = iter(np.random.default_rng(0).permutation(len(tracks)).tolist())
    for playlist in playlists:
        playlist["tracks"] = [tracks[next(dealt)] for _ in playlist["tracks"]]
    out.mkdir()
    for number, slice_ in enumerate(slices):
        (out / f"mpd.slice.{number}.json").write_text(json.dumps(slice_))
    return out


@pytest.mark.parametrize(("spare", "said"), [(0.1, "fell from"), (0.0, "not like those before")])
def test_a_model_trained_on_shuffled_tracks_is_refused(
    published: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spare: float, said: str
):
    """Whether the playlists that are held out are shuffled too or not."""
    before = current(published).version

    assert train(shuffled(world, tmp_path / "shuffled", spare), published, "--cold") == 3

    assert said in capsys.readouterr().err.splitlines()[-1]
    assert current(published).version == before


def test_data_of_which_most_is_missing_are_refused(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    synthesize(tmp_path / "little", 150, seed=1)

    assert train(tmp_path / "little", published) == 3
    assert "are the data complete?" in capsys.readouterr().err.splitlines()[-1]
    assert train(tmp_path / "little", published, "--no-holdout") == 3


def test_a_run_without_holdout_does_not_open_the_gate_for_the_next(
    published: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(world, published, "--no-holdout") == 0
    record = current(published).training["record"]
    assert record["means"]["ndcg"] > 0.3

    assert train(shuffled(world, tmp_path / "shuffled", 0), published, "--cold") == 3
    assert f"recorded for {record['version']}" in capsys.readouterr().err


def test_data_that_share_nothing_with_the_published_version_begin_from_nothing(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    synthesize(tmp_path / "other", 1200, seed=2)

    assert train(tmp_path / "other", published, "--force") == 0
    assert "of what these data hold" in capsys.readouterr().err
    assert current(published).training["iterations"] == 4


def test_a_rollback_while_a_run_is_training_is_not_undone_by_it(
    published: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert train(world, published) == 0
    first = Store(published).versions()[0]
    examine = pipeline.examine

    def roll_back_meanwhile(*arguments: Any) -> Any:
        assert main(["models", "rollback", "--models", str(published)]) == 0
        return examine(*arguments)

    monkeypatch.setattr(pipeline, "examine", roll_back_meanwhile)
    assert train(world, published, "--tolerance", "0.9") == 3
    assert "was changed from" in capsys.readouterr().err.splitlines()[-1]
    assert Store(published).current().name == first


@pytest.mark.parametrize("tolerance", ["2", "-0.1", "nan", "1", "much"])
def test_a_tolerance_that_is_no_share_is_refused(world: Path, tmp_path: Path, tolerance: str):
    with pytest.raises(SystemExit) as left:
        main(["train", str(world), "--models", str(tmp_path), "--tolerance", tolerance])
    assert left.value.code == 2


def test_force_publishes_what_the_gate_refuses_and_the_manifest_says_so(published: Path, world: Path):
    options = ["--models", str(published), "--factors", "2", *QUICK, "--force"]
    assert main(["train", str(world), *options]) == 0

    training = current(published).training
    assert training["forced"]
    assert not training["gate"]["passed"]
    assert not (published / "refused").exists()


def test_refit_takes_in_what_was_held_out_and_the_measures_stay_those_from_before(
    published: Path, world: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(world, published) == 0
    plain = current(published)
    assert plain.training["unserved"] > 0
    assert f"{plain.training['unserved']:,} tracks are in held-out playlists alone" in capsys.readouterr().err

    assert train(world, published, "--cold", "--refit") == 0
    refitted = current(published)
    assert refitted.training["refit"]
    assert refitted.training["unserved"] == 0
    assert refitted.shape.tracks == plain.shape.tracks + plain.training["unserved"]
    assert refitted.metrics["playlists"] == plain.metrics["playlists"]
    assert refitted.data["playlists"] == 1200
    assert len(trained_hashes(Store(published).current())) == 1200
    Recommender.open(Store(published).current()).close()


def test_after_a_refit_the_next_run_begins_from_nothing_and_is_judged_by_the_record(
    published: Path, world: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(world, published, "--refit") == 0
    refitted = current(published).version

    assert train(world, published) == 0
    said = capsys.readouterr().err
    assert f"beginning from nothing: {refitted} was trained on what is held out now" in said
    assert f"recorded for {refitted}" in current(published).training["gate"]["reason"]


def test_new_playlists_that_no_version_has_seen_are_what_a_refitted_version_is_compared_on(world: Path, tmp_path: Path):
    slice_ = json.loads((world / "mpd.slice.0-999.json").read_text())
    slice_["playlists"] = slice_["playlists"][:400]
    (tmp_path / "first.json").write_text(json.dumps(slice_))
    assert train(tmp_path / "first.json", tmp_path / "store", "--refit") == 0
    refitted = current(tmp_path / "store").version

    assert train(world, tmp_path / "store", "--force") == 0
    gate = current(tmp_path / "store").training["gate"]
    assert gate["against"] == refitted
    assert 30 < gate["playlists"] == current(tmp_path / "store").metrics["playlists"] < 82


def test_a_version_of_another_kind_is_refused(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plays = tmp_path / "plays.csv"
    rows = [f"u{user},a{(user * 7 + step) % 900},{step + 1}" for user in range(300) for step in range(30)]
    plays.write_text("\n".join(["user,artist,plays", *rows]))

    assert main(["train", str(plays), "--models", str(published), "--factors", "8", *QUICK]) == 3
    assert "recommends tracks, and these data hold artists" in capsys.readouterr().err.splitlines()[-1]


def test_a_config_is_read_and_numbers_of_the_command_line_go_before_it(published: Path, world: Path, tmp_path: Path):
    config = tmp_path / "numbers.toml"
    config.write_text('alpha = 7\nfactors = 8\nweighting = "linear"\n')

    options = ["--config", str(config), "--factors", "16", *QUICK, "--no-holdout"]
    assert main(["train", str(world), "--models", str(published), *options]) == 0
    numbers = current(published).numbers
    assert [numbers[name] for name in ("alpha", "factors", "weighting")] == [7, 16, "linear"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alhpa = 7", "no number called 'alhpa'"),
        ("alpha = -1", "alpha has to be between 0"),
        ('alpha = "many"', "alpha has to be a number"),
        ("factors = 1.5", "factors has to be a whole number"),
        ("factors = true", "factors has to be a whole number"),
        ('weighting = "cubic"', "weighting has to be one of log, linear, bm25"),
        ("alpha", "is not TOML"),
        ("alpha = nan", "alpha has to be between"),
        (b"\xff", "is not TOML"),
        (None, "cannot be used"),
    ],
)
def test_a_config_that_is_wrong_is_refused_before_any_work(
    published: Path,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | bytes | None,
    said: str,
):
    config = tmp_path / "numbers.toml"
    if text is not None:
        config.write_bytes(text if isinstance(text, bytes) else text.encode())

    assert train(world, published, "--config", str(config)) == 1
    error = capsys.readouterr().err
    assert said in error
    assert str(config) in error
    assert "reading" not in error


def test_several_inputs_of_several_formats_are_one_run(world: Path, tmp_path: Path):
    table = tmp_path / "mine.csv"
    table.write_text("playlist,track,artist,name\n" + "".join(f"p{n % 40},t{n % 7},a,Song\n" for n in range(280)))

    arguments = [str(world), str(table), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]
    assert main(["train", *arguments]) == 0
    manifest = current(tmp_path / "m")
    assert manifest.data["playlists"] == 1240
    assert manifest.training["inputs"] == [str(world), str(table)]


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


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "jsonl"])
def test_a_table_of_any_format_ends_in_a_model_that_answers(tmp_path: Path, form: str):
    """Two tastes that share nothing: even tracks and odd ones."""
    table = pl.DataFrame(
        [
            {"user": f"u{user}", "song": f"t{(user % 2) + 2 * ((user * 5 + step) % 40)}", "plays": step + 1}
            for user in range(200)
            for step in range(15)
        ]
    )
    path = tmp_path / f"plays.{form}"
    {
        "csv": table.write_csv,
        "tsv": lambda out: table.write_csv(out, separator="\t"),
        "parquet": table.write_parquet,
        "jsonl": table.write_ndjson,
    }[form](path)

    options = ["--factors", "8", "--alpha", "20", "--regularization", "0.1", *QUICK, "--no-holdout"]
    assert main(["train", str(path), "--models", str(tmp_path / "m"), *options]) == 0
    recommender = Recommender.open(Store(tmp_path / "m").current())
    (answer,) = recommender.recommend([Playlist(tracks=["t0", "t2", "t4"])], 10)
    assert len(answer.found) == 10
    assert all(int(track.id[1:]) % 2 == 0 for track in answer.found)
    recommender.close()
