"""Playlists as weighted features."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.engine import FeatureSpace, Ragged, Weighting, Weights
from service.engine.features import Features
from service.engine.seeds import Seeds, Unknown

# Four tracks: two by artist 0, one by artist 1, one by nobody. Columns: 4 tracks | 2 artists | 2 words | 1 gram.
ARTISTS = np.array([0, 0, 1, -1], np.int32)


def space(**weights: Any) -> FeatureSpace:
    return FeatureSpace(ARTISTS, 2, 2, 1, Weights(**{"alpha": 20, "artist": 1, "title": 1, "gram": 0.3, **weights}))


def weigh(
    of: FeatureSpace,
    tracks: list[list[int]],
    mentions: list[list[int]] | None = None,
    terms: list[list[int]] | None = None,
) -> Features:
    """Weigh tracks in one list and the other features in another, as training and serving may give them."""
    none: list[list[int]] = [[] for _ in tracks]
    beside = [
        [of.n_tracks + row for row in named] + [of.first_term + row for row in titled]
        for named, titled in zip(mentions or none, terms or none, strict=True)
    ]
    return of.features(Ragged.of(tracks), Ragged.of(beside))


def as_dict(features: Features, index: int) -> dict[int, float]:
    columns, strengths = features[index]
    return dict(zip(columns.tolist(), (round(s, 5) for s in strengths.tolist()), strict=True))


def test_a_track_says_itself_and_its_artist():
    assert as_dict(weigh(space(), [[2]]), 0) == {2: 1, 5: round(math.log(2), 5)}


def test_tracks_of_one_artist_add_up_by_the_logarithm():
    assert as_dict(weigh(space(), [[0, 1]]), 0) == {0: 1, 1: 1, 4: round(math.log(3), 5)}


def test_a_mention_counts_as_one_more_track_of_the_artist():
    assert as_dict(weigh(space(), [[0]], [[0]]), 0) == {0: 1, 4: round(math.log(3), 5)}


def test_a_track_without_an_artist_says_itself_alone():
    assert as_dict(weigh(space(), [[3]]), 0) == {3: 1}


def test_words_weigh_one_and_grams_less():
    assert as_dict(weigh(space(), [[]], None, [[0, 1, 2]]), 0) == {6: 1, 7: 1, 8: 0.3}


def test_the_weight_of_a_track_or_an_artist_is_a_factor_of_its_own_strength():
    plain = Seeds([1, 0], [1], [0], None, Unknown([], [], False))

    weighed = space().weigh([plain, replace(plain, weights=[2.0, 1.0, 0.5]), plain])

    before = as_dict(weighed, 0)
    assert as_dict(weighed, 1) == before | {1: 2 * before[1], 5: round(0.5 * math.log(2), 5)}
    assert as_dict(weighed, 2) == before


def test_a_dislike_counts_as_if_it_were_alone():
    seeds = Seeds([], [], [], None, Unknown([], [], False), disliked_tracks=[0, 1], disliked_artists=[1])

    columns, confidences = space().dislikes(seeds) or ([], [])

    assert list(columns) == [0, 1, 5]
    np.testing.assert_allclose(confidences, [21, 21, 1 + 20 * math.log(2)], rtol=1e-6)


def test_a_weight_of_zero_switches_a_kind_of_feature_off():
    assert as_dict(weigh(space(artist=0, title=0), [[0, 2]], None, [[0, 2]]), 0) == {0: 1, 2: 1}


def test_playlists_of_a_batch_do_not_mix():
    batch = [[0], [], [0, 2, 3]]

    together = weigh(space(), batch, [[1], [], []], [[], [0], []])

    for index, (tracks, mentions, terms) in enumerate(zip(batch, [[1], [], []], [[], [0], []], strict=True)):
        assert as_dict(together, index) == as_dict(weigh(space(), [tracks], [mentions], [terms]), 0)


def test_columns_ascend_and_occur_once():
    columns, _ = weigh(space(), [[3, 1, 0]], [[1, 0]], [[2, 0]])[0]

    assert columns.tolist() == sorted(set(columns.tolist()))


def test_confidence_is_one_and_alpha_strengths():
    assert space(alpha=20).confidences(np.array([1, 0.5], np.float32)).tolist() == [21, 11]


def test_a_ragged_slice_holds_the_same_rows():
    ragged = Ragged.of([[1, 2], [], [3], [4, 5, 6]])

    part = ragged.slice(1, 4)

    assert [part[index].tolist() for index in range(len(part))] == [[], [3], [4, 5, 6]]
    assert part.owners().tolist() == [1, 2, 2, 2]


def counted(of: FeatureSpace, tracks: list[list[int]], plays: list[list[float]]) -> Features:
    return of.features(Ragged.of(tracks, plays))


def test_plays_become_strengths_of_a_track_relative_to_one_play():
    found = as_dict(counted(space(), [[3]], [[15]]), 0)

    assert found == {3: round(math.log(16) / math.log(2), 5)}
    assert as_dict(counted(space(), [[3]], [[1]]), 0) == {3: 1}


def test_plays_of_the_tracks_of_an_artist_add_up():
    found = as_dict(counted(space(), [[0, 1]], [[3, 4]]), 0)

    assert found[4] == round(math.log(8), 5)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [("log", math.log(9)), ("linear", 8), ("bm25", 8 * 101 / (8 + 100 * (0.2 + 0.8 * 10 / 5)))],
)
def test_each_weighting_makes_strengths_of_counts(weighting: Weighting, expected: float):
    of = space(weighting=weighting, mean_length=5.0)
    artists = Ragged.of([[4, 5]], [[8, 2]])  # a listener of ten plays, where the mean is five

    assert as_dict(of.features(artists), 0)[4] == pytest.approx(expected, abs=1e-4)


def test_the_length_of_a_playlist_is_that_of_its_tracks_where_it_has_some():
    of = space(weighting="bm25", mean_length=1.0)

    alone, beside = weigh(of, [[3]]), weigh(of, [[3]], [[0, 1]])
    assert as_dict(alone, 0)[3] == as_dict(beside, 0)[3] == 1


def test_a_count_beyond_the_cap_counts_as_the_cap():
    capped = space(cap=10.0)

    assert as_dict(counted(capped, [[3]], [[1e9]]), 0) == as_dict(counted(capped, [[3]], [[10]]), 0)


def test_counts_of_one_are_no_counts():
    tracks = [[0, 1, 3], [2]]

    bare, ones = weigh(space(), tracks), counted(space(), tracks, [[1, 1, 1], [1]])
    for part in ("offsets", "columns", "strengths"):
        assert (getattr(bare, part) == getattr(ones, part)).all()


def test_a_ragged_selection_keeps_rows_and_counts():
    ragged = Ragged.of([[1, 2], [], [3]], [[5, 6], [], [7]])

    part = ragged.select(np.array([False, True, True]))

    assert [part[index].tolist() for index in range(len(part))] == [[], [3]]
    assert part.counts is not None
    assert part.counts.tolist() == [7]
    assert ragged.slice(1, 3).counts.tolist() == [7]
