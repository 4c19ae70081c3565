"""The reasons of an answer: exact shares of the solve, and the strongest inputs of the ranker in words."""

from dataclasses import replace

import numpy as np
import pytest

from service.engine import Controls, Options, Playlist, Plays, Recommendation, Recommender

TWENTY = Options(20)


def explained(recommender: Recommender, playlist: Playlist, options: Options = TWENTY) -> Recommendation:
    return recommender.recommend([playlist], replace(options, explain=True))[0]


@pytest.fixture
def playlist(recommender: Recommender) -> Playlist:
    tracks = recommender.recommend([Playlist(title="jazz")], Options(12))[0].found
    artist = tracks[11].artist
    assert artist is not None
    return Playlist(
        [*(track.id for track in tracks[:8]), Plays(tracks[8].id, weight=3.0)],
        [artist.name],
        "Late Night Jazz",
        disliked_tracks=[tracks[9].id],
    )


def test_the_shares_are_those_of_a_dense_solve_and_add_up_to_the_score(recommender: Recommender, playlist: Playlist):
    answer = explained(recommender, playlist, Options(20, rank=False))

    artifacts = recommender.artifacts
    columns, strengths = recommender.features([playlist])[0]
    wide, confidences = artifacts.vectors.astype(np.float64), 1 + artifacts.space.weights.alpha * strengths
    weights = np.ones(len(wide))
    weights[columns] = confidences
    (disliked,) = artifacts.catalogue.rows("tracks", playlist.disliked_tracks)[0]
    weights[disliked] = 1 + artifacts.space.weights.alpha
    left = wide.T @ (weights[:, None] * wide) + artifacts.manifest.numbers["regularization"] * np.eye(wide.shape[1])
    of_columns = np.linalg.solve(left, wide[columns].T * confidences)
    ids = dict(zip(artifacts.catalogue.ids("tracks"), range(10**6), strict=False))
    for found in answer.found:
        assert found.reasons is not None
        shares = artifacts.candidates["tracks"].ranking.take(np.array([ids[found.id]]))[0] @ of_columns
        expected = {
            artifacts.catalogue.ids("tracks")[column]: share
            for column, share in zip(columns.tolist(), shares, strict=True)
            if column < artifacts.space.n_tracks
        }
        given = {share.track: share.share for share in found.reasons.shares if share.track}
        assert given == pytest.approx({track: expected[track] for track in given}, abs=2e-5)
        assert len(given) >= 5
        assert found.reasons.solve == pytest.approx(found.score, abs=1e-5)
        shares = sum(share.share for share in found.reasons.shares) + found.reasons.rest
        assert shares == pytest.approx(found.score, abs=1e-4)


def test_the_shares_name_each_track_artist_and_word_once_the_largest_first(
    recommender: Recommender, playlist: Playlist
):
    for found in explained(recommender, playlist).found:
        assert found.reasons is not None
        shares = found.reasons.shares
        assert [share.share for share in shares] == sorted((share.share for share in shares), reverse=True)
        named = [(share.track, share.artist, share.title) for share in shares]
        assert len(named) == len(set(named))
        assert all(len([each for each in name if each]) == 1 for name in named)
        assert (
            {"jazz"} <= {share.title for share in shares if share.title} <= {"late", "night", "jazz", "late night jazz"}
        )


@pytest.mark.parametrize("options", [Options(30), Options(30, rank=False), Options(30, "artists")])
def test_the_answer_is_the_same_with_reasons_and_without(
    recommender: Recommender, playlist: Playlist, options: Options
):
    (plain,) = recommender.recommend([playlist], options)
    answer = explained(recommender, playlist, options)

    assert [(found.id, found.score) for found in answer.found] == [(found.id, found.score) for found in plain.found]
    assert all(found.reasons is None for found in plain.found)
    assert all(found.reasons is not None and found.reasons.because for found in answer.found)


