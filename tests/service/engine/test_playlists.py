"""Neighbours: nearest playlists by what they say, and the votes for their items."""

import numpy as np
import pytest

from service.engine.features import Features, Ragged
from service.engine.playlists import Playlists, Sample


def kept(*features: list[int], items: list[list[int]] | None = None, postings: int = 100, n: int = 0) -> Playlists:
    """Return playlists with these features, each of strength 1, of six; the items are the features unless given."""
    ragged = Ragged.of(features)
    columns = ragged.rows.astype(np.int32)
    frequencies = np.bincount(columns, minlength=6)
    strengths = np.ones(len(columns), np.float32)
    own = ragged if items is None else Ragged.of(items)
    return Playlists.of(
        Sample(own, Features(ragged.offsets, columns, strengths), frequencies, n or len(features)), postings
    )


def vote(playlists: Playlists, columns: list[int], n_neighbours: int = 10) -> dict[int, float]:
    votes = playlists.vote(np.array(columns, np.int32), np.ones(len(columns), np.float32), n_neighbours)
    return dict(zip(votes.rows.tolist(), votes.sums.tolist(), strict=True))


def test_playlists_without_a_common_feature_have_no_vote():
    assert set(vote(kept([0, 1], [2, 3], [4]), [0])) == {0, 1}


def test_a_rare_feature_in_common_counts_more_than_a_frequent_one():
    playlists = kept([0, 1], [0, 2], [0, 3], [4, 5], items=[[1], [2], [3], [4]])

    votes = vote(playlists, [0, 1])

    assert votes[1] > votes[2] == votes[3] > 0


def test_a_feature_of_all_playlists_says_nothing():
    assert vote(kept([0, 1], [0, 2]), [0]) == {}


def test_votes_are_sums_of_squared_similarities():
    playlists = kept([0], [0], [1], items=[[3, 5], [3], [4]])

    votes = playlists.vote(np.array([0], np.int32), np.ones(1, np.float32), 10)

    similarity = np.sqrt(np.log(3 / 2))  # the playlist's length is log(3/2), of which it keeps the square root
    assert votes.similarities == pytest.approx([similarity, similarity])
    assert dict(zip(votes.rows, votes.sums, strict=True)) == pytest.approx({3: 2 * similarity**2, 5: similarity**2})


def test_features_of_the_asked_playlist_count_by_their_rarity():
    playlists = kept([0], [0], [1], [2], items=[[3], [3], [4], [5]])
    often, rare = np.log(4 / 2), np.log(4 / 1)  # a playlist of one feature has the square root of its rarity

    votes = playlists.vote(np.array([0, 1], np.int32), np.ones(2, np.float32), 10)

    length = np.hypot(often, rare)
    assert votes.similarities == pytest.approx([rare**1.5 / length, *[often**1.5 / length] * 2])


def test_a_sample_is_the_same_in_another_order_of_features():
    # Two tracks, an artist and a term; the tracks change places, and so do artist and term.
    features = Features(np.array([0, 2, 3]), np.array([0, 2, 3], np.int32), np.array([1, 2, 3], np.float32))
    sample = Sample(Ragged.of([[0], [1, 0]]), features, np.array([5, 6, 7, 8]), 9)

    found = sample.reordered(np.array([1, 0, 3, 2]), slice(0, 2))

    assert found.items.rows.tolist() == [1, 0, 1]
    assert found.features.columns.tolist() == [1, 3, 2]
    assert found.frequencies.tolist() == [6, 5, 8, 7]
    of_artists = Sample(Ragged.of([[0]]), features, np.array([5, 6, 7, 8]), 9).reordered(
        np.array([0, 1, 3, 2]), slice(2, 4)
    )
    assert of_artists.items.rows.tolist() == [1]


def test_only_the_nearest_vote():
    playlists = kept([0, 1], [0, 2], [0, 3], [4, 5], items=[[1], [2], [3], [4]])

    assert set(vote(playlists, [0, 1], 1)) == {1}


def test_features_keep_the_first_playlists_in_the_same_order():
    playlists = kept([0, 1], [0, 1], [0, 1], [2], postings=2, items=[[0], [1], [2], [3]])

    assert set(vote(playlists, [0])) == set(vote(playlists, [1])) == {0, 1}


def test_rarity_counts_all_playlists_and_not_only_those_kept():
    few, many = (kept([0], [1], n=n).rarity[0] for n in (2, 200))

    assert (few, many) == (pytest.approx(np.log(2)), pytest.approx(np.log(200)))


def test_a_playlist_of_no_features_has_no_neighbours():
    votes = kept([0, 1], [2]).vote(np.empty(0, np.int32), np.empty(0, np.float32), 5)

    assert (len(votes.rows), len(votes.sums), len(votes.similarities)) == (0, 0, 0)
