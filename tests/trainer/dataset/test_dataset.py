"""Playlists in memory."""

import numpy as np
import pytest

from trainer.dataset import Dataset, build_dataset, playlist_hash
from trainer.sources import SourcePlaylist, SourceTrack


def track(name: str, artist: str = "") -> SourceTrack:
    return SourceTrack(f"t:{name}", name, f"a:{artist}" if artist else "", artist)


A1, A2, B1, LONE = track("a1", "A"), track("a2", "A"), track("b1", "B"), track("lone")
PLAYLISTS = [
    SourcePlaylist("1", "Chill", [A1, B1, A1]),
    SourcePlaylist("2", "chill!", [A2, A1]),
    SourcePlaylist("3", "Other", [LONE]),
    SourcePlaylist("4", "", []),
    SourcePlaylist("1", "Again", [B1]),
]


@pytest.fixture
def dataset() -> Dataset:
    return build_dataset(PLAYLISTS)


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


def test_a_selection_knows_only_its_own_tracks_and_artists(dataset: Dataset):
    part = dataset.select(np.array([False, True, True, False]))

    assert part.playlist_ids == ["2", "3"]
    assert sorted(part.vocabulary.track_ids) == ["t:a1", "t:a2", "t:lone"]
    assert list(part.vocabulary.artist_names) == ["A"]
    assert ids(part, 0) == ["t:a2", "t:a1"]
    assert [part.vocabulary.artist_name(row) for row in part.tracks[0]] == ["A", "A"]
    assert part.vocabulary.artist_name(part.tracks[1][0]) == ""


def test_popularity_counted_in_chunks_is_the_same(dataset: Dataset):
    assert (dataset.artist_popularity(chunk_playlists=1) == dataset.artist_popularity()).all()


def test_hashes_of_ids_fill_the_range_evenly():
    places = [playlist_hash(str(i)) / 2**64 for i in range(10_000)]

    assert np.histogram(places, 10, (0, 1))[0].min() > 850
    assert playlist_hash("\ud800") != playlist_hash("\ud801")
