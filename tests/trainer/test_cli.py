"""The command line from end to end: results, and failures in one clear line that change nothing published."""

import io
import json
import re
import signal
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from service.engine import Manifest, Options, Playlist, Recommender, Store
from trainer.cli import main
from trainer.dataset import build_dataset, playlist_hash
from trainer.evaluation.split import hold_out
from trainer.sources import read

TINY = ["--factors", "8", "--iterations", "2", "--trees", "4", "--neighbour-recall", "0.5", "--ranker-playlists", "0"]
ROOT = Path(__file__).parents[2]
LOWEST = min(range(999), key=lambda pid: playlist_hash(str(pid)))


def a_playlist(pid: int, *tracks: str, name: str = "n") -> dict[str, object]:
    return {"pid": pid, "name": name, "tracks": [{"track_uri": track, "artist_name": "A"} for track in tracks]}


def a_slice(path: Path, playlists: list[dict[str, object]]) -> Path:
    path.write_text(json.dumps({"playlists": playlists}))
    return path


def snapshot(store: Path) -> dict[str, bytes]:
    """All files of a store, but its locks."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("[!.]*") if path.is_file()}


def failure(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that has to fail; returns its one line."""
    assert main([str(argument) for argument in arguments]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.fixture(scope="module")
def first_run(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The store of a first run, and what the run printed to standard output and to standard error."""
    store, out, err = tmp_path_factory.mktemp("first") / "models", io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main(["train", str(small_world), "--models", str(store), *TINY]) == 0
    return store, out.getvalue(), err.getvalue()


def test_train_publishes_and_prints_the_version(first_run: tuple[Path, str, str]):
    store, out, _ = first_run

    assert out.strip() == Store(store).current().name


def test_train_shows_its_progress_and_the_time_and_memory_of_each_step(first_run: tuple[Path, str, str]):
    *_, err = first_run

    for work in ("reading", "fitting", "evaluating"):
        assert re.search(rf"{work} +100%", err)
    steps = re.findall(r"^  (\S+) +[\d.]+ s +[\d,]+ MiB peak so far$", err, re.MULTILINE)
    assert steps == ["reading", "matrix", "fitting", "writing", "evaluating", "baselines", "report", "publishing"]


def test_a_version_has_the_metrics_of_playlists_it_was_not_trained_on(small_models: Path, small_world: Path):
    dataset = build_dataset(read([small_world]))
    manifest = Manifest.read(Store(small_models).current())
    metrics = json.loads((Store(small_models).current() / "metrics.json").read_text())

    assert manifest.data["playlists"] == len(dataset) - hold_out(dataset).sum()
    assert metrics["by_category"]["all"] == dict(manifest.metrics)
    assert metrics["others"] == {}
    assert manifest.metrics["ndcg"] > 0.1
    assert manifest.data["fingerprint"] == dataset.fingerprint


def test_the_manifest_and_the_report_say_how_the_inputs_were_understood(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    tracks = [f"t:{number}" for number in range(9)]
    lost = {"pid": 9, "tracks": [{"track_uri": "t:1"}, {"track_name": "Lost"}]}
    a_slice(data / "a.json", [*(a_playlist(pid, *tracks) for pid in range(50)), lost])
    (data / "a.xls").write_bytes(b"\xd0\xcf\x11\xe0\0")

    assert main(["train", str(data), "--models", str(tmp_path / "models"), *TINY]) == 0
    version = Store(tmp_path / "models").current()
    training, report = Manifest.read(version).training, (version / "report.html").read_text()
    (found,) = training["understood"]
    assert (found["path"], found["format"], found["records"]) == (
        str(data / "a.json"),
        "Million Playlist Dataset",
        452,
    )
    assert found["odd"] == {"no track id": {"n": 1, "places": ["playlists[50].tracks[1]"]}}
    assert training["passed_over"] == [
        {"path": str(data / "a.xls"), "reason": "it is a spreadsheet. Save it as CSV.", "files": 1}
    ]
    assert "passed over 1: no track id (playlists[50].tracks[1])" in report
    assert "it is a spreadsheet" in report


@pytest.fixture(scope="module")
def numbered(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of the same data, with the same numbers from a config and from the command line."""
    place = tmp_path_factory.mktemp("numbered")
    (place / "numbers.toml").write_text('alpha = 7\nfactors = 4\nweighting = "linear"\n')
    given = ["--config", str(place / "numbers.toml"), "--artist-weight", "0", "--seed", "3", "--no-holdout", *TINY]
    for name in ("a", "b"):
        assert main(["train", str(small_world), "--models", str(place / name), *given]) == 0
    return [Store(place / name).current() for name in ("a", "b")]


def test_without_holdout_every_playlist_is_trained_on(numbered: list[Path]):
    manifest = Manifest.read(numbered[0])

    assert manifest.data["playlists"] == 400
    assert manifest.metrics == {}
    assert "metrics.json" not in manifest.files


def test_a_config_is_read_and_numbers_of_the_command_line_replace_its_own(numbered: list[Path]):
    numbers = Manifest.read(numbered[0]).numbers

    names = ("alpha", "weighting", "artist_weight", "seed", "factors")
    assert [numbers[name] for name in names] == [7, "linear", 0, 3, 8]


def test_the_same_data_numbers_and_seed_give_the_same_answers(numbered: list[Path]):
    answers = []
    for directory in numbered:
        with closing(Recommender.open(directory)) as recommender:
            answers.append(recommender.recommend([Playlist(title="jazz")], Options(50)))

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alhpa = 7", "no number called 'alhpa'"),
        ("alpha = -1", "alpha is -1; it should be greater than or equal to 0"),
        ('alpha = "many"', "alpha is 'many'; it should be a valid number"),
        ("alpha", "is not TOML"),
        (b"\xff", "is not TOML"),
        (None, "cannot be used"),
    ],
)
def test_a_wrong_config_is_refused_before_any_work(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes | None, said: str
):
    config = tmp_path / "numbers.toml"
    if text is not None:
        config.write_bytes(text if isinstance(text, bytes) else text.encode())

    error = failure(capsys, "train", small_world, "--models", tmp_path / "m", "--config", config)
    assert said in error
    assert str(config) in error
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *(("train", "--tolerance", value) for value in ("2", "-0.1", "nan", "1", "much")),
        *(("tune", "--minutes", value) for value in ("0", "-1", "nan", "inf", "soon")),
        *(("tune", "--trials", value) for value in ("0", "-1", "1.5", "many")),
        ("train", "--factors", "many"),
    ],
)
def test_an_option_out_of_its_range_is_refused_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, option: str, value: str
):
    with pytest.raises(SystemExit) as left:
        main([command, str(tmp_path), option, value])

    assert left.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}" in said
    assert repr(value) in said


