"""Controls choose among the items that may be recommended, and never fewer than there are."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine import Controls, Options, Playlist, Recommendation, Recommender
from service.engine.controls import Choice, Facts
from service.engine.exact import RankingVectors
from service.engine.recommender import SHORTLIST
from service.engine.records import MappedRecords
from service.engine.text import song_name

GOLDEN = Path(__file__).parents[2] / "golden"
ROOT = np.sqrt(np.float32(0.5))
# Rows 0 and 1 point the same way, 2 away from them, and 3 between.
VECTORS = np.array([[1, 0], [1, 0], [0, 1], [ROOT, ROOT]], np.float32)
NAMES = ["Help!", "Help! - Live at the Bowl", "Yesterday", "Yesterday (Remastered 2009)"]
SCORES = np.array([4, 3, 2, 1], np.float32)


def facts_of(artists: Sequence[int] | None = (0, 0, 1, 1), popularity: Sequence[int] = (1, 10, 100, 1000)) -> Facts:
    records = MappedRecords.of(
        [{"id": str(row), "name": name} for row, name in enumerate(NAMES)], np.array(popularity, np.int32)
    )
    return Facts(
        RankingVectors.of(VECTORS),
        np.argsort(np.argsort(-np.array(popularity))).astype(np.int32),
        None if artists is None else np.array(artists, np.int32),
        records,
    )


def chosen(controls: Controls, k: int = 4, facts: Facts | None = None, seeds: Sequence[int] = ()) -> list[int]:
    choice = Choice(controls, facts or facts_of(), k, seeds)
    choice.take(np.arange(len(SCORES)), SCORES)
    return choice.rows


def test_without_controls_the_highest_scores_are_chosen():
    choice = Choice(Controls(max_per_artist=9), facts_of(), 3, [])

    choice.take(np.array([3, 0, 2, 1]), SCORES[[3, 0, 2, 1]])

    assert (choice.rows, choice.scores, choice.is_full) == ([0, 1, 2], [4.0, 3.0, 2.0], True)


def test_of_equal_scores_the_more_popular_is_chosen():
    for controls in (Controls(), Controls(diversity=0.01)):
        choice = Choice(controls, facts_of(), 2, [])
        choice.take(np.arange(4), np.ones(4, np.float32))
        assert choice.rows[0] == 3


def test_no_artist_has_more_tracks_than_wanted():
    assert chosen(Controls(max_per_artist=1)) == [0, 2]
    assert chosen(Controls(max_per_artist=2)) == [0, 1, 2, 3]


def test_tracks_without_an_artist_are_of_no_artist():
    assert chosen(Controls(max_per_artist=1), facts=facts_of((-1, -1, 0, 0))) == [0, 1, 2]


def test_one_recording_of_each_song_is_chosen():
    assert chosen(Controls(distinct=True)) == [0, 2]
    assert chosen(Controls(distinct=True), facts=facts_of((0, 1, 2, 2))) == [0, 1, 2]  # a cover is another song


def test_a_recording_of_a_song_of_the_playlist_is_not_chosen():
    assert chosen(Controls(distinct=True), seeds=[1]) == [2]


def test_artists_have_no_songs_and_no_artists():
    assert chosen(Controls(distinct=True, max_per_artist=1), facts=facts_of(None), seeds=[0]) == [0, 1, 2, 3]


def test_popularity_lifts_well_known_items_and_its_negative_lowers_them():
    assert chosen(Controls(popularity=1.0), 2, facts_of(popularity=(1, 1, 1, 10**6))) == [0, 3]
    assert chosen(Controls(popularity=-1.0), 1, facts_of(popularity=(10**6, 1, 10**6, 10**6))) == [1]


def test_diversity_puts_an_item_like_the_first_behind_one_that_is_not():
    assert chosen(Controls(diversity=0.01), 2) == [0, 1]
    assert chosen(Controls(diversity=1.0), 2) == [0, 2]


def test_diversity_regards_items_of_earlier_lists():
    choice = Choice(Controls(diversity=1.0), facts_of(), 2, [])
    choice.take(np.array([0]), np.ones(1, np.float32))

    choice.take(np.array([1, 2]), np.array([3, 2.9], np.float32))

    assert choice.rows == [0, 2]


def test_a_draw_is_the_same_for_a_seed_and_differs_between_seeds():
    draws = {seed: tuple(chosen(Controls(vary=seed))) for seed in range(50)}

    assert draws == {seed: tuple(chosen(Controls(vary=seed))) for seed in range(50)}
    assert len(set(draws.values())) > 1
    firsts = Counter(draw[0] for draw in draws.values())
    assert firsts.most_common(1)[0][0] == 0  # near the top


def test_an_exclusion_does_not_shuffle_the_rest_of_a_draw(recommender: Recommender):
    options = Options(30, controls=Controls(vary=3))
    (whole,) = recommender.recommend([Playlist(title="jazz")], options)

    (rest,) = recommender.recommend([Playlist(title="jazz", exclude=whole.found.ids[:1])], options)

    assert rest.found.ids[:25] == whole.found.ids[1:26]


def artists_of(answer: Recommendation) -> list[str]:
    return [track.artist.id for track in answer.found if track.artist]


@pytest.mark.parametrize("rank", [True, False])
@pytest.mark.parametrize("title", ["jazz", ""])
def test_an_answer_is_whole_although_its_candidates_are_of_few_artists(
    recommender: Recommender, rank: bool, title: str
):
    n_artists = len({track.artist.id for track in recommender.popular("tracks", 10**6) if track.artist})

    (answer,) = recommender.recommend(
        [Playlist(title=title)], Options(n_artists, rank=rank, controls=Controls(max_per_artist=1))
    )

    assert len(artists_of(answer)) == len(set(artists_of(answer))) == n_artists


def test_discovery_leaves_out_the_artists_of_the_playlist(recommender: Recommender):
    tracks = [track for track in recommender.popular("tracks", 8) if track.artist]
    named = recommender.popular("artists", 30)[-1]
    playlist = Playlist([track.id for track in tracks], [named.name])

    for rank in (True, False):
        (answer,) = recommender.recommend([playlist], Options(300, rank=rank, controls=Controls(discover=True)))
        assert len(answer.found) == 300
        assert not set(artists_of(answer)) & {named.id, *(track.artist.id for track in tracks if track.artist)}


def test_dislikes_are_never_in_an_answer_and_move_it_away(recommender: Recommender):
    liked = [track.id for track in recommender.recommend([Playlist(title="jazz")], Options(6))[0].found]
    (before,) = recommender.recommend([Playlist(liked)], Options(20))
    track, artist = before.found[0], before.found[1].artist
    assert artist is not None
    playlist = Playlist(liked, disliked_tracks=[track.id, "nope"], disliked_artists=[artist.name, "nobody"])

    (answer,) = recommender.recommend([playlist], Options(20))

    assert track.id not in [found.id for found in answer.found]
    assert artist.id not in artists_of(answer)
    assert (answer.unknown.tracks, answer.unknown.artists) == (["nope"], ["nobody"])
    solved = recommender.fold_in([Playlist(liked), playlist])
    rows, _ = recommender.artifacts.catalogue.rows("tracks", [track.id])
    products = solved @ recommender.artifacts.vectors[rows[0]]
    assert abs(products[1]) < abs(products[0])


def test_disliked_artists_are_not_recommended(recommender: Recommender):
    first = recommender.recommend([Playlist(title="jazz")], Options(2, "artists"))[0].found[0]

    (answer,) = recommender.recommend([Playlist(title="jazz", disliked_artists=[first.id])], Options(50, "artists"))

    assert len(answer.found) == 50
    assert first.id not in [artist.id for artist in answer.found]


def test_only_the_wanted_items_are_recommended_in_their_order(recommender: Recommender):
    among = [track.id for track in recommender.popular("tracks", 40)]

    for rank in (True, False):
        for title in ("jazz", ""):
            playlist = Playlist(title=title, among=[*among, "nope"], exclude=among[:3])
            (answer,) = recommender.recommend([playlist], Options(50, rank=rank))
            assert {track.id for track in answer.found} == set(among[3:])
            scores = [track.score for track in answer.found]
            assert scores == sorted(scores, reverse=True)
    (whole,) = recommender.recommend([Playlist(title="jazz")], Options(10**4, rank=False))
    (part,) = recommender.recommend([Playlist(title="jazz", among=among)], Options(40, rank=False))
    assert part.found == [track for track in whole.found if track.id in among]
    assert recommender.recommend([Playlist(title="jazz", among=[])], Options(5))[0].found == []


CONTROLS = st.builds(
    Controls,
    max_per_artist=st.none() | st.integers(1, 3),
    distinct=st.booleans(),
    discover=st.booleans(),
    popularity=st.sampled_from([0.0, -1.0, 0.5]),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    vary=st.none() | st.integers(0, 2**53),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    controls=CONTROLS,
    title=st.sampled_from(["", "jazz", "metal", "folk"]),
    rank=st.booleans(),
    k=st.integers(1, 120),
)
def test_any_mixture_gives_all_that_pass_up_to_k_and_no_others(
    recommender: Recommender, data: st.DataObject, controls: Controls, title: str, rank: bool, k: int
):
    catalogue = list(recommender.popular("tracks", 10**6))
    among = data.draw(st.none() | st.lists(st.sampled_from(catalogue), max_size=60, unique_by=lambda each: each.id))
    some = st.lists(st.sampled_from(catalogue[:300]), max_size=6, unique_by=lambda each: each.id)
    seeds, excluded, disliked = data.draw(some), data.draw(some), data.draw(some)
    artists = data.draw(st.lists(st.sampled_from(recommender.popular("artists", 20)), max_size=3))
    blocked = data.draw(st.lists(st.sampled_from(catalogue[:300]), max_size=6))
    playlist = Playlist(
        [track.id for track in seeds],
        title=title,
        exclude=[track.id for track in excluded],
        disliked_tracks=[track.id for track in disliked],
        disliked_artists=[artist.id for artist in artists],
        among=None if among is None else [track.id for track in among],
    )
    recommender.block([track.id for track in blocked])
    try:
        (answer,) = recommender.recommend([playlist], Options(k, rank=rank, controls=controls))
    finally:
        recommender.block([])

    barred = {track.id for track in (*seeds, *excluded, *disliked, *blocked)}
    barred_artists = {artist.id for artist in artists}
    if controls.discover:
        barred_artists |= {track.artist.id for track in seeds if track.artist}
    passing = [
        track
        for track in (catalogue if among is None else among)
        if track.id not in barred and not (track.artist and track.artist.id in barred_artists)
    ]
    found = [track.id for track in answer.found]
    assert len(found) == len(set(found))
    assert set(found) <= {track.id for track in passing}
    songs = {(track.artist.id if track.artist else "", song_name(track.name)) for track in passing}
    if controls.distinct:
        held = {(track.artist.id if track.artist else "", song_name(track.name)) for track in seeds}
        chosen = [(track.artist.id if track.artist else "", song_name(track.name)) for track in answer.found]
        assert len(chosen) == len(set(chosen))
        assert not set(chosen) & held
        if controls.max_per_artist is None:
            assert len(found) == min(k, len(songs - held))
    else:
        most = controls.max_per_artist or 10**6
        counts = Counter(track.artist.id if track.artist else track.id for track in passing)
        assert len(found) == min(k, sum(min(most, n) for n in counts.values()))
        assert max(Counter(artists_of(answer)).values(), default=0) <= most


def test_an_answer_with_controls_alone_is_the_answer_in_a_batch(recommender: Recommender):
    playlists = [Playlist(title="jazz"), Playlist(), Playlist(title="metal", among=["nope"]), Playlist(title="folk")]
    options = Options(30, controls=Controls(max_per_artist=1, diversity=0.5, vary=3))

    together = recommender.recommend(playlists, options)

    assert together == [recommender.recommend([playlist], options)[0] for playlist in playlists]


@pytest.mark.parametrize("number", [2, 3, 4])
def test_versions_of_older_formats_have_controls_too(number: int):
    opened = Recommender.open(GOLDEN / f"v{number}" / "model")
    controls = Controls(max_per_artist=1, distinct=True, discover=True, popularity=0.5, diversity=0.5, vary=1)

    (answer,) = opened.recommend([Playlist(title="jazz")], Options(20, controls=controls))

    assert len(artists_of(answer)) == len(set(artists_of(answer))) == len(answer.found) > 0
    opened.close()


def test_controls_that_change_nothing_leave_the_answer(recommender: Recommender):
    tracks = recommender.popular("tracks", 10**6).ids
    small = [Playlist([track]) for track in tracks[-200:]]
    pools = recommender.pools(small)
    small = [playlist for playlist, pool in zip(small, pools, strict=True) if pool and len(pool.rows) < SHORTLIST][:3]
    assert small
    for playlist in (
        *small,
        Playlist(tracks[-3:]),
        Playlist(tracks[:5], title="jazz"),
        Playlist(title="metal"),
        Playlist(),
    ):
        for rank in (True, False):
            (plain,) = recommender.recommend([playlist], Options(50, rank=rank))
            (same,) = recommender.recommend([playlist], Options(50, rank=rank, controls=Controls(max_per_artist=10**6)))
            assert same.found == plain.found


def test_scores_fall_although_an_artist_may_have_one_track(recommender: Recommender):
    (answer,) = recommender.recommend([Playlist(title="jazz")], Options(400, controls=Controls(max_per_artist=1)))

    scores = [track.score for track in answer.found]
    assert scores == sorted(scores, reverse=True)


def test_unknown_dislikes_change_nothing(recommender: Recommender):
    tracks = recommender.popular("tracks", 5).ids
    strangers = [f"?{number}" for number in range(200)]

    plain, answer = recommender.recommend(
        [Playlist(tracks), Playlist(tracks, disliked_tracks=strangers, disliked_artists=strangers)], Options(30)
    )

    assert answer.found == plain.found
    assert (answer.unknown.tracks, answer.unknown.artists) == (strangers, strangers)
