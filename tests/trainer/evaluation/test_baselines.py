"""The baselines, on worlds small enough to see the answer."""

from pathlib import Path

import numpy as np
import pytest

from trainer.dataset import Dataset, build_dataset
from trainer.evaluation.answers import Continuer
from trainer.evaluation.baselines import ItemCosine, PlainALS, PlaylistNeighbours, Popularity
from trainer.evaluation.scores import score
from trainer.evaluation.tasks import Task, assign_categories, playlist_tasks
from trainer.sources import SourcePlaylist, SourceTrack, read

# Two tastes that share nothing: letters and digits. 'z' is everywhere.
LETTERS, DIGITS = "abcdef", "123456"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    def playlist(number: int, names: str, title: str) -> SourcePlaylist:
        return SourcePlaylist(str(number), title, [SourceTrack(name, name, "", "") for name in names])

    playlists = []
    for left_out in range(6):  # a checkerboard with its diagonal left out
        playlists.append(playlist(len(playlists), LETTERS.replace(LETTERS[left_out], "") + "z", "Letters"))
        playlists.append(playlist(len(playlists), DIGITS.replace(DIGITS[left_out], "") + "z", "numbers"))
    return build_dataset(playlists)


def task(seeds: str, title: str = "") -> Task:
    return Task(0, 0, title, [SourceTrack(name, "", "", "") for name in seeds], ["?"])


def makers(dataset: Dataset) -> list[Continuer]:
    popularity = Popularity(dataset)
    return [
        popularity,
        ItemCosine(dataset, popularity),
        PlainALS(dataset, popularity, seed=1),
        PlaylistNeighbours(dataset, popularity),
    ]


@pytest.mark.parametrize("which", range(4))
def test_each_answers_k_distinct_tracks_and_no_seed(dataset: Dataset, which: int):
    continuer = makers(dataset)[which]

    for answer in continuer.recommend([task("ab"), task(""), task("?"), task("", "letters")], 9):
        assert len(answer) == len(set(answer)) == 9
    assert not set("ab") & set(continuer.recommend([task("ab")], 9)[0])


@pytest.mark.parametrize("which", [1, 3])  # ALS of 64 factors learns nothing of 13 tracks; it has a test of its own
def test_those_that_look_at_the_seeds_find_their_taste(dataset: Dataset, which: int):
    answer = makers(dataset)[which].recommend([task("abc")], 4)[0]

    assert set(answer) - {"z"} <= set("def")


def test_plain_als_beats_popularity_by_far_on_a_planted_world(small_world: Path):
    dataset = build_dataset(read([small_world]))
    chosen = assign_categories(dataset, range(len(dataset)), 10)
    asked = np.isin(np.arange(len(dataset)), list(chosen))
    tasks, learned = playlist_tasks(dataset, chosen, seed=1), dataset.select(~asked)
    popularity = Popularity(learned)

    ours, theirs = (
        score(tasks, continuer.recommend(tasks, 500), {}, len(learned.vocabulary.track_ids)).table()["5"]["ndcg"]
        for continuer in (PlainALS(learned, popularity, seed=1), popularity)
    )

    assert ours > 3 * theirs


def test_popularity_orders_by_playlists_then_id(dataset: Dataset):
    assert Popularity(dataset).recommend([task("")], 3)[0] == ["z", "1", "2"]


def test_playlists_of_the_same_normalised_title_answer_a_title_alone(dataset: Dataset):
    answer = makers(dataset)[3].recommend([task("", "NUMBERS!")], 7)[0]

    assert set(answer) == {*DIGITS, "z"}


def test_playlist_neighbours_follow_their_formula():
    """One playlist shares the rare seed, one the common seed; worked out by hand."""
    tracks = {"rare": "p", "common": "qrs"}
    playlists = [SourcePlaylist("0", "", [SourceTrack(name, "", "", "") for name in ("rare", "p")])]
    playlists += [
        SourcePlaylist(name, "", [SourceTrack(t, "", "", "") for t in ("common", name)]) for name in tracks["common"]
    ]
    dataset = build_dataset(playlists)

    answer = makers(dataset)[3].recommend(
        [task("").__class__(0, 0, "", [SourceTrack("rare", "", "", ""), SourceTrack("common", "", "", "")], ["?"])], 4
    )[0]

    # rare: weight 1; common: 1 / (2^0.35 + 1) = .44; so p scores 1 and q, r, s score .19 each.
    assert answer[0] == "p"
    assert set(answer[1:]) == {"q", "r", "s"}
