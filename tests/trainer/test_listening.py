"""Listeners: what is hidden of them, and how well they are continued."""

from pathlib import Path

import numpy as np
import pytest

from service.engine import Manifest, Playlist, Plays, Recommender, Store
from trainer.__main__ import main
from trainer.config import LISTENING, Configs
from trainer.dataset import Dataset
from trainer.intake import read_dataset
from trainer.listening import hide, listening_tasks, without
from trainer.pipeline import evaluate
from trainer.sources import read
from trainer.sources.listeners import Listeners, synthesize_listeners
from trainer.sources.synthetic import SCENES_PER_GENRE, artist_name

TINY = ["--factors", "16", "--iterations", "4", "--trees", "10", "--neighbour-recall", "0.5"]


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 800 planted listeners played."""
    out = tmp_path_factory.mktemp("plays") / "plays.tsv"
    synthesize_listeners(out, 800, seed=3)
    return out


@pytest.fixture(scope="module")
def dataset(plays: Path) -> Dataset:
    return read_dataset(read([plays]))


@pytest.fixture(scope="module")
def store(plays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("listening") / "models"
    assert main(["train", str(plays), "--models", str(models), *TINY]) == 0
    return models


def test_the_planted_listeners_are_read_whole(dataset: Dataset):
    assert len(dataset) == 800
    assert dataset.kind == "artists"
    assert dataset.listening
    assert 30 < len(dataset.artists.rows) / 800 <= 50
    assert dataset.artists.counts is not None
    assert dataset.artists.counts.min() >= 1


def test_the_same_seed_makes_the_same_listeners(plays: Path, tmp_path: Path):
    synthesize_listeners(tmp_path / "again.tsv", 800, seed=3)
    synthesize_listeners(tmp_path / "other.tsv", 800, seed=4)

    assert (tmp_path / "again.tsv").read_bytes() == plays.read_bytes() != (tmp_path / "other.tsv").read_bytes()


def test_a_fifth_of_each_listener_is_hidden_and_the_rest_shown(dataset: Dataset):
    listeners = range(20)
    hidden = hide(dataset, listeners, seed=1)
    tasks = listening_tasks(dataset, listeners, hidden)

    assert len(tasks) == 20
    for task in tasks:
        shown, asked = [seed.id for seed in task.seeds], list(task.held_out)
        whole = [dataset.vocabulary.artist_ids[row] for row in dataset.artists[task.pid]]
        assert sorted(shown + asked) == sorted(whole)
        assert len(asked) == round(0.2 * len(whole))
        assert len(task.counts) == len(shown)
    assert hidden[dataset.artists.offsets[20] :].sum() == 0


def test_what_is_hidden_depends_on_the_listener_and_not_on_its_place(dataset: Dataset):
    chosen = np.zeros(len(dataset), bool)
    chosen[5] = True
    alone = dataset.select(chosen)

    found = listening_tasks(dataset, [5], hide(dataset, [5], seed=1))[0]
    assert listening_tasks(alone, [0], hide(alone, [0], seed=1))[0].held_out == found.held_out


def test_what_is_hidden_is_not_learned_from(dataset: Dataset):
    hidden = hide(dataset, range(len(dataset)), seed=1)
    left = without(dataset, hidden)

    assert len(left.artists.rows) == len(dataset.artists.rows) - hidden.sum()
    task = listening_tasks(dataset, [7], hidden)[0]
    kept = {left.vocabulary.artist_ids[row] for row in left.artists[7]}
    assert kept == {seed.id for seed in task.seeds}


def test_listening_picks_its_own_profile_and_says_so(store: Path):
    manifest = Manifest.read(Store(store).current())

    assert manifest.data["kind"] == "listening"
    assert manifest.numbers["alpha"] == LISTENING.alpha
    assert manifest.numbers["weighting"] == LISTENING.weighting
    assert manifest.numbers["artist_count"] > 1
    assert manifest.metrics["ndcg_at_10"] > 0


def test_a_listener_is_continued_with_artists_of_its_scene(store: Path):
    scene = Listeners(800, 3).scene_artists
    recommender = Recommender.open(Store(store).current())
    played = [Plays(artist_name(number), 500) for number in range(3 * scene, 3 * scene + 6)]

    (answer,) = recommender.recommend_artists([Playlist(artists=played)], 10)

    assert recommender.kind == "artists"
    assert answer.strategy == "fold-in"
    names = {artist_name(number) for number in range(SCENES_PER_GENRE * scene)}
    assert sum(artist.name in names for artist in answer.found) >= 9
    assert not {artist.name for artist in answer.found} & {artist.artist for artist in played}
    recommender.close()


def test_what_was_played_more_weighs_more(store: Path):
    scene = Listeners(800, 3).scene_artists
    recommender = Recommender.open(Store(store).current())
    here, there = artist_name(3 * scene), artist_name(90 * scene)

    mostly_here, mostly_there = recommender.recommend_artists(
        [
            Playlist(artists=[Plays(here, 5000), Plays(there, 1)]),
            Playlist(artists=[Plays(here, 1), Plays(there, 5000)]),
        ],
        5,
    )
    assert [artist.id for artist in mostly_here.found] != [artist.id for artist in mostly_there.found]
    recommender.close()


def test_without_a_count_an_artist_counts_as_the_median(store: Path):
    recommender = Recommender.open(Store(store).current())
    median = recommender.manifest.numbers["artist_count"]
    names = [artist.name for artist in recommender.popular_artists(3)]

    bare, counted = recommender.recommend_artists(
        [Playlist(artists=names), Playlist(artists=[Plays(name, median) for name in names])], 20
    )
    assert bare.found == counted.found
    recommender.close()


def test_segue_is_compared_with_the_baselines_of_listening(plays: Path):
    found = evaluate([plays], Configs.of(None, {"factors": 16, "iterations": 4, "trees": 10}))

    means = {name: float(scores.values["ndcg_at_10"].mean()) for name, scores in found.scores.items()}
    assert list(means) == ["segue", "popularity", "item cosine", "BM25 ALS"]
    assert means["segue"] > 1.5 * means["popularity"]
    assert "NDCG@10" in str(found)
    assert "title only" not in str(found)


def test_the_files_of_a_challenge_are_of_playlists_alone(
    plays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", str(plays), "--out", str(tmp_path), *TINY]) == 1
    assert "what people listened to" in capsys.readouterr().err
