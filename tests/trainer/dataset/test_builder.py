"""Playlists and table rows of any source become one dataset."""

import numpy as np
import pytest

from trainer.dataset import Dataset, build_dataset
from trainer.errors import NothingToLearn
from trainer.sources import Interactions, SourceArtist, SourcePlaylist, SourceTrack

A, B, C = (SourceTrack(f"t:{name}", name, f"a:{name}", name.upper()) for name in "abc")


def rows(
    *entries: tuple[str, SourceTrack | SourceArtist, float], counts: bool = True, positions: list[float] | None = None
) -> Interactions:
    """A batch of (playlist, item, count)."""
    ids = list(dict.fromkeys(entry[0] for entry in entries))
    items = list(dict.fromkeys(entry[1] for entry in entries))
    return Interactions(
        playlist_ids=ids,
        titles=[""] * len(ids),
        tracks=[item for item in items if isinstance(item, SourceTrack)],
        artists=[item for item in items if isinstance(item, SourceArtist)],
        owners=np.array([ids.index(entry[0]) for entry in entries], np.int32),
        rows=np.array([items.index(entry[1]) for entry in entries], np.int32),
        counts=np.array([entry[2] for entry in entries], np.float32) if counts else None,
        positions=None if positions is None else np.array(positions),
        size=0,
    )


def held(dataset: Dataset) -> dict[str, dict[str, float]]:
    """What each playlist holds, by id, in its order, with counts."""
    items, vocabulary = dataset.items, dataset.vocabulary
    ids = vocabulary.track_ids if dataset.kind == "tracks" else vocabulary.artist_ids
    counts = np.ones(len(items.rows)) if items.counts is None else items.counts
    return {
        name: {
            ids[items.rows[entry]]: float(counts[entry])
            for entry in range(items.offsets[index], items.offsets[index + 1])
        }
        for index, name in enumerate(dataset.playlist_ids)
    }


def test_rows_of_one_playlist_are_one_playlist_wherever_they_stand():
    dataset = build_dataset(
        [rows(("x", A, 1), ("y", B, 1), ("x", B, 1), counts=False), rows(("x", C, 1), counts=False)]
    )

    assert held(dataset) == {"x": {"t:a": 1, "t:b": 1, "t:c": 1}, "y": {"t:b": 1}}
    assert dataset.tracks.counts is None
    assert not dataset.listening


def test_counts_of_one_thing_are_added_up_over_rows_and_batches():
    dataset = build_dataset([rows(("x", A, 2), ("x", B, 1), ("x", A, 3)), rows(("x", A, 4))])

    assert held(dataset) == {"x": {"t:a": 9, "t:b": 1}}
    assert dataset.listening


def test_without_counts_a_repeated_row_counts_once():
    dataset = build_dataset([rows(("x", A, 1), ("x", A, 1), counts=False)])

    assert held(dataset) == {"x": {"t:a": 1}}


def test_tracks_come_by_position_and_otherwise_as_they_were_read():
    unordered = [("x", A, 1), ("x", B, 1), ("x", C, 1)]

    assert list(held(build_dataset([rows(*unordered, counts=False)]))["x"]) == ["t:a", "t:b", "t:c"]
    by_position = build_dataset([rows(*unordered, counts=False, positions=[2, 3, 1])])
    assert list(held(by_position)["x"]) == ["t:c", "t:a", "t:b"]


def test_artists_with_plays_are_what_people_listened_to():
    dataset = build_dataset([rows(("u", SourceArtist("1", "One"), 7), ("v", SourceArtist("2", ""), 1))])

    assert dataset.kind == "artists"
    assert dataset.listening
    assert held(dataset) == {"u": {"1": 7}, "v": {"2": 1}}
    assert dataset.vocabulary.artist_names == ["One", "2"]
    assert dataset.artist_popularity().tolist() == [1, 1]


def test_whole_playlists_and_tables_meet_in_one_dataset():
    dataset = build_dataset([rows(("x", A, 5)), SourcePlaylist("x", "Title", [A, B]), rows(("x", C, 2))])

    assert dataset.playlist_ids == ["x", "x"]  # a whole playlist is one of its own
    assert dataset.repeated_ids == 1
    assert [dataset.tracks[index].tolist() for index in range(2)] == [[0, 2], [0, 1]]
    assert dataset.tracks.counts is not None
    assert dataset.tracks.counts.tolist() == [5, 2, 1, 1]


