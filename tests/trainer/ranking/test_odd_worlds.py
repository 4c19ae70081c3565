"""Worlds that are small or bare: each trains and answers, with a ranker or without one, and the run says which."""

from contextlib import closing
from pathlib import Path

import pytest

from service.engine import Options, Playlist, Recommender, Store
from trainer.cli import main

OPTIONS = ["--factors", "4", "--iterations", "2", "--trees", "1", "--neighbour-recall", "0", "--no-holdout"]
OPTIONS += ["--ranker-networks", "1", "--title-axes", "0"]


def train(rows: list[tuple[str, str, str]], place: Path) -> Recommender:
    """Train on *rows* of a playlist, its title and a track."""
    table = place / "playlists.csv"
    table.write_text("playlist,title,track\n" + "".join(f"{','.join(row)}\n" for row in rows))
    assert main(["train", str(table), "--models", str(place / "models"), *OPTIONS]) == 0
    return Recommender.open(Store(place / "models").current())


def test_a_catalogue_of_three_tracks_needs_no_ranker_and_answers_with_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    # The title names both tracks of a playlist, so the first stage orders them perfectly.
    pairs = [("morning", "a", "b"), ("evening", "b", "c"), ("night", "a", "c")]
    rows = [
        (f"{number}", title, track)
        for number in range(900)
        for title, *tracks in [pairs[number % 3]]
        for track in tracks
    ]
    with closing(train(rows, tmp_path)) as recommender:
        asked = [Playlist(title="night"), Playlist(["a"]), Playlist(["a", "b", "c"], title="night"), Playlist(["d"])]
        answers = recommender.recommend(asked, Options(10))

    assert "no ranker, as it is not better than the first stage: NDCG 1.0000" in capsys.readouterr().err
    assert [answer.strategy for answer in answers] == ["fold-in", "fold-in", "fold-in", "popular"]
    assert [sorted(item.id for item in answer.found) for answer in answers] == [
        ["a", "b", "c"], ["b", "c"], [], ["a", "b", "c"],
    ]  # fmt: skip
    assert answers[0].found[-1].id == "b"


@pytest.mark.parametrize("n_playlists", [1, 3])
def test_a_few_playlists_are_answered_without_a_ranker(
    n_playlists: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [(f"{playlist}", "mine", f"t{track}") for playlist in range(n_playlists) for track in range(10)]
    with closing(train(rows, tmp_path)) as recommender:
        (answer,) = recommender.recommend([Playlist(["t1"])], Options(5))

    assert "no ranker: there are too few playlists to learn from" in capsys.readouterr().err
    assert (answer.strategy, len(answer.found)) == ("fold-in", 5)
