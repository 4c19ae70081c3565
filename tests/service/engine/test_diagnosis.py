"""A diagnosis puts the stranger in a playlist first, and knows a focused playlist from a mixed one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.engine import Options, Playlist, PlaylistError, Plays, Recommender


def found(recommender: Recommender, title: str, k: int) -> list[str]:
    return recommender.recommend([Playlist(title=title)], Options(k))[0].found.ids


def test_a_track_of_another_genre_fits_least_and_is_low(recommender: Recommender):
    stranger = found(recommender, "metal", 1)

    diagnosis = recommender.diagnose(Playlist([*found(recommender, "jazz", 12), *stranger]))

    assert recommender.items("tracks", diagnosis.rows[:1]).ids == stranger
    assert [fit.low for fit in diagnosis.fits if fit] == [True] + [False] * 12
    values = [fit.value for fit in diagnosis.fits if fit]
    assert values == sorted(values)


def test_a_playlist_of_one_genre_has_more_focus_than_a_mixed_one(recommender: Recommender):
    jazz, metal = found(recommender, "jazz", 8), found(recommender, "metal", 8)

    focused, mixed = (recommender.diagnose(Playlist(tracks)).focus for tracks in (jazz, [*jazz[:4], *metal[:4]]))

    assert focused is not None
    assert mixed is not None
    assert focused.value > mixed.value
    assert (focused.percentile or 0) > (mixed.percentile or 0)


def test_a_fit_is_the_cosine_with_the_vector_of_the_rest(recommender: Recommender):
    tracks = found(recommender, "jazz", 5)
    artist = recommender.popular("artists", 1)[0].id
    playlist = Playlist([Plays(tracks[0], weight=2.0), *tracks[1:]], [artist], "Jazz", disliked_artists=["nobody"])

    diagnosis = recommender.diagnose(playlist)

    ranking, ids = recommender.artifacts.candidates["tracks"].ranking, recommender.items("tracks", diagnosis.rows).ids
    for id_, row, fit in zip(ids, diagnosis.rows, diagnosis.fits, strict=True):
        rest = [track for track in playlist.tracks if (track.key if isinstance(track, Plays) else track) != id_]
        (x,) = recommender.fold_in([Playlist(rest, [artist], "Jazz")])
        z = ranking.take(np.array([row]))[0]
        assert fit is not None
        assert fit.value == pytest.approx(x @ z / np.linalg.norm(x) / np.linalg.norm(z), abs=2e-4)


def test_a_track_alone_has_neither_fit_nor_focus(recommender: Recommender):
    diagnosis = recommender.diagnose(Playlist([*found(recommender, "jazz", 1), "nope"]))

    assert (diagnosis.fits, diagnosis.focus, diagnosis.seeds.unknown.tracks) == ([None], None, ["nope"])
    with pytest.raises(PlaylistError, match="no track of the playlist is known"):
        recommender.diagnose(Playlist(["nope"], title="jazz"))


def test_a_version_that_keeps_no_playlists_has_values_alone(write_world: Callable[..., Path]):
    opened = Recommender.open(write_world(60, 9))

    diagnosis = opened.diagnose(Playlist(["t:1", "t:2", "t:3"]))

    assert [fit.percentile for fit in diagnosis.fits if fit] == [None] * 3
    assert not any(fit.low for fit in diagnosis.fits if fit)
    opened.close()
