"""Files of one run: their playlists are told apart, and tables of one header are understood alike."""

import zipfile
from pathlib import Path

import pytest

from tests.trainer.sources.inputs import ids
from trainer.config import ReadOptions
from trainer.sources import Interactions, read

EXPORTIFY = "Track URI,Track Name,Artist Name(s)\nspotify:track:{0},Name {0},Artist\n"
TUNEMYMUSIC = "Track name,Artist name,Album,Playlist name,Type,ISRC\n{0},Artist,A,Favorite songs,Favorite,I\n"
SOUNDIIZ = "title;artist;album;isrc\n{0};Artist;A;I\n"
M3U = "#EXTM3U\n#EXTINF:1,Artist - {0}\na.mp3\n"


def a_file(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def tracks(*paths: Path, **columns: str) -> set[str]:
    """Return the ids of all tracks."""
    parts = [part for part in read(paths, ReadOptions(columns)) if isinstance(part, Interactions)]
    return {track.id for part in parts for track in part.tracks}


@pytest.mark.parametrize("content", [EXPORTIFY, SOUNDIIZ, M3U])
def test_playlists_of_two_people_stay_two_wherever_their_folders_are(tmp_path: Path, content: str):
    ann, bob = (a_file(tmp_path / who / "lists" / "liked.csv", content.format(who)) for who in ("ann", "bob"))
    apart = ["ann/lists/liked", "bob/lists/liked"]

    assert ids(tmp_path) == apart
    assert ids(ann, bob) == apart
    assert ids(ann.parent, bob.parent) == apart
    assert ids(ann.parent) == ids(ann) == ["lists/liked"]


def test_playlists_in_zip_files_of_two_people_stay_two(tmp_path: Path):
    for who in ("ann", "bob"):
        with zipfile.ZipFile(tmp_path / f"{who}.zip", "w") as archive:
            archive.writestr("lists/liked.csv", EXPORTIFY.format(who))

    assert ids(tmp_path) == ["ann.zip/lists/liked", "bob.zip/lists/liked"]


@pytest.mark.parametrize(
    "content",
    [TUNEMYMUSIC, "playlist_name,song_id\nFavorite songs,{0}\n", "Playlist,song_id\nFavorite songs,{0}\n"],
)
def test_titles_of_two_people_are_two_playlists(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str):
    ann, bob = (a_file(tmp_path / f"{who}.csv", content.format(who)) for who in ("ann", "bob"))

    assert ids(tmp_path) == ids(ann, bob) == ["ann/Favorite songs", "bob/Favorite songs"]
    assert "If a title is one playlist in all files, add --columns" in " ".join(capsys.readouterr().err.split())
    assert ids(ann) == ["Favorite songs"]


def test_ids_and_listeners_tell_playlists_apart_in_all_files(tmp_path: Path):
    for name in "ab":
        a_file(tmp_path / "ids" / f"{name}.csv", f"Playlist,song_id\np1,{name}\n")
        a_file(tmp_path / "long" / f"{name}.csv", f"playlist_id,song_id\nRainy morning,{name}\n")
        a_file(tmp_path / "users" / f"{name}.csv", f"user,Playlist,song_id\nann,Favorite songs,{name}\n")

    assert ids(tmp_path / "ids") == ["p1", "p1"]
    assert ids(tmp_path / "long") == ["Rainy morning"] * 2
    assert ids(tmp_path / "users") == ["ann - Favorite songs"] * 2


def test_titles_are_one_playlist_in_all_files_if_they_are_given_as_ids(tmp_path: Path):
    for name in "ab":
        a_file(tmp_path / f"{name}.csv", TUNEMYMUSIC.format(name))

    found = list(read([tmp_path], ReadOptions({"playlist": "Playlist name"})))
    assert [(part.playlist_ids, part.titles) for part in found if isinstance(part, Interactions)] == [
        (["Favorite songs"], ["Favorite songs"])
    ] * 2


@pytest.mark.parametrize(
    "clear", ["u,Radiohead,Karma Police\n", "u,Radiohead,Jóga\n", "u,Muse,Creep\nu,Radiohead,Creep\n"]
)
@pytest.mark.parametrize("together", [True, False])
def test_words_are_names_in_all_files_of_one_header(tmp_path: Path, clear: str, together: bool):
    files = [
        a_file(tmp_path / "a.csv", "user,artist,track\nu,Radiohead,Creep\n"),
        a_file(tmp_path / "b.csv", f"user,artist,track\n{clear}"),
    ]

    assert "Radiohead - Creep" in (found := tracks(*([tmp_path] if together else files)))
    assert "Creep" not in found


def test_words_are_names_also_beside_counts(tmp_path: Path):
    a_file(tmp_path / "a.csv", "user,artist,track,plays\nu,Radiohead,Creep,2\n")
    a_file(tmp_path / "b.jsonl", '{"user": "u", "artist": "Radiohead", "track": "Karma Police"}\n')

    assert tracks(tmp_path) == {"Radiohead - Creep", "Radiohead - Karma Police"}


def test_each_file_has_its_own_floats(tmp_path: Path):
    a_file(tmp_path / "a.csv", "user,song_id\nu,5.0\nu,6.0\n")
    a_file(tmp_path / "b.csv", "user,song_id\nu,5\nu,6.5\n")

    assert tracks(tmp_path) == {"5", "6", "6.5"}


def test_a_file_that_vanishes_leaves_the_decision_to_the_others(tmp_path: Path):
    a_file(tmp_path / "a.csv", "user,artist,track\nu,Radiohead,Karma Police\n")
    gone = a_file(tmp_path / "b.csv", "user,artist,track\nu,Radiohead,Creep\n")
    reading = iter(read([tmp_path]))
    gone.unlink()

    first = next(reading)

    assert isinstance(first, Interactions)
    assert first.tracks[0].id == "Radiohead - Karma Police"
