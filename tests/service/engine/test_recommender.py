"""The story of the engine on a planted world."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine import (
    KINDS,
    Item,
    Kind,
    Options,
    Playlist,
    PlaylistError,
    Plays,
    Recommendation,
    Recommender,
    ScoredItem,
    UnknownSeed,
)
from trainer.synthetic.draws import N_SCENES
from trainer.synthetic.names import GENRES, artist_name
from trainer.synthetic.playlists import World

WORLD = World(1200, seed=1)
JAZZ = {
    track["track_uri"]
    for playlist in (playlist for number in (0, 1) for playlist in json.loads(WORLD.slice(number))["playlists"])
    if "jazz" in playlist["name"].lower()
    for track in playlist["tracks"]
}

TRACKS = np.arange(N_SCENES * WORLD.scene_size)
JAZZ_ARTISTS = {
    artist_name(artist)
    for artist, scene in zip(WORLD.artists(TRACKS).tolist(), WORLD.scenes(TRACKS).tolist(), strict=True)
    if WORLD.genre(scene) == "jazz"
}


def continued(recommender: Recommender, playlist: Playlist, k: int, kind: Kind = "tracks") -> list[ScoredItem]:
    return recommender.recommend([playlist], Options(k, kind))[0].found


def ids(recommender: Recommender, playlist: Playlist, k: int = 20) -> list[str]:
    return [track.id for track in continued(recommender, playlist, k)]


def share(found: list[str], wanted: set[str]) -> float:
    return sum(id_ in wanted for id_ in found) / len(found)


def test_a_title_alone_finds_its_genre(recommender: Recommender):
    answer = recommender.recommend([Playlist(title="Late Night Jazz")], Options(20))[0]

    assert answer.strategy == "ranked"
    assert share([track.id for track in answer.found], JAZZ) > 0.9


def test_seed_tracks_find_their_genre(recommender: Recommender):
    seeds = ids(recommender, Playlist(title="bebop"), 6)

    assert share(ids(recommender, Playlist(tracks=seeds)), JAZZ) > 0.9


def test_an_artist_alone_finds_its_genre(recommender: Recommender):
    track = continued(recommender, Playlist(title="jazz"), 1)[0]
    assert track.artist is not None

    by_id, by_name = (Playlist(artists=[name]) for name in (track.artist.id, track.artist.name.upper()))

    assert share(ids(recommender, by_id), JAZZ) > 0.8
    assert ids(recommender, by_id) == ids(recommender, by_name)


def test_an_unknown_playlist_is_listed_and_answered_by_popularity(recommender: Recommender):
    playlist = Playlist(["nope", "nope", "a\0b", "🎵"], ["nobody"], "qqqqqqq")

    answer = recommender.recommend([playlist], Options(7))[0]

    assert answer.strategy == "popular"
    assert (answer.unknown.tracks, answer.unknown.artists, answer.unknown.title) == (
        ["nope", "a\0b", "🎵"],
        ["nobody"],
        True,
    )
    assert [track.id for track in answer.found] == [track.id for track in recommender.popular("tracks", 7)]
    assert [track.score for track in answer.found] == [track.popularity for track in recommender.popular("tracks", 7)]


def test_a_title_of_punctuation_was_given_and_is_not_known(recommender: Recommender):
    assert recommender.unknown([Playlist(title="!!!"), Playlist(title=""), Playlist(title="Jazz")]) == [
        *recommender.unknown([Playlist(title="???")]),
        *recommender.unknown([Playlist()]),
        *recommender.unknown([Playlist()]),
    ]


def test_the_best_come_first(recommender: Recommender):
    scores = [track.score for track in continued(recommender, Playlist(title="techno"), 200)]

    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("rank", [True, False])
def test_exclusions_are_left_out_and_replaced(recommender: Recommender, rank: bool):
    def first(k: int, exclude: Sequence[str] = ()) -> list[str]:
        (answer,) = recommender.recommend([Playlist(title="folk", exclude=exclude)], Options(k, rank=rank))
        assert answer.strategy == ("ranked" if rank else "fold-in")
        return [track.id for track in answer.found]

    best = first(30)

    assert first(20, exclude=best[:10]) == best[10:]


def test_exclusions_leave_the_popular_answer_whole_too(recommender: Recommender):
    best = ids(recommender, Playlist(), 30)

    assert ids(recommender, Playlist(exclude=best[:10]), 20) == best[10:]


def test_exclusions_that_leave_fewer_than_k_tracks_are_answered_with_those(recommender: Recommender):
    everything = [track.id for track in recommender.popular("tracks", recommender.manifest.shape.tracks)]

    for title in ("", "jazz"):
        assert set(ids(recommender, Playlist(title=title, exclude=everything[3:]), 100)) == set(everything[:3])
        assert ids(recommender, Playlist(title=title, exclude=everything), 100) == []


def test_a_seed_given_twice_counts_once(recommender: Recommender):
    seeds = ids(recommender, Playlist(title="metal"), 3)

    assert ids(recommender, Playlist(seeds)) == ids(recommender, Playlist([*seeds, *seeds]))


@pytest.mark.parametrize("n_seeds", [5, 150])
def test_the_order_of_seeds_does_not_matter(recommender: Recommender, n_seeds: int):
    seeds = ids(recommender, Playlist(title="metal"), n_seeds)

    assert ids(recommender, Playlist(seeds)) == ids(recommender, Playlist(seeds[::-1]))


def test_no_playlists_are_answered_with_no_answers(recommender: Recommender):
    assert recommender.recommend([], Options(10)) == []


KNOWN = sorted(JAZZ)[:50]
IDS = st.lists(st.sampled_from(KNOWN) | st.text(max_size=8), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Playlist,
            tracks=IDS,
            artists=st.lists(st.text(max_size=8) | st.sampled_from(["golden harbors", "Silver Stars"]), max_size=4),
            title=st.text(max_size=20) | st.sampled_from([*GENRES, *(genre.upper() + "!" for genre in GENRES)]),
            exclude=IDS,
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 500),
)
def test_an_answer_is_never_empty_and_never_a_seed(recommender: Recommender, playlists: list[Playlist], k: int):
    answers = recommender.recommend(playlists, Options(k))

    for playlist, answer in zip(playlists, answers, strict=True):
        found = [track.id for track in answer.found]
        assert len(found) == k
        assert len(set(found)) == k
        assert not set(found) & {*playlist.tracks, *playlist.exclude}
        scores = [track.score for track in answer.found]
        assert scores == sorted(scores, reverse=True)
        assert answer.strategy == "ranked" or not set(playlist.tracks) & set(KNOWN)


def test_neighbours_of_a_track_are_of_its_genre_and_not_itself(recommender: Recommender):
    seed = ids(recommender, Playlist(title="jazz"), 1)

    found = recommender.similar("tracks", seed, 20)

    assert len(found) == 20
    assert share([track.id for track in found], JAZZ) > 0.8
    assert seed[0] not in {track.id for track in found}
    assert all(-1 <= track.score <= 1 for track in found)
    assert [track.score for track in found] == sorted((track.score for track in found), reverse=True)


def test_neighbours_of_several_tracks_are_those_of_all_together(recommender: Recommender):
    seeds = ids(recommender, Playlist(title="jazz"), 4)

    found = {track.id for track in recommender.similar("tracks", seeds, 20)}

    assert len(found) == 20
    assert not found & set(seeds)
    assert recommender.similar("tracks", seeds, 20) == recommender.similar("tracks", [*seeds[::-1], seeds[0]], 20)


def test_neighbours_of_an_artist_share_its_genre(recommender: Recommender):
    jazz = continued(recommender, Playlist(title="jazz"), 50)
    artists = [track.artist.name for track in jazz if track.artist is not None]

    found = [artist.name for artist in recommender.similar("artists", [artists[0].lower()], 10)]

    assert len(found) == 10
    assert artists[0] not in found
    assert share(found, JAZZ_ARTISTS) > 0.5  # of 20 genres


def test_unknown_seeds_of_neighbours_are_refused_by_name(recommender: Recommender):
    with pytest.raises(UnknownSeed, match="'nope' and 1 more"):
        recommender.similar("tracks", ["nope", "nor this"], 5)
    with pytest.raises(UnknownSeed, match="artist 'nobody'"):
        recommender.similar("artists", ["nobody"], 5)
    with pytest.raises(PlaylistError, match="at least one track"):
        recommender.similar("tracks", [], 5)


def test_more_neighbours_than_there_are_give_all_there_are(recommender: Recommender):
    shape = recommender.manifest.shape
    seed = recommender.popular("tracks", 1)[0]
    assert seed.artist is not None

    assert len(recommender.similar("tracks", [seed.id], shape.tracks + 5)) == shape.tracks - 1
    assert len(recommender.similar("artists", [seed.artist.id], shape.artists + 5)) == shape.artists - 1


def test_a_playlist_is_continued_with_artists_of_its_genre(recommender: Recommender):
    (answer,) = recommender.recommend([Playlist(title="late night jazz")], Options(10, "artists"))

    of_jazz = {track.artist.name for track in continued(recommender, Playlist(title="jazz"), 300) if track.artist}
    assert answer.strategy == "fold-in"
    assert len({artist.id for artist in answer.found}) == 10
    assert share([artist.name for artist in answer.found], of_jazz) > 0.8


def test_neither_artists_that_are_named_nor_those_of_the_tracks_come_back(recommender: Recommender):
    tracks = recommender.popular("tracks", 5)
    of_tracks = {track.artist.id for track in tracks if track.artist}
    named = [artist for artist in recommender.popular("artists", 20) if artist.id not in of_tracks][:3]
    playlist = Playlist(tracks=[track.id for track in tracks], artists=[artist.name for artist in named])

    (answer,) = recommender.recommend([playlist], Options(200, "artists"))

    assert len(answer.found) == 200
    assert not {artist.id for artist in answer.found} & (of_tracks | {artist.id for artist in named})


def test_artists_are_excluded_by_id_or_name(recommender: Recommender):
    first, second = continued(recommender, Playlist(title="metal"), 2, "artists")

    others = continued(recommender, Playlist(title="metal", exclude=[first.id, second.name]), 20, "artists")
    assert len(others) == 20
    assert not {artist.id for artist in others} & {first.id, second.id}


def test_artists_for_nothing_known_are_the_popular_ones(recommender: Recommender):
    (answer,) = recommender.recommend([Playlist(tracks=["?"], artists=["nobody"])], Options(5, "artists"))

    assert answer.strategy == "popular"
    assert [(artist.id, artist.score) for artist in answer.found] == [
        (artist.id, artist.popularity) for artist in recommender.popular("artists", 5)
    ]
    assert answer.unknown.artists == ["nobody"]


def test_plays_say_how_much_an_artist_counts(recommender: Recommender):
    jazz, metal = (continued(recommender, Playlist(title=title), 1, "artists")[0].name for title in ("jazz", "metal"))

    def both(**plays: int) -> list[str]:
        artists = [Plays(jazz, plays["jazz"]), Plays(metal, plays["metal"])]
        return [artist.id for artist in continued(recommender, Playlist(artists=artists), 10, "artists")]

    alone = {artist.id for artist in continued(recommender, Playlist(artists=[jazz]), 10, "artists")}
    assert share(both(jazz=1000, metal=1), alone) > share(both(jazz=1, metal=1000), alone)


def test_an_artist_given_twice_counts_once_by_its_highest_count(recommender: Recommender):
    artist = recommender.popular("artists", 1)[0]

    once, twice = recommender.recommend(
        [
            Playlist(artists=[Plays(artist.name, 9)]),
            Playlist(artists=[Plays(artist.id, 3), artist.name, Plays(artist.name, 9), Plays(artist.name, 2)]),
        ],
        Options(10, "artists"),
    )
    assert once.found == twice.found


def test_artists_are_found_by_words_of_their_name(recommender: Recommender):
    name = recommender.popular("artists", 1)[0].name

    found = recommender.search("artists", name.lower(), 5)
    assert found[0].name == name
    assert [artist.popularity for artist in found] == sorted((a.popularity for a in found), reverse=True)


def test_tracks_are_recommended_by_default(recommender: Recommender):
    assert recommender.kind == "tracks"


@pytest.mark.parametrize("kind", ["tracks", "artists"])
def test_an_audit_counts_the_true_neighbours_in_the_answer(recommender: Recommender, kind: Kind):
    """The audit counts the answers that are among the nearest by brute force, up to rounding."""
    catalogue, rows = recommender.artifacts.catalogue, recommender.artifacts.candidates[kind].rows
    ids = catalogue.ids(kind)
    vectors = recommender.artifacts.vectors[rows].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    with ThreadPoolExecutor() as pool:
        for seeds in ([5], [0, 3], [100, 7, 100], [len(ids) - 1]):
            cosines = vectors @ vectors[sorted({*seeds})].sum(axis=0)
            cosines /= np.linalg.norm(vectors[sorted({*seeds})].sum(axis=0))
            cosines[seeds] = -np.inf
            least = np.sort(cosines)[-30] - 1e-5
            near = {ids[row] for row in np.flatnonzero(cosines >= least)}
            named = [ids[row] for row in seeds]

            audit = recommender.neighbour_audit(kind, named, 30)

            found = {answer.id for answer in recommender.similar(kind, named, 30)}
            assert pool.submit(audit).result() == (30, len(found & near))


def test_an_audit_refuses_the_seeds_that_the_question_refuses(recommender: Recommender):
    with pytest.raises(UnknownSeed, match="'nope'"):
        recommender.neighbour_audit("tracks", ["nope"], 5)
    with pytest.raises(PlaylistError, match="at least one artist"):
        recommender.neighbour_audit("artists", [], 5)


@pytest.mark.parametrize(("n_tracks", "n_artists"), [(60, 9), (0, 5), (6, 0), (1, 1), (1, 0), (0, 1)])
def test_worlds_of_any_size_can_be_warmed_and_answer_as_before(
    write_world: Callable[..., Path], n_tracks: int, n_artists: int
):
    opened = Recommender.open(write_world(n_tracks, n_artists))
    questions = [Playlist(title="jazz"), Playlist()]
    before = (opened.recommend(questions, Options(20)), opened.recommend(questions, Options(20, "artists")))

    opened.warm()

    assert (opened.recommend(questions, Options(20)), opened.recommend(questions, Options(20, "artists"))) == before
    opened.block(["t:0", "a:0"])
    opened.warm()
    opened.close()


def test_warming_asks_questions_of_every_kind(write_world: Callable[..., Path]):
    asked: list[tuple[str, Kind]] = []

    class Asked(Recommender):
        """Notes its questions."""

        def recommend(self, playlists: Sequence[Playlist], options: Options) -> list[Recommendation]:
            asked.append(("recommend", options.kind or self.kind))
            return super().recommend(playlists, options)

        def similar(self, kind: Kind, seeds: Sequence[str], k: int) -> list[ScoredItem]:
            asked.append(("similar", kind))
            return super().similar(kind, seeds, k)

        def search(self, kind: Kind, text: str, k: int) -> list[Item]:
            asked.append(("search", kind))
            return super().search(kind, text, k)

    opened = Asked.open(write_world(60, 9))
    opened.warm()
    opened.close()

    for question in ("recommend", "similar", "search"):
        assert all(asked.count((question, kind)) >= 5 for kind in KINDS)
