"""Tracks without an id join the track of the same artist and name that has one."""

import numpy as np
import pytest

from trainer.dataset import Dataset, build_dataset
from trainer.sources import Interactions, SourceArtist, SourcePlaylist, SourceTrack, track_id


def named(artist: str, name: str) -> SourceTrack:
    """A track as a file without ids names it."""
    return SourceTrack(track_id(artist, name), name, artist, artist)


def plays(listener: str, *tracks: tuple[SourceTrack, float]) -> Interactions:
    return Interactions(
        playlist_ids=[listener],
        titles=[""],
        tracks=[track for track, _ in tracks],
        artists=[],
        owners=np.zeros(len(tracks), np.int32),
        rows=np.arange(len(tracks), dtype=np.int32),
        counts=np.array([count for _, count in tracks], np.float32),
        positions=None,
        size=0,
    )


def ids(dataset: Dataset, playlist: int) -> list[str]:
    return [dataset.vocabulary.track_ids[row] for row in dataset.tracks[playlist]]


JOGA = SourceTrack("uri:joga", "Jóga", "uri:bjork", "Björk")
CREEP = SourceTrack("uri:creep", "Creep", "uri:radiohead", "Radiohead")


@pytest.mark.parametrize("playlists", [[[JOGA], [named("Björk", "Jóga")]], [[named("Björk", "Jóga")], [JOGA]]])
def test_the_order_of_the_files_makes_no_difference(playlists: list[list[SourceTrack]]):
    dataset = build_dataset(SourcePlaylist(str(row), "", tracks) for row, tracks in enumerate(playlists))

    assert [ids(dataset, row) for row in range(2)] == [["uri:joga"], ["uri:joga"]]
    assert dataset.joined_tracks == 1
    assert dataset.vocabulary.track_ids == ["uri:joga"]
    assert dataset.vocabulary.artist_ids == ["uri:bjork"]


@pytest.mark.parametrize(
    ("artist", "name"),
    [("Bjo\u0308rk", "Jo\u0301ga"), ("BJÖRK", "jóga"), ("Bj&ouml;rk", "Jóga"), ("Ｂｊörk", " Jóga ")],
)
def test_spellings_that_a_search_takes_for_the_same_are_joined(artist: str, name: str):
    dataset = build_dataset([SourcePlaylist("1", "", [JOGA]), SourcePlaylist("2", "", [named(artist, name)])])

    assert ids(dataset, 1) == ["uri:joga"]


@pytest.mark.parametrize("other", [named("Sugarcubes", "Jóga"), named("Björk", "Joga"), named("Björk", "Jóga (live)")])
def test_another_artist_or_name_is_another_track(other: SourceTrack):
    dataset = build_dataset([SourcePlaylist("1", "", [JOGA]), SourcePlaylist("2", "", [other])])

    assert ids(dataset, 1) == [other.id]
    assert dataset.joined_tracks == 0


def test_an_id_of_its_own_is_kept_though_it_has_a_dash():
    own = SourceTrack("shop - 17", "Jóga", "", "Björk")

    dataset = build_dataset([SourcePlaylist("1", "", [JOGA, own])])

    assert ids(dataset, 0) == ["uri:joga", "shop - 17"]


def test_the_most_frequent_of_several_tracks_is_taken_and_the_first_of_those_as_frequent():
    single, album, live = (SourceTrack(f"uri:{kind}", "Creep", "uri:radiohead", "Radiohead") for kind in "sal")
    twice = [SourcePlaylist("1", "", [single, album, live]), SourcePlaylist("2", "", [live, album])]

    dataset = build_dataset([*twice, SourcePlaylist("3", "", [named("Radiohead", "Creep")])])

    assert ids(dataset, 2) == ["uri:a"]


def test_a_playlist_with_both_has_the_track_once_at_its_first_place():
    tracks = [CREEP, named("Björk", "Jóga"), named("Radiohead", "Creep"), JOGA]

    dataset = build_dataset([SourcePlaylist("1", "", tracks), SourcePlaylist("2", "", [JOGA, CREEP])])

    assert [ids(dataset, row) for row in range(2)] == [["uri:creep", "uri:joga"], ["uri:joga", "uri:creep"]]
    assert dataset.tracks.counts is None


def test_plays_of_both_are_added_up():
    dataset = build_dataset([plays("u", (JOGA, 2), (named("Radiohead", "Creep"), 1), (named("Björk", "Jóga"), 3))])

    assert ids(dataset, 0) == ["uri:joga", "Radiohead - Creep"]
    assert dataset.tracks.counts is not None
    assert dataset.tracks.counts.tolist() == [5, 1]


@pytest.mark.parametrize("name", ["Björk", "BJÖRK", "Bjo\u0308rk"])
def test_an_artist_without_an_id_is_the_one_of_that_name_with_an_id(name: str):
    hunter = SourceTrack("t:hunter", "Hunter", name, name)
    heard = Interactions(
        ["u"],
        [""],
        [],
        [SourceArtist(name, name), SourceArtist("uri:bjork", "Björk")],
        *np.array([[0, 0], [0, 1]], np.int32),
        np.array([2, 3], np.float32),
        None,
        0,
    )

    dataset = build_dataset([SourcePlaylist("1", "", [hunter, JOGA]), heard])

    assert dataset.vocabulary.artist_ids == ["uri:bjork"]
    assert dataset.vocabulary.track_artists.tolist() == [0, 0]
    assert dataset.artists.counts is not None
    assert dataset.artists.counts.tolist() == [5]
    assert (dataset.joined_tracks, dataset.joined_artists) == (0, 1)


def test_artists_of_one_name_with_ids_stay_two_and_a_named_one_is_the_more_frequent():
    tracks = [
        SourceTrack(f"t:{row}", str(row), artist, "Nirvana") for row, artist in enumerate(["us", "uk", "Nirvana"])
    ]

    dataset = build_dataset([SourcePlaylist("1", "", tracks), SourcePlaylist("2", "", tracks[1:2])])

    assert [dataset.vocabulary.track(row).artist_id for row in range(3)] == ["us", "uk", "uk"]


def test_a_track_without_an_artist_stays_so():
    dataset = build_dataset([SourcePlaylist("1", "", [SourceTrack("t", "Hum", "", ""), JOGA, named("Björk", "Jóga")])])

    assert dataset.vocabulary.track_artists.tolist() == [-1, 0]


def test_artists_who_are_listened_to_keep_their_rows():
    of_artists = Interactions(["v"], [""], [], [SourceArtist("a", "A")], *np.zeros((2, 1), np.int32), None, None, 0)

    dataset = build_dataset([SourcePlaylist("1", "", [named("Björk", "Jóga")]), of_artists, plays("u", (JOGA, 1))])

    assert [dataset.vocabulary.artist_ids[row] for row in dataset.artists.rows] == ["a"]
    assert [dataset.vocabulary.artist_name(row) for row in dataset.tracks.rows] == ["Björk", "Björk"]
