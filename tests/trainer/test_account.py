"""What a run tells of its data."""

import numpy as np

from trainer.account import _lengths, _popularity, _title_words, unserved
from trainer.intake import read_dataset
from trainer.sources import Playlist, Track


def playlist(number: int, names: str, title: str = "") -> Playlist:
    return Playlist(str(number), title, [Track(name, name, "", "") for name in names])


DATASET = read_dataset(
    [playlist(0, "abc", "Road Trip"), playlist(1, "ab", "road"), playlist(2, "ad"), playlist(3, "a")]
)


def test_the_long_tail_falls_from_the_most_popular_to_the_least():
    points = _popularity(DATASET)

    assert points[0] == (1, 4)
    assert points[-1] == (4, 1)
    assert [held for _, held in points] == sorted((held for _, held in points), reverse=True)


def test_every_playlist_is_in_one_class_of_length():
    assert _lengths(DATASET) == [("1", 1), ("2-4", 3)]


def test_the_longest_playlists_have_a_class_too():
    long = read_dataset([Playlist("0", "", [Track(str(number), "", "", "") for number in range(2500)])])

    assert _lengths(long)[-1] == ("1000+", 1)
    assert sum(count for _, count in _lengths(long)) == 1


def test_words_count_the_titles_that_hold_them():
    assert _title_words(["Road Trip", "road", "road road", ""]) == [("road", 3), ("trip", 1)]


def test_what_only_held_out_playlists_hold_is_not_served():
    assert unserved(DATASET, np.array([False, False, True, False])) == 1
    assert unserved(DATASET, np.zeros(4, bool)) == 0
