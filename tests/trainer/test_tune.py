"""The search for the best numbers."""

from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.config import read_config

BASE = ["--iterations", "2", "--factors", "8", "--artist-weight", "1", "--title-weight", "1", "--gram-weight", "0.3"]


def run(world: Path, place: Path, *arguments: str) -> int:
    out = ["--out", str(place / "tuned.toml"), "--study", str(place / "study.sqlite")]
    return main(["tune", str(world), *BASE, *out, *arguments])


def test_a_grid_tries_every_combination_and_writes_the_best(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(world, tmp_path, "--grid", "alpha=0,20", "--grid", "beta=0,0.2") == 0

    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["trial", "ndcg", "alpha", "beta"]
    tried = {tuple(line.split()[2:]) for line in table[1:]}
    assert tried == {("0", "0"), ("0", "0.2"), ("20", "0"), ("20", "0.2")}
    scores = [float(line.split()[1]) for line in table[1:]]
    assert scores == sorted(scores, reverse=True)
    best = read_config(tmp_path / "tuned.toml")
    assert best["alpha"] == 20  # with an alpha of 0 nothing that is said counts more than what is not
    assert (best["factors"], best["iterations"], best["trees"]) == (8, 2, 50)


def test_a_search_goes_on_where_it_was_and_keeps_numbers_that_are_given(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(world, tmp_path, "--trials", "1") == 0
    first = capsys.readouterr()
    assert "holds 0 trials; searching alpha, regularization, beta" in first.err
    assert run(world, tmp_path, "--trials", "3") == 0
    second = capsys.readouterr()

    assert "holds 1 trials" in second.err
    assert len(second.out.splitlines()) == 4
    assert first.out.splitlines()[1] in second.out


def test_the_search_begins_with_the_numbers_of_the_profile(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(world, tmp_path, "--trials", "1") == 0

    assert "alpha=24 regularization=0.07 beta=0.24" in capsys.readouterr().err


def test_a_model_is_trained_with_what_was_found(world: Path, tmp_path: Path):
    assert run(world, tmp_path, "--grid", "alpha=20") == 0

    config = ["--config", str(tmp_path / "tuned.toml"), "--trees", "3"]
    assert main(["train", str(world), "--models", str(tmp_path / "models"), *config]) == 0


def test_other_fixed_numbers_are_another_search_and_the_best_is_always_written(world: Path, tmp_path: Path):
    assert run(world, tmp_path, "--grid", "alpha=20") == 0
    (tmp_path / "tuned.toml").unlink()

    assert run(world, tmp_path, "--grid", "alpha=20") == 0  # nothing is left to try
    assert read_config(tmp_path / "tuned.toml")["iterations"] == 2
    assert run(world, tmp_path, "--grid", "alpha=20", "--iterations", "1") == 0
    assert read_config(tmp_path / "tuned.toml")["iterations"] == 1


def test_a_search_that_goes_on_draws_new_numbers(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for trials in ("2", "3"):
        assert run(world, tmp_path, "--trials", trials) == 0

    rows = [line.split()[2:] for line in capsys.readouterr().out.splitlines() if line.split()[0].isdigit()]
    assert len({tuple(row) for row in rows}) == 3


def test_a_study_that_is_none_is_refused_in_one_line(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "study.sqlite").write_text("not a database, and longer than the header of one " * 9)

    assert run(world, tmp_path, "--grid", "alpha=1") == 1
    assert "cannot be used to keep trials" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("grid", "said"),
    [("alpah=1,2", "no number called 'alpah'"), ("alpha=-1", "alpha has to be between 0"), ("factors=0", "between 1")],
)
def test_a_grid_of_nothing_that_can_be_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], grid: str, said: str
):
    assert run(world, tmp_path, "--grid", grid) == 1
    assert said in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_told_before_the_search(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["tune", str(world), "--out", str(tmp_path / "none" / "tuned.toml"), "--grid", "alpha=1"]) == 1
    said = capsys.readouterr().err
    assert "tuned.toml" in said
    assert "trial" not in said
