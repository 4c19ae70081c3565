"""A blocked item is never returned; the rest of an answer stays as it is without a blocklist."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine import (
    KINDS,
    Artifacts,
    CorruptModel,
    Kind,
    ModelClosed,
    Options,
    Playlist,
    Recommender,
    ScoredItem,
    unit,
)

N_TRACKS, N_ARTISTS = 5000, 120  # tracks for two blocks of an exact search
SEEDS: dict[Kind, list[str]] = {"tracks": ["t:1", "t:8"], "artists": ["new band 2"]}
DECOYS = 10

Questions = dict[str, Callable[[Recommender, int], list[Any]]]


def continued(opened: Recommender, k: int, *playlists: Playlist, kind: Kind = "tracks") -> list[ScoredItem]:
    """The continuation of the first of *playlists*."""
    return opened.recommend(playlists, Options(k, kind))[0].found


# Every way to get tracks or artists. The seeds may be blocked too.
QUESTIONS: Questions = {
    "tracks": lambda opened, k: continued(opened, k, Playlist(["t:1", "t:2"], title="jazz")),
    "tracks beside others": lambda opened, k: continued(
        opened, k, Playlist(["t:9"], exclude=["t:3", "t:4"]), Playlist(title="rock"), Playlist()
    ),
    "tracks of an artist": lambda opened, k: continued(opened, k, Playlist(artists=["a:5"])),
    "tracks by popularity": lambda opened, k: continued(opened, k, Playlist(["?"], exclude=["t:7"])),
    "artists": lambda opened, k: continued(opened, k, Playlist(["t:1"], ["a:3"]), kind="artists"),
    "artists by popularity": lambda opened, k: continued(opened, k, Playlist(exclude=["a:9"]), kind="artists"),
    "similar tracks": lambda opened, k: opened.similar("tracks", SEEDS["tracks"], k),
    "similar artists": lambda opened, k: opened.similar("artists", SEEDS["artists"], k),
    "search": lambda opened, k: opened.search("tracks", "red song", k),
    "search for artists": lambda opened, k: opened.search("artists", "band", k),
    "popular": lambda opened, k: opened.popular("tracks", k),
    "popular artists": lambda opened, k: opened.popular("artists", k),
}


@pytest.fixture(scope="module")
def directory(write_world: Callable[..., Path]) -> Path:
    return write_world(N_TRACKS, N_ARTISTS)


def open_exhaustive(directory: Path) -> Recommender:
    """Open the version in *directory* with an effort that searches its indexes to their ends."""
    artifacts = Artifacts.open(directory)
    everything = {kind: replace(found, effort=100_000) for kind, found in artifacts.candidates.items()}
    return Recommender(replace(artifacts, candidates=everything))


@pytest.fixture(scope="module")
def opened(directory: Path) -> Iterator[Recommender]:
    """A recommender in which tests block items."""
    blocked_in = open_exhaustive(directory)
    yield blocked_in
    blocked_in.close()


@pytest.fixture(scope="module")
def whole(directory: Path) -> Iterator[dict[str, list[Any]]]:
    """The longest answer to each question while nothing is blocked."""
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
# Hypothesis prefers small sets; these block most of a catalogue. It takes long to draw each id by itself.
MANY = st.tuples(st.integers(0, 10**9).map(random.Random), st.floats(0, 1), st.floats(0, 0.5)).map(
    lambda drawn: {
        *drawn[0].sample([f"t:{row}" for row in range(N_TRACKS)], int(drawn[1] * N_TRACKS)),
        *drawn[0].sample([f"a:{row}" for row in range(N_ARTISTS)], int(drawn[2] * N_ARTISTS)),
    }
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(IDS | MANY, st.integers(1, 300))
def test_an_answer_is_the_longest_answer_without_the_blocked_items(
    opened: Recommender, whole: dict[str, list[Any]], ids: set[str], k: int
):
    opened.block(ids)

    for name, ask in QUESTIONS.items():
        expected = [found for found in whole[name] if not is_blocked(found, ids)][:k]
        assert ask(opened, k) == expected, name


@pytest.mark.parametrize("name", QUESTIONS)
def test_blocked_items_at_the_top_are_replaced_by_the_next_ones(
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

    everything = opened.popular("tracks", N_TRACKS)
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
    assert [track.id for track in opened.popular("tracks", 3)][:2] == [first, second]
    assert opened.block([]) == 0
    assert opened.popular("tracks", 3) == whole["popular"][:3]


def test_blocked_seeds_still_count(opened: Recommender, whole: dict[str, list[Any]]):
    opened.block(["t:1", "t:2"])

    (answer,) = opened.recommend([Playlist(["t:1", "t:2"], title="jazz")], Options(50))

    assert answer.unknown.tracks == []
    assert answer.found == whole["tracks"][:50]


def test_a_list_of_everything_leaves_nothing_and_one_more_leaves_one(opened: Recommender):
    everything = [f"t:{row}" for row in range(N_TRACKS)] + [f"a:{row}" for row in range(N_ARTISTS)]

    assert opened.block(everything) == N_TRACKS + N_ARTISTS
    assert [ask(opened, 10) for ask in QUESTIONS.values()] == [[]] * len(QUESTIONS)

    opened.block([id_ for id_ in everything if id_ != "a:99"])
    assert [artist.id for artist in opened.similar("artists", ["a:1"], 10)] == ["a:99"]
    assert [artist.id for artist in continued(opened, 10, Playlist(title="jazz"), kind="artists")] == ["a:99"]


@pytest.fixture(scope="module")
def misled(directory: Path) -> Iterator[Recommender]:
    """
    A recommender whose index tells itself apart from an exact search.

    The index knows the vectors of the files. In memory some tracks and artists lie elsewhere: exactly where the seeds
    of the tests lie, so that an exact search finds them first, and far from them in the index.
    """
    artifacts = open_exhaustive(directory).artifacts
    vectors = artifacts.vectors.copy()
    for kind, seeds in SEEDS.items():
        rows = artifacts.candidates[kind].rows
        of_kind, (known, _) = vectors[rows], artifacts.catalogue.rows(kind, seeds)
        query = unit(of_kind[known]).sum(axis=0)
        of_kind[np.argsort(unit(of_kind) @ query)[:DECOYS]] = query
    opened = Recommender(replace(artifacts, vectors=vectors))
    yield opened
    opened.close()


def decoys(misled: Recommender, kind: Kind) -> set[str]:
    """The ids that an exact search finds first."""
    misled.block([])
    everything = misled.similar(kind, SEEDS[kind], N_TRACKS)
    return {found.id for found in everything if found.score > 0.9999}


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_blocked_neighbours_are_got_round_without_reading_every_vector(
    misled: Recommender, whole: dict[str, list[Any]], kind: Kind
):
    exact, nearest = decoys(misled, kind), [found.id for found in whole[f"similar {kind}"]]
    misled.block(nearest[:4])

    found = [item.id for item in misled.similar(kind, SEEDS[kind], 3)]

    assert len(exact) == DECOYS
    assert found == nearest[4:7]


def test_a_neighbourhood_that_is_blocked_as_a_whole_is_left_to_the_exact_search(
    misled: Recommender, whole: dict[str, list[Any]]
):
    """To get most of its rows from an index takes longer than to look at each of them."""
    exact, nearest = decoys(misled, "tracks"), [found.id for found in whole["similar tracks"]]
    misled.block(nearest[:1000])

    assert {item.id for item in misled.similar("tracks", SEEDS["tracks"], 5)} <= exact


def test_an_index_that_finds_too_few_allowed_items_is_not_relied_on(directory: Path, whole: dict[str, list[Any]]):
    """The index is searched with its own effort, which is far from exhaustive."""
    answering = Recommender.open(directory)
    for n_blocked in range(0, 1400, 50):
        blocked = {track.id for track in whole["similar tracks"][:n_blocked]}
        answering.block(blocked)
        found = answering.similar("tracks", ["t:1", "t:8"], 10)
        assert len({track.id for track in found} - blocked) == 10
    answering.close()


def test_a_list_may_be_looked_up_in_another_thread_while_questions_are_answered(opened: Recommender):
    ids = [f"t:{row}" for row in range(0, N_TRACKS, 2)]
    opened.block([])
    before = opened.popular("tracks", 20)
    opened.block(ids)
    after = opened.popular("tracks", 20)
    opened.block([])

    with ThreadPoolExecutor() as pool:
        blocking = [pool.submit(opened.block, random.Random(i).choice((ids, []))) for i in range(50)]
        answers = [opened.popular("tracks", 20) for _ in range(500)]
        counts = {done.result() for done in blocking}

    assert counts == {0, len(ids)}
    assert all(answer in (before, after) for answer in answers)


def test_one_list_takes_the_place_of_another_at_one_stroke(directory: Path):
    answers: list[list[Any]] = []

    class Asked(Recommender):
        """A recommender that is asked whenever one of its attributes changes."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            with suppress(AttributeError, ModelClosed):  # while it is made, and after it was closed
                answers.append([*self.popular("tracks", 20), *self.popular("artists", 20)])

    opened = Asked.open(directory)
    opened.block(["t:1", "a:1"])
    opened.block([])

    everything, fewer, everything_again = answers
    assert everything == everything_again != fewer
    opened.close()


def test_a_blocklist_that_cannot_be_looked_up_leaves_the_one_before(write_world: Callable[..., Path]):
    directory = write_world(50, 5)
    opened = Recommender.open(directory)
    opened.block(["t:1"])
    (directory / "catalogue.sqlite").rename(directory / "gone")

    with pytest.raises(CorruptModel):
        opened.block(["t:2"])

    assert {track.id for track in opened.popular("tracks", 50)} == {f"t:{row}" for row in range(50)} - {"t:1"}
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
    assert len(opened.popular("tracks", 9)) == max(n_tracks - 1, 0)
    assert len(continued(opened, 9, Playlist(title="jazz"), kind="artists")) == max(n_artists - 1, 0)
    opened.close()
