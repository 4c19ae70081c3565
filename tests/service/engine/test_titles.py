"""Titles by meaning: like titles without a common word, their votes, and versions that cannot use them."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.engine import INPUTS, CorruptModel, Manifest, Options, Playlist, Ranker, Recommender, amend_version
from service.engine.encoder import DIMENSIONS, LONGEST, _encode, _load, encode
from service.engine.pool import LEAST
from service.engine.titles import VOTERS, Titles
from trainer.config import TrainingConfig
from trainer.dataset import build_dataset
from trainer.fitting.fit import fit_and_write
from trainer.sources import read
from trainer.timing import Stopwatch

TOPICS = {"sport": ("workout", "gym"), "feast": ("christmas", "xmas"), "sleep": ("bedtime", "lullabies")}
CONFIG = TrainingConfig(factors=4, iterations=2, trees=1, neighbour_recall=0, title_axes=4, ranker_playlists=1)


def by_titles() -> Ranker:
    """Return a ranker that orders by the votes of like titles alone."""
    weights = np.zeros((1, len(INPUTS), 1), np.float32)
    weights[0, INPUTS.index("titles_ratio")] = 1
    layers = [(weights, np.zeros((1, 1, 1), "f4")), (np.ones((1, 1, 1), "f4"), np.zeros((1, 1, 1), "f4"))]
    return Ranker(np.zeros(len(INPUTS), "f4"), np.ones(len(INPUTS), "f4"), layers)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A version of 24 playlists of three topics, each with 40 tracks of its own.

    Two playlists without titles have other tracks: 400 are in both, and 300 in one.
    """
    directory = tmp_path_factory.mktemp("titles")
    table, files = directory / "playlists.csv", directory / "version"
    rows = [
        f"{topic}{title}{playlist},{title},{topic} {(5 * playlist + track) % 40}"
        for topic, titles in TOPICS.items() for title in titles for playlist in range(4) for track in range(30)
    ]  # fmt: skip
    others = [f"untitled{playlist},,other {track}" for playlist in range(2) for track in range(400 + 300 * playlist)]
    table.write_text("\n".join(["playlist,title,track", *rows, *others]))
    files.mkdir()
    fit_and_write(build_dataset(read([table])), files, "titled", CONFIG, {}, None, Stopwatch(), by_titles())
    return files


@pytest.fixture(scope="module")
def titled(version: Path) -> Iterator[Recommender]:
    opened = Recommender.open(version)
    yield opened
    opened.close()


def copy(version: Path, to: Path) -> Path:
    to.mkdir()
    for file in version.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def inputs_of(recommender: Recommender, playlist: Playlist) -> dict[str, list[float]]:
    (pool,) = recommender.pools([playlist])
    assert pool is not None
    assert np.isfinite(pool.inputs).all()
    return dict(zip(INPUTS, pool.inputs.T.tolist(), strict=True))


def topics_of(recommender: Recommender, title: str, k: int = 20) -> set[str]:
    (answer,) = recommender.recommend([Playlist(title=title)], Options(k))
    assert answer.strategy == "ranked"
    return {track.id.split()[0] for track in answer.found}


