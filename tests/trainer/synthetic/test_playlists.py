"""A synthetic world in the format of the Million Playlist Dataset."""

import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import BadConfig, BadInput
from trainer.sources import read
from trainer.synthetic.draws import N_SCENES
from trainer.synthetic.names import GENRES, artist_name
from trainer.synthetic.playlists import OCCURRING, RARE, World, synthesize


def test_the_same_seed_makes_the_same_world(tmp_path: Path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        synthesize(tmp_path / name, 20, seed)

    a, b, c = ((tmp_path / name / "mpd.slice.0-999.json").read_bytes() for name in "abc")
    assert a == b != c


def test_a_slice_holds_the_playlists_after_the_slice_before():
    world = World(1005, seed=3)
    content = json.loads(world.slice(1))

    assert world.n_slices == 2
    assert content["info"]["slice"] == "1000-1999"
    assert [playlist["pid"] for playlist in content["playlists"]] == list(range(1000, 1005))


def test_many_slices_are_written_under_their_names(tmp_path: Path):
    synthesize(tmp_path / "w", 9001, seed=3)

    written = {path.name: path.read_bytes() for path in (tmp_path / "w").iterdir()}
    world = World(9001, seed=3)
    assert written == {f"mpd.slice.{1000 * n}-{1000 * n + 999}.json": world.slice(n) for n in range(10)}


def test_a_zip_holds_the_same_slices(tmp_path: Path):
    synthesize(tmp_path / "a", 20, seed=3)
    synthesize(tmp_path / "a.zip", 20, seed=3)

    assert list(read([tmp_path / "a"])) == list(read([tmp_path / "a.zip"]))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["data/mpd.slice.0-999.json"]
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_it_has_the_fields_of_the_original(world: Path):
    content = json.loads((world / "mpd.slice.0-999.json").read_text())
    playlist = content["playlists"][0]

    assert {"info", "playlists"} == set(content)
    assert {"name", "pid", "num_tracks", "num_albums", "num_followers", "modified_at", "duration_ms"} <= set(playlist)
    assert {
        "pos",
        "track_uri",
        "artist_uri",
        "album_uri",
        "track_name",
        "artist_name",
        "album_name",
        "duration_ms",
    } == set(playlist["tracks"][0])
    assert playlist["num_tracks"] == len(playlist["tracks"])
    assert [track["pos"] for track in playlist["tracks"]] == list(range(playlist["num_tracks"]))
    assert playlist["tracks"][0]["track_uri"].startswith("spotify:track:")
    assert len(playlist["tracks"][0]["track_uri"]) == len("spotify:track:") + 22


def test_popularity_has_a_long_tail(world: Path):
    counts = Counter(track.id for playlist in read([world]) for track in playlist.tracks)
    ordered = sorted(counts.values(), reverse=True)

    assert sum(ordered[: len(ordered) // 10]) > 0.3 * sum(ordered)
    assert ordered[len(ordered) // 2] <= 0.15 * ordered[0]


def test_titles_fit_the_genre_of_their_tracks():
    """Most tracks of playlists titled after a genre are by artists of scenes of that genre."""
    world = World(500, seed=2)
    tracks = np.arange(N_SCENES * world.scene_size)
    scenes, artists = world.scenes(tracks).tolist(), world.artists(tracks).tolist()
    genre_of = {artist_name(artist): world.genre(scene) for artist, scene in zip(artists, scenes, strict=True)}

    fitting = total = 0
    for playlist in json.loads(world.slice(0))["playlists"]:
        title = playlist["name"].lower().rstrip("!")
        if title in GENRES:
            genres = [genre_of[track["artist_name"]] for track in playlist["tracks"]]
            fitting, total = fitting + genres.count(title), total + len(genres)

    assert total > 1000
    assert fitting / total > 0.8


def test_artists_have_readable_names_of_their_own():
    names = [artist_name(number) for number in range(40_000)]

    assert len(set(names)) == len(names)
    assert not any(character.isdigit() for name in names for character in name)


def test_tracks_have_readable_names(world: Path):
    names = {track.name for playlist in read([world]) for track in playlist.tracks}

    assert len(names) > 1000
    assert all(name.isascii() and len(name) > 4 and not any(c.isdigit() for c in name) for name in names)


def test_the_largest_world_has_the_size_and_the_tail_of_the_real_one():
    world = World(1_000_000, seed=0)
    lengths = [playlist["num_tracks"] for playlist in json.loads(world.slice(0))["playlists"]]
    rare = OCCURRING * (world.scene_size - world.scene_tracks)

    assert np.mean(lengths) == pytest.approx(66.3, rel=0.04)
    assert N_SCENES * (world.scene_tracks + rare) == pytest.approx(2_262_292, rel=0.03)
    assert 0.5 < rare / (world.scene_tracks + rare) < 0.7  # some of which occur twice
    assert N_SCENES * world.scene_artists == pytest.approx(295_860, rel=0.02)


def test_rare_tracks_occur_in_one_playlist():
    world = World(3000, seed=0)
    playlists = [playlist for number in range(3) for playlist in json.loads(world.slice(number))["playlists"]]
    counts = Counter(track["track_uri"] for playlist in playlists for track in playlist["tracks"])

    once = sum(count == 1 for count in counts.values())

    assert once > RARE * counts.total() / 2


def test_a_slice_of_a_large_world_is_made_without_the_others():
    world = World(999_010, seed=0)

    assert [playlist["pid"] for playlist in json.loads(world.slice(999))["playlists"]] == list(range(999_000, 999_010))


@pytest.mark.parametrize("n", [0, -1, 1_000_001])
def test_a_number_of_playlists_out_of_range_is_refused(tmp_path: Path, n: int):
    with pytest.raises(BadConfig, match="between 1 and 1,000,000"):
        synthesize(tmp_path / "w", n, seed=0)


def test_a_seed_below_zero_is_refused(tmp_path: Path):
    with pytest.raises(BadConfig, match="seed has to be 0 or more"):
        synthesize(tmp_path / "w", 10, seed=-1)


def test_the_world_is_the_same_in_every_process():
    """The README prints an answer of this world."""
    assert hashlib.sha256(World(10_000, seed=0).slice(0)).hexdigest() == (
        "9dd419fd07e5bf45e64532ac1004e6a737ca15bb73f17428887c52acd98693e9"
    )


def test_an_existing_directory_is_not_overwritten(tmp_path: Path):
    (tmp_path / "w").mkdir()

    with pytest.raises(BadInput, match="exists already"):
        synthesize(tmp_path / "w", 10, seed=0)
