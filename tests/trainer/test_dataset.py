"""A stream of playlists to arrays."""

import numpy as np
import pytest

from service.engine import Weights
from trainer.dataset import Dataset, hash_share, heldout, training_matrix
from trainer.errors import NothingToLearn
from trainer.intake import read_dataset
from trainer.sources import Playlist, Track


def track(name: str, artist: str = "") -> Track:
    return Track(f"t:{name}", name, f"a:{artist}" if artist else "", artist)


A1, A2, B1, LONE = track("a1", "A"), track("a2", "A"), track("b1", "B"), track("lone")
PLAYLISTS = [
    Playlist("1", "Chill", [A1, B1, A1]),
    Playlist("2", "chill!", [A2, A1]),
    Playlist("3", "Other", [LONE]),
    Playlist("4", "", []),
    Playlist("1", "Again", [B1]),
]


@pytest.fixture
def dataset() -> Dataset:
    return read_dataset(PLAYLISTS)


def ids(dataset: Dataset, index: int) -> list[str]:
    return [dataset.vocabulary.track_ids[row] for row in dataset.tracks[index]]


def test_a_track_counts_once_in_a_playlist_at_its_first_position(dataset: Dataset):
    assert ids(dataset, 0) == ["t:a1", "t:b1"]
    assert ids(dataset, 1) == ["t:a2", "t:a1"]


def test_playlists_without_tracks_are_passed_over_and_counted(dataset: Dataset):
    assert len(dataset) == 4
    assert dataset.empty_playlists == 1


def test_playlists_that_share_an_id_are_counted(dataset: Dataset):
    assert dataset.repeated_ids == 1


def test_popularity_is_the_number_of_distinct_playlists(dataset: Dataset):
    popularity = dict(zip(dataset.vocabulary.track_ids, dataset.popularity().tolist(), strict=True))

    assert popularity == {"t:a1": 2, "t:b1": 2, "t:a2": 1, "t:lone": 1}
    artists = dataset.artist_popularity()
    assert dict(zip(dataset.vocabulary.artist_names, artists.tolist(), strict=True)) == {"A": 2, "B": 2}


def test_no_playlist_with_tracks_is_nothing_to_learn_from():
    with pytest.raises(NothingToLearn, match="1 without tracks"):
        read_dataset([Playlist("1", "x", [])])
    with pytest.raises(NothingToLearn):
        read_dataset([])


def test_the_fingerprint_does_not_depend_on_the_order_of_playlists():
    assert read_dataset(PLAYLISTS).fingerprint == read_dataset(PLAYLISTS[::-1]).fingerprint
    assert read_dataset(PLAYLISTS).fingerprint != read_dataset(PLAYLISTS[:3]).fingerprint


def test_a_selection_knows_only_its_own_tracks_and_artists(dataset: Dataset):
    part = dataset.select(np.array([False, True, True, False]))

    assert part.playlist_ids == ["2", "3"]
    assert sorted(part.vocabulary.track_ids) == ["t:a1", "t:a2", "t:lone"]
    assert list(part.vocabulary.artist_names) == ["A"]
    assert ids(part, 0) == ["t:a2", "t:a1"]
    assert [part.vocabulary.artist_name(row) for row in part.tracks[0]] == ["A", "A"]
    assert part.vocabulary.artist_name(part.tracks[1][0]) == ""


def test_title_terms_are_those_of_two_playlists_or_more(dataset: Dataset):
    matrix = training_matrix(dataset, Weights(20, 1, 1, 0.3))

    assert matrix.words == ["chill"]
    assert matrix.grams == [" chi", "chil", "hill", "ill "]


def test_the_matrix_holds_confidences(dataset: Dataset):
    matrix = training_matrix(dataset, Weights(20, 1, 1, 0.3))

    assert matrix.confidences.shape == (4, 4 + 2 + 1 + 4)
    row = matrix.confidences[0].toarray().ravel()
    columns = {id_: row[i] for i, id_ in enumerate(dataset.vocabulary.track_ids)}
    assert columns == {"t:a1": 21, "t:b1": 21, "t:a2": 0, "t:lone": 0}
    assert row[4:6].tolist() == pytest.approx([1 + 20 * np.log(2)] * 2)
    assert row[6:].tolist() == pytest.approx([21, 7, 7, 7, 7])


def test_a_matrix_made_in_chunks_is_the_same(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    whole, popularity = training_matrix(dataset, Weights(20, 1, 1, 0.3)), dataset.artist_popularity()
    monkeypatch.setattr("trainer.dataset.CHUNK_PLAYLISTS", 1)
    pieces = training_matrix(dataset, Weights(20, 1, 1, 0.3))

    assert (whole.confidences != pieces.confidences).nnz == 0
    assert (popularity == dataset.artist_popularity()).all()


def test_the_same_playlists_are_held_out_whatever_is_added():
    ids = [str(i) for i in range(20_000)]

    few, many = heldout(ids[:10_000], 0.02, 100, 0.1), heldout(ids, 0.02, 100, 0.1)

    assert (few == many[:10_000]).all()
    assert 0.015 < many.mean() < 0.025


def test_a_share_that_gives_too_few_grows_up_to_a_bound():
    assert heldout([str(i) for i in range(2000)], 0.02, 100, 0.1).sum() == 100
    assert 10 < heldout([str(i) for i in range(300)], 0.02, 100, 0.1).sum() < 60
    assert heldout(["1"], 0.02, 100, 0.1).sum() in (0, 1)


def test_places_of_ids_fill_the_range_evenly():
    places = [hash_share(str(i)) for i in range(10_000)]

    assert np.histogram(places, 10, (0, 1))[0].min() > 850
    assert hash_share("\ud800") != hash_share("\ud801")