def test_a_number_out_of_its_range_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number, said in (("0", "factors is 0; it should be greater"), ("5000", "factors is 5000; it should be less")):
        assert said in failure(capsys, "train", tmp_path, "--models", tmp_path / "m", "--factors", number)
    for number in ("nan", "inf"):
        said = failure(capsys, "train", tmp_path, "--models", tmp_path / "m", "--alpha", number)
        assert f"alpha is {number}; it should be a finite number" in said


def test_a_fit_that_diverges_publishes_nothing(small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = ["--alpha", "1e6", "--artist-weight", "1e6", "--title-weight", "1e6"]

    assert "the fit diverged" in failure(capsys, "train", small_world, "--models", tmp_path, *weights, *TINY)
    assert Store(tmp_path).versions() == []


def test_a_playlist_that_repeats_a_track_counts_it_once(tmp_path: Path):
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x", "x", "x"), a_playlist(1, "x", "y")])

    assert main(["train", str(data), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]) == 0
    recommender = Recommender.open(Store(tmp_path / "m").current())
    assert [(track.id, track.popularity) for track in recommender.popular("tracks", 5)] == [("x", 2), ("y", 1)]
    recommender.close()


def test_one_playlist_of_one_track_is_enough_to_train_and_to_answer(tmp_path: Path):
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x")])

    assert main(["train", str(data), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]) == 0
    recommender = Recommender.open(Store(tmp_path / "m").current())
    found = recommender.recommend(
        [Playlist(), Playlist(["x"]), Playlist(artists=["a"]), Playlist(title="n")], Options(5)
    )
    assert [[track.id for track in answer.found] for answer in found] == [["x"], [], ["x"], ["x"]]
    recommender.close()


@pytest.mark.parametrize(
    ("playlists", "said"),
    [
        ([], "no playlist with tracks"),
        ([a_playlist(0), a_playlist(1)], "2 without tracks"),
        ([{"pid": 0, "tracks": [{"track_name": "x"}]}], "no track id"),
        ([{"pid": 0}], "tracks"),
        ([a_playlist(LOWEST, "x")], "--no-holdout"),  # its hash says that it is held out
    ],
)
def test_data_that_leave_nothing_to_train_on_are_refused(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], playlists: list[dict[str, object]], said: str
):
    before = snapshot(small_store)
    data = a_slice(tmp_path / "s.json", playlists)

    assert said in failure(capsys, "train", data, "--models", small_store, *TINY)
    assert snapshot(small_store) == before


