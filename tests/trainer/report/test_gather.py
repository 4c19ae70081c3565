"""The facts on the data in a report."""

import numpy as np

from trainer.dataset import build_dataset
from trainer.report.gather import common_words, length_classes, popularity_points, unserved
from trainer.sources import SourcePlaylist, SourceTrack


def playlist(number: int, names: str, title: str = "") -> SourcePlaylist:
    return SourcePlaylist(str(number), title, [SourceTrack(name, name, "", "") for name in names])


DATASET = build_dataset(
    [playlist(0, "abc", "Road Trip"), playlist(1, "ab", "road"), playlist(2, "ad"), playlist(3, "a")]
)


def test_the_long_tail_falls_from_the_most_popular_to_the_least():
    points = popularity_points(DATASET)

    assert points[0] == (1, 4)
    assert points[-1] == (4, 1)
    assert [held for _, held in points] == sorted((held for _, held in points), reverse=True)


def test_every_playlist_is_in_one_class_of_length():
    assert length_classes(DATASET) == [("1", 1), ("2-4", 3)]


def test_the_longest_playlists_have_a_class_too():
    long = build_dataset([SourcePlaylist("0", "", [SourceTrack(str(number), "", "", "") for number in range(2500)])])

    assert length_classes(long)[-1] == ("1000+", 1)
    assert sum(count for _, count in length_classes(long)) == 1


def test_words_count_the_titles_that_hold_them():
    assert common_words(["Road Trip", "road", "road road", ""]) == [("road", 3), ("trip", 1)]


def test_what_only_held_out_playlists_hold_is_not_served():
    assert unserved(DATASET, np.array([False, False, True, False])) == 1
    assert unserved(DATASET, np.zeros(4, bool)) == 0