def test_an_artist_of_the_playlist_is_a_reason_with_the_number_of_its_tracks(recommender: Recommender):
    by_artist: dict[str, list[str]] = {}
    for track in recommender.popular("tracks", 500):
        if track.artist:
            by_artist.setdefault(track.artist.id, []).append(track.id)
    artist, tracks = max(by_artist.items(), key=lambda each: len(each[1]))

    answer = explained(recommender, Playlist(tracks[:3]), Options(200, rank=False))

    theirs = [found for found in answer.found if found.artist and found.artist.id == artist]
    assert theirs
    for found in theirs:
        assert f"by {found.artist.name}, as 3 of your tracks" in found.reasons.because
    for found in answer.found:
        if found not in theirs:
            assert not any(text.startswith("by ") for text in found.reasons.because)


def test_the_neighbours_in_a_reason_are_those_that_hold_the_item(recommender: Recommender):
    seeds = [track.id for track in recommender.recommend([Playlist(title="jazz")], Options(5))[0].found]
    stages = recommender.artifacts.stages
    assert stages is not None
    playlists = stages.pooling.playlists
    rows, _ = recommender.artifacts.catalogue.rows("tracks", seeds)

    answer = explained(recommender, Playlist(seeds), Options(10))

    nearest, _ = playlists._nearest(*recommender.features([Playlist(seeds)])[0], stages.pooling.n_neighbours)
    held = [set(playlists.items[playlists.item_offsets[n] : playlists.item_offsets[n + 1]].tolist()) for n in nearest]
    for found in answer.found:
        (row,), _ = recommender.artifacts.catalogue.rows("tracks", [found.id])
        with_it = [items for items in held if row in items]
        shared = int(np.median([len(items & set(rows)) for items in with_it])) if with_it else 0
        expected = f"in {len(with_it)} of the {len(held)} playlists that are most like yours"
        expected += f", which hold {shared} of your tracks" if shared else ""
        said = [text for text in found.reasons.because if text.startswith("in ")]
        assert said in ([expected], [])


def test_a_popular_answer_has_popularity_as_its_reason(recommender: Recommender):
    answer = explained(recommender, Playlist(), Options(3))

    for found in answer.found:
        assert found.reasons.shares == []
        assert found.reasons.because == [f"in {int(found.score):,} playlists"]


def test_reasons_with_controls_are_those_of_the_chosen_items(recommender: Recommender, playlist: Playlist):
    controls = Controls(max_per_artist=1, vary=5)
    answer = explained(recommender, playlist, Options(150, controls=controls))

    assert len(answer.found) == 150
    for found in answer.found:
        shares = sum(share.share for share in found.reasons.shares) + found.reasons.rest
        assert shares == pytest.approx(found.reasons.solve, abs=1e-4)


def test_of_many_shares_the_largest_are_listed_and_the_rest_is_one_number(recommender: Recommender):
    tracks = recommender.popular("tracks", 300).ids

    for found in explained(recommender, Playlist(tracks), Options(5)).found:
        assert len(found.reasons.shares) == 20
        shares = sum(share.share for share in found.reasons.shares) + found.reasons.rest
        assert shares == pytest.approx(found.reasons.solve, abs=1e-4)


def test_the_title_comes_first_where_it_says_the_most(recommender: Recommender):
    track = recommender.recommend([Playlist(title="jazz")], Options(1))[0].found.ids
    playlist = Playlist([Plays(*track, weight=0.1)], title="late night jazz")

    orders = []
    for found in explained(recommender, playlist, Options(100)).found:
        of_title = sum(share.share for share in found.reasons.shares if share.title and share.share > 0)
        said = {text.split()[0]: place for place, text in enumerate(found.reasons.because)}
        if {"your", "goes"} <= said.keys():
            total = sum(share.share for share in found.reasons.shares if share.share > 0)
            orders.append((of_title / total > 0.5, said["your"] < said["goes"]))

    assert {first for most, first in orders if most} == {True}
