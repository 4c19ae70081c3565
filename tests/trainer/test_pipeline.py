"""The command line end to end: what works, and what fails in one clear line and changes nothing published."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.engine import Manifest, Playlist, Recommender, Store
from trainer.__main__ import main
from trainer.dataset import heldout
from trainer.intake import read_dataset
from trainer.sources import read

TINY = ["--factors", "8", "--iterations", "2", "--trees", "4", "--neighbour-recall", "0.5"]
ROOT = Path(__file__).parents[2]


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


def test_train_publishes_and_prints_the_version(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", str(world), "--models", str(tmp_path / "m"), *TINY]) == 0

    out = capsys.readouterr().out
    assert out.strip() == Store(tmp_path / "m").current().name


def test_a_version_holds_the_metrics_of_playlists_it_was_not_trained_on(models: Path, world: Path):
    dataset = read_dataset(read([world]))
    held_out = heldout(dataset.playlist_ids, 0.02, 100, 0.1)
    manifest = Manifest.read(Store(models).current())
    metrics = json.loads((Store(models).current() / "metrics.json").read_text())

    assert manifest.data["playlists"] == len(dataset) - held_out.sum()
    assert metrics["by_category"]["all"] == dict(manifest.metrics)
    assert manifest.metrics["ndcg"] > 0.1
    assert manifest.data["fingerprint"] == dataset.fingerprint


def test_without_holdout_every_playlist_is_trained_on(world: Path, tmp_path: Path):
    assert main(["train", str(world), "--models", str(tmp_path), "--no-holdout", *TINY]) == 0

    manifest = Manifest.read(Store(tmp_path).current())
    assert manifest.data["playlists"] == 1200
    assert manifest.metrics == {}
    assert "metrics.json" not in manifest.files


def test_numbers_of_the_command_line_are_those_of_the_manifest(world: Path, tmp_path: Path):
    given = ["--alpha", "7", "--beta", "0.5", "--artist-weight", "0", "--seed", "3", "--no-holdout", *TINY]
    assert main(["train", str(world), "--models", str(tmp_path), *given]) == 0

    numbers = Manifest.read(Store(tmp_path).current()).numbers
    assert [numbers[name] for name in ("alpha", "beta", "artist_weight", "seed", "factors")] == [7, 0.5, 0, 3, 8]


def test_the_same_data_numbers_and_seed_give_the_same_answers(world: Path, tmp_path: Path):
    answers = []
    for name in ("a", "b"):
        assert main(["train", str(world), "--models", str(tmp_path / name), "--no-holdout", *TINY]) == 0
        recommender = Recommender.open(Store(tmp_path / name).current())
        answers.append(recommender.recommend([Playlist(title="jazz")], 50))
        recommender.close()

    assert answers[0] == answers[1]


def test_train_shows_how_far_it_is(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["train", str(world), "--models", str(tmp_path), *TINY])

    said = capsys.readouterr().err
    for work in ("reading", "fitting", "evaluating"):
        assert re.search(rf"{work} +100%", said)
    steps = re.findall(r"^  (\S+) +[\d.]+ s +[\d,]+ MiB at most$", said, re.MULTILINE)
    assert steps == ["reading", "matrix", "fitting", "writing", "evaluating", "baselines", "report", "publishing"]


def test_a_playlist_that_repeats_a_track_counts_it_once(tmp_path: Path):
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x", "x", "x"), a_playlist(1, "x", "y")])

    assert main(["train", str(data), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]) == 0
    recommender = Recommender.open(Store(tmp_path / "m").current())
    assert [(track.id, track.popularity) for track in recommender.popular(5)] == [("x", 2), ("y", 1)]
    recommender.close()


def test_one_playlist_of_one_track_is_enough_to_train_and_to_answer(tmp_path: Path):
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x")])

    assert main(["train", str(data), "--models", str(tmp_path / "m"), "--no-holdout", *TINY]) == 0
    recommender = Recommender.open(Store(tmp_path / "m").current())
    found = recommender.recommend([Playlist(), Playlist(["x"]), Playlist(artists=["a"]), Playlist(title="n")], 5)
    assert [[track.id for track in answer.found] for answer in found] == [["x"], [], ["x"], ["x"]]
    recommender.close()


@pytest.mark.parametrize(
    ("playlists", "said"),
    [
        ([], "no playlist with tracks"),
        ([a_playlist(0), a_playlist(1)], "2 without tracks"),
        ([{"pid": 0, "tracks": [{"track_name": "x"}]}], "track_uri"),
        ([{"pid": 0}], "tracks"),
        ([a_playlist(10, "x")], "--no-holdout"),
    ],
)
def test_data_that_leave_nothing_to_train_on_are_refused(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], playlists: list[dict[str, object]], said: str
):
    before = snapshot(published)
    # The one playlist of the last case is held out by its hash.
    data = a_slice(tmp_path / "s.json", playlists)

    if said == "--no-holdout":
        playlists[0]["pid"] = next(pid for pid in range(999) if heldout([str(pid)], 0.02, 100, 0.1).all())
        data = a_slice(tmp_path / "s.json", playlists)

    assert said in failure(capsys, "train", data, "--models", published, *TINY)
    assert snapshot(published) == before


def test_bad_data_leave_what_was_published_as_it_was(
    published: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = snapshot(published)
    broken = tmp_path / "broken.json"
    broken.write_bytes(next(world.iterdir()).read_bytes()[:10_000])

    for bad, said in ((tmp_path / "nope", "does not exist"), (broken, "broken off")):
        assert said in failure(capsys, "train", world, bad, "--models", published, *TINY)
    assert snapshot(published) == before


def test_an_output_that_cannot_be_written_is_named_before_any_work(
    world: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    (tmp_path / "set.json").write_text('{"playlists": [{"pid": 1, "tracks": []}]}')
    commands: list[list[str | Path]] = [
        ["train", world, "--models", blocked],
        ["train", world, "--models", blocked / "models"],
        ["evaluate", world, "--out", blocked],
        ["challenge", tmp_path / "set.json", "--models", models, "--out", blocked / "submission.csv"],
        ["challenge", tmp_path / "set.json", "--models", models, "--out", tmp_path / "none" / "submission.csv"],
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


def test_a_number_out_of_range_is_refused(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "factors has to be between 1" in failure(capsys, "train", world, "--models", tmp_path, "--factors", "0")


def test_numbers_that_lead_nowhere_publish_nothing(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "came to nothing" in failure(
        capsys,
        "train",
        world,
        "--models",
        tmp_path,
        "--alpha",
        "1e6",
        "--artist-weight",
        "1e6",
        "--title-weight",
        "1e6",
        *TINY,
    )
    assert Store(tmp_path).versions() == []


def test_a_second_run_on_the_same_store_says_so(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Store(tmp_path).writing():
        assert "another run is writing" in failure(capsys, "train", world, "--models", tmp_path, *TINY)


def test_a_run_that_is_told_to_stop_stops_and_leaves_nothing(world: Path, tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "train", str(world), "--models", str(tmp_path), "--iterations", "999"],
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
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store, first = Store(published), Store(published).current().name
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x", "y")])
    for _ in range(2):
        assert main(["train", str(data), "--models", str(published), "--no-holdout", "--force", *TINY]) == 0
    *_, last = store.versions()
    assert store.current().name == last

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["models", *arguments, "--models", str(published)]) == 0
        return capsys.readouterr().out

    lines = run("list").splitlines()
    assert [line[2:].split()[0] for line in lines] == ["version", *store.versions()]
    assert [line[0] for line in lines[1:]] == [" ", " ", "*"]
    assert json.loads(run("show", first))["version"] == first
    assert run("rollback").strip() == store.current().name == store.versions()[1]
    assert run("rollback", first).strip() == store.current().name == first
    assert run("prune", "--keep", "1").split() == lines[2].split()[:1]
    assert store.versions() == [first, last]
    assert "is whole" in run("verify")
    assert run("prune", "--keep", "2").strip() == "nothing to remove"


def test_versions_that_are_not_there_are_refused(published: Path, capsys: pytest.CaptureFixture[str]):
    for command in ("show", "verify", "rollback"):
        assert "holds no version 'nope'" in failure(capsys, "models", command, "nope", "--models", published)
    assert "no version older than" in failure(capsys, "models", "rollback", "--models", published)
    assert Store(published).current().exists()


def test_a_damaged_version_fails_its_verification(published: Path, capsys: pytest.CaptureFixture[str]):
    path = Store(published).current() / "gram.npy"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"!")

    assert "gram.npy differs" in failure(capsys, "models", "verify", "--models", published)


def test_evaluate_compares_with_every_baseline(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(world), "--out", str(tmp_path / "out"), *TINY]) == 0

    said = capsys.readouterr().out
    for name in ("segue", "popularity", "item cosine", "plain ALS", "playlist kNN", "title+100r", "coverage"):
        assert name in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "challenge_set.json",
        "answers.json",
        "submission.csv",
    }


def test_evaluate_refuses_too_few_playlists(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = a_slice(tmp_path / "s.json", [a_playlist(0, "x", "y")])

    assert "too few" in failure(capsys, "evaluate", data, *TINY)


def test_challenge_answers_a_published_set(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shown = {"playlists": [{"pid": 5, "name": "jazz", "tracks": []}, {"pid": 9, "tracks": [{"track_uri": "t:?"}]}]}
    (tmp_path / "set.json").write_text(json.dumps(shown))

    out = tmp_path / "submission.csv"
    assert main(["challenge", str(tmp_path / "set.json"), "--models", str(models), "--out", str(out)]) == 0

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