def test_bad_data_leave_what_was_published_as_it_was(
    small_store: Path, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = snapshot(small_store)
    broken = tmp_path / "broken.json"
    broken.write_bytes(next(small_world.iterdir()).read_bytes()[:10_000])

    for bad, said in ((tmp_path / "nope", "does not exist"), (broken, "not the JSON of playlists")):
        assert said in failure(capsys, "train", small_world, bad, "--models", small_store, *TINY)
    assert snapshot(small_store) == before


def test_an_output_that_cannot_be_written_is_named_before_any_work(
    small_world: Path, small_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    (tmp_path / "set.json").write_text('{"playlists": [{"pid": 1, "tracks": []}]}')
    commands: list[list[str | Path]] = [
        ["train", small_world, "--models", blocked],
        ["train", small_world, "--models", blocked / "models"],
        ["evaluate", small_world, "--out", blocked],
        ["challenge", tmp_path / "set.json", "--models", small_models, "--out", blocked / "submission.csv"],
        ["challenge", tmp_path / "set.json", "--models", small_models, "--out", tmp_path / "none" / "submission.csv"],
        ["synthesize", blocked / "world", "--playlists", "5"],
    ]

    for command in commands:
        said = failure(capsys, *command)
        assert str(command[-1] if command[0] != "synthesize" else blocked) in said
        assert "answering" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "set.json"]


def test_a_catalogue_too_small_for_a_submission_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x", "y")])
    (tmp_path / "set.json").write_text('{"playlists": [{"pid": 1, "tracks": []}]}')
    assert main(["train", str(data), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]) == 0

    said = failure(capsys, "challenge", tmp_path / "set.json", "--models", tmp_path / "m", "--out", tmp_path / "o.csv")
    assert "knows 2 tracks" in said
    assert not (tmp_path / "o.csv").exists()


def test_a_second_run_on_the_same_store_says_so(small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Store(tmp_path).writing():
        assert "another run is writing" in failure(capsys, "train", small_world, "--models", tmp_path, *TINY)


def test_a_run_that_is_told_to_stop_stops_and_leaves_nothing(small_world: Path, tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "train", str(small_world), "--models", str(tmp_path), "--iterations", "999"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "fitting" in line:
            break
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    process.stderr.close()

    assert process.wait() == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".pointing"]


def test_versions_are_listed_rolled_back_verified_and_pruned(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store, first = Store(small_store), Store(small_store).current().name
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x", "y")])
    for _ in range(2):
        assert main(["train", str(data), "--models", str(small_store), "--no-holdout", "--force", *TINY]) == 0
    *_, last = store.versions()
    assert store.current().name == last

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["models", *arguments, "--models", str(small_store)]) == 0
        return capsys.readouterr().out

    lines = run("list").splitlines()
    assert [line[2:].split()[0] for line in lines] == ["version", *store.versions()]
    assert [line[0] for line in lines[1:]] == [" ", " ", "*"]
    assert json.loads(run("show", first))["version"] == first
    assert run("rollback").strip() == store.current().name == store.versions()[1]
    assert run("rollback", first).strip() == store.current().name == first
    assert run("prune", "--keep", "1").split() == lines[2].split()[:1]
    assert store.versions() == [first, last]
    assert "is undamaged" in run("verify")
    assert run("prune", "--keep", "2").strip() == "nothing to remove"


def test_versions_that_are_not_there_are_refused(small_store: Path, capsys: pytest.CaptureFixture[str]):
    for command in ("show", "verify", "rollback"):
        assert "holds no version 'nope'" in failure(capsys, "models", command, "nope", "--models", small_store)
    assert "no version older than" in failure(capsys, "models", "rollback", "--models", small_store)
    assert Store(small_store).current().exists()


def test_a_damaged_version_fails_its_verification(small_store: Path, capsys: pytest.CaptureFixture[str]):
    path = Store(small_store).current() / "gram.npy"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"!")

    assert "gram.npy differs" in failure(capsys, "models", "verify", "--models", small_store)


def test_evaluate_compares_with_every_baseline(small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(small_world), "--out", str(tmp_path / "out"), *TINY]) == 0

    said = capsys.readouterr().out
    for name in ("segue", "popularity", "item cosine", "plain ALS", "playlist kNN", "title+25r", "coverage"):
        assert name in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "challenge_set.json",
        "answers.json",
        "submission.csv",
    }


def test_evaluate_refuses_too_few_playlists(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x", "y")])

    assert "too few to learn from" in failure(capsys, "evaluate", data, *TINY)


def test_challenge_answers_a_published_set(small_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shown = {"playlists": [{"pid": 5, "name": "jazz", "tracks": []}, {"pid": 9, "tracks": [{"track_uri": "t:?"}]}]}
    (tmp_path / "set.json").write_text(json.dumps(shown))

    out = tmp_path / "submission.csv"
    assert main(["challenge", str(tmp_path / "set.json"), "--models", str(small_models), "--out", str(out)]) == 0

    lines = out.read_text().splitlines()
    assert lines[0].startswith("team_info")
    assert [line.split(",")[0] for line in lines[1:]] == ["5", "9"]
    assert all(len(set(line.split(","))) == 501 for line in lines[1:])


def test_challenge_without_a_model_says_how_to_publish_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "set.json").write_text('{"playlists": []}')

    said = failure(
        capsys, "challenge", tmp_path / "set.json", "--models", tmp_path / "none", "--out", tmp_path / "o.csv"
    )
    assert "python -m trainer train" in said


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["train"], ["train", "x", "--factors", "many"]])
def test_a_command_line_that_is_wrong_shows_how_it_goes(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2
    assert "usage: python -m trainer" in capsys.readouterr().err
