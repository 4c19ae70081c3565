"""The search for the best numbers."""

import os
import sqlite3
from contextlib import closing
from errno import EAGAIN, ENOLCK
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.config import read_config

BASE = ["--iterations", "1", "--factors", "4", "--artist-weight", "1", "--title-weight", "1", "--gram-weight", "0.3"]


def run(world: Path, place: Path, *arguments: str) -> int:
    out = ["--out", str(place / "tuned.toml"), "--study", str(place / "study.sqlite")]
    return main(["tune", str(world), *BASE, *out, *arguments])


def rows(table: str) -> list[list[str]]:
    """The trials of a table: number, score, and the values that were tried."""
    return [line.split() for line in table.splitlines()[1:]]


def test_a_grid_tries_every_combination_and_writes_the_best(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(small_world, tmp_path, "--grid", "alpha=0,20", "--grid", "beta=0,0.2") == 0

    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["trial", "ndcg", "alpha", "beta"]
    assert {tuple(row[2:]) for row in rows(table)} == {("0", "0"), ("0", "0.2"), ("20", "0"), ("20", "0.2")}
    scores = [float(row[1]) for row in rows(table)]
    assert scores == sorted(scores, reverse=True)
    best = read_config(tmp_path / "tuned.toml")
    assert best["alpha"] == 20  # an alpha of 0 gives no feature more weight than its absence
    assert (best["factors"], best["iterations"], best["trees"]) == (4, 1, 50)


def test_a_search_starts_with_the_profile_and_continues_with_new_numbers(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(small_world, tmp_path, "--trials", "2") == 0
    first = capsys.readouterr()
    assert "holds 0 trials; searching alpha, regularization, beta" in first.err
    assert "alpha=24 regularization=0.07 beta=0.24" in first.err

    assert run(small_world, tmp_path, "--trials", "3") == 0
    second = capsys.readouterr()
    assert "holds 2 trials" in second.err
    assert all(row in rows(second.out) for row in rows(first.out))
    assert len({tuple(row[2:]) for row in rows(second.out)}) == 3


def test_other_fixed_numbers_are_another_search_and_the_best_is_always_written(small_world: Path, tmp_path: Path):
    assert run(small_world, tmp_path, "--grid", "alpha=20") == 0
    (tmp_path / "tuned.toml").unlink()

    assert run(small_world, tmp_path, "--grid", "alpha=20") == 0  # nothing is left to try
    assert read_config(tmp_path / "tuned.toml")["iterations"] == 1
    assert run(small_world, tmp_path, "--grid", "alpha=20", "--iterations", "2") == 0
    config = tmp_path / "tuned.toml"
    assert read_config(config)["iterations"] == 2

    options = ["--config", str(config), "--trees", "3", "--neighbour-recall", "0.1", "--no-holdout"]
    options += ["--ranker-playlists", "0"]
    assert main(["train", str(small_world), "--models", str(tmp_path / "models"), *options]) == 0


def test_a_file_that_is_no_study_is_refused_in_one_line(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "study.sqlite").write_text("not a database, and longer than the header of one " * 9)

    assert run(small_world, tmp_path, "--grid", "alpha=1") == 1
    assert "cannot be used for the trials" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (ENOLCK, "it cannot be locked: No locks available; "),
        (EAGAIN, "(sqlite3.OperationalError) database is locked; "),
    ],
)
def test_a_study_without_locks_is_told_from_one_that_another_process_holds(
    number: int,
    reason: str,
    small_world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def lockf(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", lockf)
    with closing(sqlite3.connect(tmp_path / "study.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")

        assert run(small_world, tmp_path, "--grid", "alpha=1") == 1
    said = capsys.readouterr().err
    assert f"study.sqlite cannot be used for the trials: {reason}" in said


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (["alpah=1,2"], "no number called 'alpah'"),
        (["alpha=-1"], "alpha is -1.0; it should be greater than or equal to 0"),
        (["alpha=nan"], "alpha is nan; it should be a finite number"),
        (["factors=0"], "factors is 0; it should be greater than or equal to 1"),
        (["alpha=1", "alpha=2"], "have the same name"),
    ],
)
def test_an_impossible_grid_is_refused(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], grid: list[str], said: str
):
    assert run(small_world, tmp_path, *(part for values in grid for part in ("--grid", values))) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("grid", ["alpha", "alpha=", "=1", "alpha=1,x", "factors=1.5"])
def test_a_grid_that_is_not_written_as_one_is_refused(small_world: Path, tmp_path: Path, grid: str):
    with pytest.raises(SystemExit) as left:
        run(small_world, tmp_path, "--grid", grid)
    assert left.value.code == 2


def test_an_output_that_cannot_be_written_is_named_before_the_search(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["tune", str(small_world), "--out", str(tmp_path / "none" / "tuned.toml"), "--grid", "alpha=1"]) == 1
    said = capsys.readouterr().err
    assert "tuned.toml" in said
    assert "trial" not in said


def test_a_number_of_the_ranker_is_searched_for_with_a_ranker(
    small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    numbers = [
        "--ranker-networks",
        "1",
        "--title-axes",
        "0",
        "--ranker-playlists",
        "150",
        "--factors",
        "8",
        "--iterations",
        "4",
    ]

    assert run(small_world, tmp_path, *numbers, "--grid", "nearest=100") == 0
    ranked = capsys.readouterr()
    assert run(small_world, tmp_path, *numbers, "--grid", "trees=50") == 0
    alone = capsys.readouterr()

    assert "searching nearest, ranked" in ranked.err
    assert "searching trees, by the first stage alone" in alone.err
    assert rows(ranked.out)[0][1] > rows(alone.out)[0][1]
