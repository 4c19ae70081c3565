"""A planted world in the dataset's own format."""

import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from trainer.errors import BadConfig, BadInput
from trainer.sources import read
from trainer.sources.synthetic import GENRES, N_SCENES, World, artist_name, synthesize


def test_the_same_seed_makes_the_same_world(tmp_path: Path):
    synthesize(tmp_path / "a", 1500, seed=3)
    synthesize(tmp_path / "b", 1500, seed=3)
    synthesize(tmp_path / "c", 1500, seed=4)

    a, b, c = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc")

    assert sorted(a) == ["mpd.slice.0-999.json", "mpd.slice.1000-1999.json"]
    assert a == b
    assert a != c


def test_a_zip_holds_the_same_slices(tmp_path: Path):
    synthesize(tmp_path / "a", 200, seed=3)
    synthesize(tmp_path / "a.zip", 200, seed=3)

    assert list(read([tmp_path / "a"])) == list(read([tmp_path / "a.zip"]))
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["data/mpd.slice.0-999.json"]


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
    world = World(1000, seed=2)
    genre_of = {}
    for track in range(N_SCENES * world.scene_tracks):
        genre_of[artist_name(world.artist(track))] = world.genre(world.scene(track))

    fitting = total = 0
    for playlist in world.slice(0)["playlists"]:
        title = playlist["name"].lower().rstrip("!")
        if title in GENRES:
            genres = [genre_of[track["artist_name"]] for track in playlist["tracks"]]
            fitting, total = fitting + genres.count(title), total + len(genres)

    assert total > 1000
    assert fitting / total > 0.8


def test_names_are_those_a_person_can_read_and_no_two_artists_share_one():
    names = [artist_name(number) for number in range(40_000)]

    assert len(set(names)) == len(names)
    assert not any(character.isdigit() for name in names for character in name)


def test_names_of_tracks_can_be_read_too(world: Path):
    names = {track.name for playlist in read([world]) for track in playlist.tracks}

    assert len(names) > 1000
    assert all(name.isascii() and len(name) > 4 and not any(c.isdigit() for c in name) for name in names)


def test_the_vocabulary_grows_to_the_size_of_the_real_one():
    largest = World(1_000_000, seed=0)

    assert N_SCENES * largest.scene_tracks == pytest.approx(2_262_292, rel=0.01)
    assert N_SCENES * largest.scene_artists == pytest.approx(295_860, rel=0.02)


def test_a_slice_of_the_largest_world_is_made_without_the_others():
    assert [playlist["pid"] for playlist in World(1_000_000, seed=0).slice(999)["playlists"]] == list(
        range(999_000, 1_000_000)
    )


@pytest.mark.parametrize("n", [0, -1, 1_000_001])
def test_a_number_of_playlists_out_of_range_is_refused(tmp_path: Path, n: int):
    with pytest.raises(BadConfig, match="between 1 and 1,000,000"):
        synthesize(tmp_path / "w", n, seed=0)


def test_a_seed_below_zero_is_refused(tmp_path: Path):
    with pytest.raises(BadConfig, match="seed has to be 0 or more"):
        synthesize(tmp_path / "w", 10, seed=-1)


def test_the_world_is_the_same_in_every_process_and_on_every_day():
    """The README prints an answer of this world."""
    assert hashlib.sha256(msgspec.json.encode(World(10_000, seed=0).slice(0))).hexdigest() == (
        "0a7f23d4d53a25ed3a0aa1f50f2dc73eb84ae1cc4755922cf2bd44b21ffacce8"
    )


def test_the_same_zip_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synthesize(tmp_path / "a.zip", 20, seed=3)
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    synthesize(tmp_path / "b.zip", 20, seed=3)

    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_is_there_is_not_overwritten(tmp_path: Path):
    (tmp_path / "w").mkdir()

    with pytest.raises(BadInput, match="exists already"):
        synthesize(tmp_path / "w", 10, seed=0)


def test_a_world_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(self: World, number: int) -> dict[str, object]:
        raise OSError("disk full")

    monkeypatch.setattr(World, "slice", fail)

    with pytest.raises(OSError, match="disk full"):
        synthesize(tmp_path / "w", 10, seed=0)
    assert not list(tmp_path.iterdir())
