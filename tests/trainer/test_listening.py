"""Listening histories from end to end: read, trained on, continued, evaluated."""

from contextlib import closing
from pathlib import Path

import pytest

from service.engine import INPUTS, Manifest, Options, Playlist, Plays, Recommender, Store, unit
from trainer.cli import main
from trainer.config import LISTENING, Configs
from trainer.dataset import Dataset, build_dataset
from trainer.pipeline import evaluate
from trainer.sources import read
from trainer.synthetic.draws import SCENES_PER_GENRE
from trainer.synthetic.listeners import Listeners, synthesize_listeners
from trainer.synthetic.names import artist_name

TINY = ["--factors", "16", "--iterations", "4", "--trees", "10", "--neighbour-recall", "0.5", "--no-baselines"]
TINY += ["--ranker-playlists", "300", "--ranker-networks", "1"]


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 800 planted listeners played."""
    out = tmp_path_factory.mktemp("plays") / "plays.tsv"
    synthesize_listeners(out, 800, seed=3)
    return out


@pytest.fixture(scope="module")
def dataset(plays: Path) -> Dataset:
    return build_dataset(read([plays]))


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

    (answer,) = recommender.recommend([Playlist(artists=played)], Options(10))

    assert recommender.kind == "artists"
    assert answer.strategy == "ranked"
    names = {artist_name(number) for number in range(SCENES_PER_GENRE * scene)}
    assert sum(artist.name in names for artist in answer.found) >= 9
    assert not {artist.name for artist in answer.found} & {artist.key for artist in played}
    recommender.close()


def test_what_was_played_more_weighs_more(store: Path):
    scene = Listeners(800, 3).scene_artists
    recommender = Recommender.open(Store(store).current())
    here, there = artist_name(3 * scene), artist_name(90 * scene)

    mostly_here, mostly_there = recommender.recommend(
        [
            Playlist(artists=[Plays(here, 5000), Plays(there, 1)]),
            Playlist(artists=[Plays(here, 1), Plays(there, 5000)]),
        ],
        Options(5),
    )
    assert [artist.id for artist in mostly_here.found] != [artist.id for artist in mostly_there.found]
    recommender.close()


def test_without_a_count_an_artist_counts_as_the_median(store: Path):
    recommender = Recommender.open(Store(store).current())
    median = recommender.manifest.numbers["artist_count"]
    names = [artist.name for artist in recommender.popular("artists", 3)]

    bare, counted = recommender.recommend(
        [Playlist(artists=names), Playlist(artists=[Plays(name, median) for name in names])], Options(20)
    )
    assert bare.found == counted.found
    recommender.close()


def test_segue_is_compared_with_the_baselines_of_listening(tmp_path: Path):
    synthesize_listeners(tmp_path / "few.tsv", 200, seed=3)
    numbers = {"factors": 16, "iterations": 4, "trees": 10, "ranker_playlists": 0}
    found = evaluate([tmp_path / "few.tsv"], Configs.of(None, numbers))

    means = {name: float(scores.values["ndcg_at_10"].mean()) for name, scores in found.scores.items()}
    assert list(means) == ["segue", "popularity", "item cosine", "BM25 ALS"]
    assert means["segue"] > 1.5 * means["popularity"]
    assert "NDCG@10" in str(found)
    assert "title only" not in str(found)


def test_the_files_of_a_challenge_are_of_playlists_alone(
    plays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", str(plays), "--out", str(tmp_path)]) == 1
    assert "these data are listening histories" in capsys.readouterr().err


def test_the_artists_that_are_played_most_are_compared_apart(store: Path):
    with closing(Recommender.open(Store(store).current())) as recommender:
        artists = recommender.popular("artists", 8)
        plays = [100, 1, 200, 2, 300, 400, 3, 500]
        playlist = Playlist(artists=[Plays(artist.id, count) for artist, count in zip(artists, plays, strict=True)])
        (pool,) = recommender.pools([playlist])
        vectors = unit(recommender.artifacts.vectors[recommender.manifest.shape.rows("artists")])
        seeds, _ = recommender.artifacts.catalogue.rows("artists", [artist.id for artist in artists])

    assert pool is not None
    cosines = vectors[pool.rows] @ vectors[seeds].T
    found = pool.inputs[:, INPUTS.index("cosine_strongest")]
    assert found == pytest.approx(cosines[:, [0, 2, 4, 5, 7]].max(axis=1), abs=1e-5)
    assert found != pytest.approx(cosines.max(axis=1), abs=1e-5)
