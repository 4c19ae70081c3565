"""What is blocked is never returned, and what is left is as it would be without it."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine import Artifacts, CorruptModel, Kind, ModelClosed, Playlist, Recommender, recommender, retrieval
from service.engine.retrieval import NeighbourIndex

N_TRACKS, N_ARTISTS = 1500, 120

Questions = dict[str, Callable[[Recommender, int], list[Any]]]

# Every way to be given tracks or artists; what is asked about may be blocked too.
QUESTIONS: Questions = {
    "tracks": lambda opened, k: opened.recommend([Playlist(["t:1", "t:2"], title="jazz")], k)[0].found,
    "tracks beside others": lambda opened, k: (
        opened.recommend([Playlist(title="rock"), Playlist(["t:9"], exclude=["t:3", "t:4"]), Playlist()], k)[1].found
    ),
    "tracks of an artist": lambda opened, k: opened.recommend([Playlist(artists=["a:5"])], k)[0].found,
    "tracks by popularity": lambda opened, k: opened.recommend([Playlist(["?"], exclude=["t:7"])], k)[0].found,
    "artists": lambda opened, k: opened.recommend_artists([Playlist(["t:1"], ["a:3"])], k)[0].found,
    "artists by popularity": lambda opened, k: opened.recommend_artists([Playlist(exclude=["a:9"])], k)[0].found,
    "similar tracks": lambda opened, k: opened.similar_tracks(["t:1", "t:8"], k),
    "similar artists": lambda opened, k: opened.similar_artists(["new band 2"], k),
    "search": lambda opened, k: opened.search("red song", k),
    "search for artists": lambda opened, k: opened.search_artists("band", k),
    "popular": lambda opened, k: opened.popular(k),
    "popular artists": lambda opened, k: opened.popular_artists(k),
}


@pytest.fixture(scope="module")
def directory(write_world: Callable[..., Path]) -> Path:
    return write_world(N_TRACKS, N_ARTISTS)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    """So that a search is one of many blocks."""
    monkeypatch.setattr(retrieval, "FIRST_BLOCK_ROWS", 32)
    monkeypatch.setattr(retrieval, "BLOCK_PRODUCTS", 256)


def open_exhaustive(directory: Path) -> Recommender:
    """Open the version in *directory* such that its indexes are searched to their ends."""
    artifacts = Artifacts.open(directory)
    everything = {kind: replace(found, effort=100_000) for kind, found in artifacts.candidates.items()}
    return Recommender(replace(artifacts, candidates=everything))


@pytest.fixture(scope="module")
def opened(directory: Path) -> Iterator[Recommender]:
    """A recommender that its tests block in."""
    blocked_in = open_exhaustive(directory)
    yield blocked_in
    blocked_in.close()


@pytest.fixture(scope="module")
def whole(directory: Path) -> Iterator[dict[str, list[Any]]]:
    """All that there is to answer to each question where nothing is blocked."""
    unblocked = open_exhaustive(directory)
    yield {name: ask(unblocked, N_TRACKS + N_ARTISTS) for name, ask in QUESTIONS.items()}
    unblocked.close()


def is_blocked(found: Any, ids: set[str]) -> bool:
    artist = getattr(found, "artist", None)
    return found.id in ids or (artist is not None and artist.id in ids)


IDS = st.sets(
    st.integers(0, N_TRACKS - 1).map("t:{}".format) | st.integers(0, N_ARTISTS - 1).map("a:{}".format) | st.text(),
    max_size=40,
)
# Hypothesis likes small sets; most of a catalogue blocked is another matter.
MANY = st.tuples(st.randoms(use_true_random=False), st.floats(0, 1), st.floats(0, 0.5)).map(
    lambda drawn: {
        *drawn[0].sample([f"t:{row}" for row in range(N_TRACKS)], int(drawn[1] * N_TRACKS)),
        *drawn[0].sample([f"a:{row}" for row in range(N_ARTISTS)], int(drawn[2] * N_ARTISTS)),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(IDS | MANY, st.integers(1, 300))
def test_an_answer_is_the_longer_one_without_what_is_blocked(
    opened: Recommender, whole: dict[str, list[Any]], ids: set[str], k: int
):
    opened.block(ids)

    for name, ask in QUESTIONS.items():
        expected = [found for found in whole[name] if not is_blocked(found, ids)][:k]
        assert ask(opened, k) == expected, name


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_would_come_first_is_replaced_by_what_comes_next(
    opened: Recommender, whole: dict[str, list[Any]], name: str
):
    for n_blocked in (1, 5, 40):
        opened.block([found.id for found in whole[name][:n_blocked]])

        found = QUESTIONS[name](opened, 20)

        assert (
            found
            == [item for item in whole[name] if not is_blocked(item, {i.id for i in whole[name][:n_blocked]})][:20]
        )
        assert len(found) == 20


def test_a_blocked_artist_takes_all_of_its_tracks_along_and_no_others(opened: Recommender):
    count = opened.block(["a:7"])

    everything = opened.popular(N_TRACKS)
    assert count == 1 + N_TRACKS - len(everything) > 5
    assert all(track.artist is None or track.artist.id != "a:7" for track in everything)
    assert sum(track.artist is None for track in everything) == N_TRACKS / 10


def test_an_artist_is_blocked_by_its_id_not_by_its_name(opened: Recommender):
    assert opened.block(["new band 2", "NEW BAND 2"]) == 0
    assert opened.block(["a:2"]) > 1


def test_another_list_takes_the_place_of_the_one_before(opened: Recommender, whole: dict[str, list[Any]]):
    first, second, third = (track.id for track in whole["popular"][:3])

    assert opened.block([first, second, "unknown", second]) == 2
    assert opened.block([third]) == 1
    assert [track.id for track in opened.popular(3)][:2] == [first, second]
    assert opened.block([]) == 0
    assert opened.popular(3) == whole["popular"][:3]


def test_what_is_blocked_still_says_what_a_playlist_is_like(opened: Recommender, whole: dict[str, list[Any]]):
    opened.block(["t:1", "t:2"])

    (answer,) = opened.recommend([Playlist(["t:1", "t:2"], title="jazz")], 50)

    assert answer.unknown.tracks == []
    assert answer.found == whole["tracks"][:50]


def test_a_list_of_everything_leaves_nothing_and_one_more_leaves_one(opened: Recommender):
    everything = [f"t:{row}" for row in range(N_TRACKS)] + [f"a:{row}" for row in range(N_ARTISTS)]

    assert opened.block(everything) == N_TRACKS + N_ARTISTS
    assert [ask(opened, 10) for ask in QUESTIONS.values()] == [[]] * len(QUESTIONS)

    opened.block([id_ for id_ in everything if id_ != "a:99"])
    assert [artist.id for artist in opened.similar_artists(["a:1"], 10)] == ["a:99"]
    assert [artist.id for artist in opened.recommend_artists([Playlist(title="jazz")], 10)[0].found] == ["a:99"]


@pytest.mark.parametrize("kind", ["tracks", "artists"])
def test_a_few_blocked_neighbours_are_got_round_without_reading_every_vector(
    opened: Recommender, whole: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch, kind: Kind
):
    name = f"similar {kind}"
    monkeypatch.delattr(recommender, "search_neighbours_exactly")
    opened.block([found.id for found in whole[name][:4]])

    assert QUESTIONS[name](opened, 3) == whole[name][4:7]


def test_a_neighbourhood_that_is_blocked_as_a_whole_is_left_to_the_exact_search(
    opened: Recommender, whole: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
):
    """Asked for most of its rows, an index takes longer than looking at each of them."""
    wanted: list[int] = []
    search = NeighbourIndex.search
    monkeypatch.setattr(NeighbourIndex, "search", lambda *asked: wanted.append(asked[2]) or search(*asked))
    opened.block([found.id for found in whole["similar tracks"][:1000]])

    assert opened.similar_tracks(["t:1", "t:8"], 5) == whole["similar tracks"][1000:1005]
    assert wanted[0] == 7
    assert max(wanted) * opened.artifacts.candidates["tracks"].index.n_trees <= N_TRACKS


def test_an_index_that_finds_too_little_that_is_not_blocked_is_not_relied_on(
    directory: Path, whole: dict[str, list[Any]]
):
    """At its own effort, which is far from exhaustive, whatever part of the neighbourhood is blocked."""
    answering = Recommender.open(directory)
    for n_blocked in range(0, 1400, 50):
        blocked = {track.id for track in whole["similar tracks"][:n_blocked]}
        answering.block(blocked)
        found = answering.similar_tracks(["t:1", "t:8"], 10)
        assert len({track.id for track in found} - blocked) == 10
    answering.close()


def test_a_list_may_be_looked_up_in_another_thread_while_questions_are_answered(opened: Recommender):
    ids = [f"t:{row}" for row in range(0, N_TRACKS, 2)]
    opened.block([])
    before = opened.popular(20)
    opened.block(ids)
    after = opened.popular(20)
    opened.block([])

    with ThreadPoolExecutor() as pool:
        blocking = [pool.submit(opened.block, random.Random(i).choice((ids, []))) for i in range(50)]
        answers = [opened.popular(20) for _ in range(500)]
        counts = {done.result() for done in blocking}

    assert counts == {0, len(ids)}
    assert all(answer in (before, after) for answer in answers)


def test_one_list_takes_the_place_of_another_at_one_stroke(directory: Path):
    answers: list[list[Any]] = []

    class Asked(Recommender):
        """Asked whenever anything of it changes."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_allowed" and self._artifacts is not None:
                answers.append([*self.popular(20), *self.popular_artists(20)])

    opened = Asked.open(directory)
    opened.block(["t:1", "a:1"])
    opened.block([])

    everything, fewer, everything_again = answers
    assert everything == everything_again != fewer
    opened.close()