@pytest.mark.parametrize("title", ["gym", "x" * (LONGEST + 1), "\ud800", "🏋", "体操"])
def test_a_title_has_a_vector_of_length_1(title: str):
    vector = encode(title)

    assert (vector.shape, vector.dtype) == ((DIMENSIONS,), np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_the_nearest_titles_come_first_and_each_has_its_playlists():
    titles = Titles.of(["gym", "christmas", "", "workout", "Gym!"], 3)

    playlists, cosines = titles.nearest("gym")

    assert (len(titles.vectors), titles.offsets.tolist()[-1]) == (3, 4)
    assert playlists.tolist()[:3] == [0, 4, 3]
    assert cosines[:2] == pytest.approx([1, 1], abs=1e-5)
    assert (np.diff(cosines) <= 0).all()
    assert (cosines > 0).all()


@pytest.mark.parametrize("copies", [1, VOTERS - 3, 2 * VOTERS])
def test_no_more_playlists_vote_than_their_bound(copies: int):
    titles = Titles.of([*["gym"] * copies, *["workout"] * 5, *(f"song {number}" for number in range(VOTERS))], 8)

    playlists, _ = titles.nearest("gym")

    assert len(playlists) == len(set(playlists.tolist())) == VOTERS
    assert playlists[: min(copies, VOTERS)].tolist() == list(range(min(copies, VOTERS)))


def test_a_long_title_is_cut():
    assert (encode("gym " * LONGEST) == encode(("gym " * LONGEST)[:LONGEST])).all()


@pytest.mark.parametrize("n", [2, VOTERS + 1])
def test_no_playlist_votes_for_a_title_of_the_opposite_meaning(n: int):
    titles = Titles.of([f"gym {number}" for number in range(n)], 2)
    opposite = replace(titles, vectors=-titles.vectors)

    assert [len(found) for found in opposite.nearest("gym")] == [0, 0]


def test_the_same_titles_make_the_same_files():
    first, second = (Titles.of(["gym", "workout", "christmas"], 2).arrays() for _ in range(2))

    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize(
    ("title", "topic"),
    [
        ("entrenamiento", "sport"),
        ("тренировка", "sport"),
        ("トレーニング", "sport"),
        ("Weihnachten", "feast"),
        ("圣诞节", "feast"),
        ("Gute Nacht", "sleep"),
        ("chansons pour dormir", "sleep"),
    ],
)
def test_a_title_of_unknown_words_is_answered_by_like_titles_in_other_languages(
    titled: Recommender, title: str, topic: str
):
    (unknown,) = titled.unknown([Playlist(title=title)])

    assert unknown.title
    assert topics_of(titled, title) == {topic}


def test_a_title_of_unknown_words_has_finite_inputs_and_no_score_of_the_solve(titled: Recommender):
    inputs = inputs_of(titled, Playlist(title="entrenamiento"))

    assert set(inputs["solve_ratio"]) == {0}
    assert inputs["nearest_title"][0] > 0.5


def test_the_most_popular_tracks_complete_the_candidates_of_a_title_of_unknown_words(titled: Recommender):
    inputs = inputs_of(titled, Playlist(title="entrenamiento"))

    assert len(inputs["popularity"]) == LEAST
    assert min(inputs["popularity"]) > 0.5  # log of two playlists


def test_without_the_ranker_a_title_of_unknown_words_is_answered_by_popularity(titled: Recommender):
    (answer,) = titled.recommend([Playlist(title="entrenamiento")], Options(5, rank=False))

    assert answer.strategy == "popular"


def test_known_items_silence_like_titles(titled: Recommender):
    track = titled.popular("tracks", 1)[0].id
    names = ("titles_ratio", "titles_rank", "nearest_title")

    alone, beside = (inputs_of(titled, Playlist(tracks, title="xmas")) for tracks in ([], [track]))

    assert all(any(alone[name]) for name in names)
    assert not any(any(beside[name]) for name in names)


def test_a_warm_version_has_loaded_the_encoder(titled: Recommender):
    _load.cache_clear()
    _encode.cache_clear()

    titled.warm()

    assert _load.cache_info().currsize == 1


def test_answers_to_titles_alone_are_those_in_a_batch(titled: Recommender):
    playlists = [Playlist(title=title) for title in ("gym", "entrenamiento", "", "xmas", "训练", "?")]

    together = titled.recommend(playlists, Options(30))

    assert together == [titled.recommend([playlist], Options(30))[0] for playlist in playlists]


def test_excluded_tracks_are_no_candidates_of_like_titles(titled: Recommender):
    tracks = [track.id for track in titled.popular("tracks", titled.manifest.shape.tracks)]

    (some,) = titled.recommend([Playlist(title="entrenamiento", exclude=tracks[:-20])], Options(50))
    (none,) = titled.recommend([Playlist(title="entrenamiento", exclude=tracks)], Options(50))

    assert {track.id for track in some.found} == set(tracks[-20:])
    assert none.found == []


def test_a_version_of_another_encoder_is_served_without_it_and_a_warning(
    version: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    other = copy(version, tmp_path / "other")
    manifest = Manifest.read(other)
    replace(manifest, numbers={**manifest.numbers, "title_encoder": "another encoder 1.0"}).write(other)

    with caplog.at_level(logging.WARNING, "segue"):
        recommender = Recommender.open(other)
        unknown, known = recommender.recommend([Playlist(title="entrenamiento"), Playlist(title="gym")], Options(5))
        inputs = inputs_of(recommender, Playlist(title="gym"))
        recommender.close()

    (said,) = caplog.messages
    assert "another encoder 1.0" in said
    assert "segue[titles]" in said
    assert (unknown.strategy, known.strategy) == ("popular", "ranked")
    assert not any(map(any, (inputs[name] for name in ("titles_ratio", "titles_rank", "nearest_title"))))


@pytest.mark.parametrize("name", ["axes", "vectors", "offsets", "playlists"])
def test_a_damaged_file_is_refused_by_name(version: Path, tmp_path: Path, name: str):
    damaged = copy(version, tmp_path / "damaged")
    path = damaged / f"titles_{name}.npy"
    np.save(path, np.load(path)[:-1])

    with pytest.raises(CorruptModel, match=f"titles_{name}.npy differs from its manifest"):
        Recommender.open(damaged)

    manifest = Manifest.read(damaged)
    replace(manifest, files={file: facts for file, facts in manifest.files.items() if file != path.name}).write(damaged)
    amend_version(damaged, {})  # describes the file as it is
    with pytest.raises(CorruptModel, match=f"titles_{name}.npy has shape"):
        Recommender.open(damaged)