def test_artists_of_tracks_and_artists_alone_share_their_rows():
    dataset = build_dataset([SourcePlaylist("p", "", [A]), rows(("u", SourceArtist("a:a", "A"), 3))])

    assert dataset.vocabulary.artist_ids == ["a:a"]
    assert dataset.artist_popularity().tolist() == [2]
    assert dataset.kind == "tracks"


def test_the_fingerprint_is_that_of_the_data_and_not_of_their_batches():
    entries = [("x", A, 1.0), ("y", B, 2.0), ("x", C, 3.0), ("y", A, 1e9)]
    fingerprint = build_dataset([rows(*entries)]).fingerprint

    assert build_dataset([rows(*entries[:2]), rows(*entries[2:])]).fingerprint == fingerprint
    assert build_dataset([rows(*entries[:3])]).fingerprint != fingerprint
    assert build_dataset([rows(*entries[:3], ("y", A, 1e8))]).fingerprint != fingerprint
    assert build_dataset([rows(*entries[:3], ("z", A, 1e9))]).fingerprint != fingerprint


def test_titles_and_artists_change_the_fingerprint():
    fingerprints = {
        build_dataset([SourcePlaylist("1", title, [SourceTrack("t", "", artist, "")])]).fingerprint
        for title in ("x", "y")
        for artist in ("a", "b")
    }

    assert len(fingerprints) == 4


def test_a_selection_keeps_counts_and_artists():
    dataset = build_dataset([rows(("u", SourceArtist("1", "One"), 7), ("v", SourceArtist("2", "Two"), 1))])

    part = dataset.select(np.array([False, True]))

    assert held(part) == {"v": {"2": 1}}
    assert part.vocabulary.artist_ids == ["2"]


def test_count_statistics_are_the_mean_length_and_the_medians():
    plays = build_dataset(
        [rows(("u", SourceArtist("1", ""), 10), ("u", SourceArtist("2", ""), 30), ("v", SourceArtist("1", ""), 1000))]
    )
    playlists = build_dataset([SourcePlaylist("1", "", [A, B]), SourcePlaylist("2", "", [A])])

    assert plays.count_statistics(cap=100) == {"mean_length": 70, "track_count": 1, "artist_count": 30}
    assert playlists.count_statistics(cap=100) == {"mean_length": 1.5, "track_count": 1, "artist_count": 1}


def test_data_without_tracks_are_nothing_to_learn_from():
    with pytest.raises(NothingToLearn, match="1 without tracks"):
        build_dataset([SourcePlaylist("1", "x", [])])
    with pytest.raises(NothingToLearn):
        build_dataset([])


def test_a_playlist_that_repeats_another_in_all_respects_counts_once():
    dataset = build_dataset([SourcePlaylist("1", "x", [A, B]), SourcePlaylist("1", "x", [A, B, A])])

    assert (len(dataset), dataset.repeated_playlists, dataset.repeated_ids) == (1, 1, 0)


@pytest.mark.parametrize(
    "other", [SourcePlaylist("2", "x", [A, B]), SourcePlaylist("1", "y", [A, B]), SourcePlaylist("1", "x", [B, A])]
)
def test_a_playlist_that_differs_from_another_in_any_respect_counts_too(other: SourcePlaylist):
    dataset = build_dataset([SourcePlaylist("1", "x", [A, B]), other])

    assert (len(dataset), dataset.repeated_playlists) == (2, 0)


@pytest.mark.parametrize("name", ["Sigur Ro\u0301s", "Sigur  Rós"])
def test_an_artist_without_an_id_is_one_in_whatever_form_a_file_has_the_name(name: str):
    composed, other = (SourceTrack(f"t:{artist}", "", artist, artist) for artist in ("Sigur Rós", name))

    dataset = build_dataset([SourcePlaylist("1", "", [other, composed]), rows(("u", SourceArtist(name, name), 2))])

    assert dataset.vocabulary.artist_ids == ["Sigur Rós"]
    assert dataset.artist_popularity().tolist() == [2]


def test_ids_of_artists_are_kept_as_they_are():
    dataset = build_dataset([rows(("u", SourceArtist("Ro\u0301s", "Rós"), 2), ("u", SourceArtist("Rós", "Other"), 1))])

    assert dataset.vocabulary.artist_ids == ["Ro\u0301s", "Rós"]