def test_a_list_that_cannot_be_looked_up_leaves_the_one_before(write_world: Callable[..., Path]):
    directory = write_world(50, 5)
    opened = Recommender.open(directory)
    opened.block(["t:1"])
    (directory / "catalogue.sqlite").rename(directory / "gone")

    with pytest.raises(CorruptModel):
        opened.block(["t:2"])

    assert {track.id for track in opened.popular(50)} == {f"t:{row}" for row in range(50)} - {"t:1"}
    opened.close()
    with pytest.raises(ModelClosed):
        opened.block(["t:1"])
    with pytest.raises(ModelClosed):
        opened.block([])


@pytest.mark.parametrize(("n_tracks", "n_artists"), [(0, 5), (1, 1), (6, 0), (1, 0)])
def test_worlds_without_tracks_or_without_artists_can_be_blocked_too(
    write_world: Callable[..., Path], n_tracks: int, n_artists: int
):
    opened = Recommender.open(write_world(n_tracks, n_artists))

    assert opened.block(["t:0", "a:0"]) == (n_tracks > 0) + (n_artists > 0)
    assert len(opened.popular(9)) == max(n_tracks - 1, 0)
    assert len(opened.recommend_artists([Playlist(title="jazz")], 9)[0].found) == max(n_artists - 1, 0)
    opened.close()
