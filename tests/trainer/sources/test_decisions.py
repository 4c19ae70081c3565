"""Columns whose role the rows tell: `name` and `id`."""

from pathlib import Path

import pytest

from trainer.config import ReadOptions
from trainer.sources import Interactions, read


def understood(path: Path, content: str, **columns: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the titles of the playlists, and the tracks, in a CSV file."""
    (path / "a.csv").write_text(content)
    (found,) = read([path / "a.csv"], ReadOptions(columns))
    assert isinstance(found, Interactions)
    return list(found.titles), [tuple(track) for track in found.tracks]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("pid,name,track_uri", "{},{},t{}"),
        ("track_uri,playlist_id,Name", "t{2},{0},{1}"),
        ("pid,nom,track", "{},{},t{}"),
    ],
)
def test_a_name_that_a_playlist_has_alone_is_its_title(tmp_path: Path, header: str, row: str):
    rows = [row.format(*cells) for cells in ((1, "Rainy morning", 1), (1, "Rainy morning", 2), (2, "Gym", 1))]

    titles, tracks = understood(tmp_path, "\n".join([header, *rows, ""]))

    assert (titles, tracks) == (["Rainy morning", "Gym"], [("t1", "", "", ""), ("t2", "", "", "")])


@pytest.mark.parametrize("name", ["name", "Name", "nombre"])
def test_a_name_beside_the_tracks_name_is_the_title(tmp_path: Path, name: str):
    titles, tracks = understood(tmp_path, f"pid,{name},track_uri,track_name\n1,Gym,t1,Creep\n1,Gym,t2,Jóga\n")

    assert (titles, [track[1] for track in tracks]) == (["Gym"], ["Creep", "Jóga"])


def test_names_that_a_playlist_has_several_of_are_those_of_tracks(tmp_path: Path):
    titles, tracks = understood(tmp_path, "pid,name,track_uri\n1,Creep,t1\n1,Jóga,t2\n2,Creep,t1\n")

    assert (titles, tracks) == (["", ""], [("t1", "Creep", "", ""), ("t2", "Jóga", "", "")])


def test_a_renamed_playlist_does_not_make_titles_the_names_of_tracks(tmp_path: Path):
    rows = "".join(f"{row // 2},Mix {row // 2},t{row}\n" for row in range(100))

    titles, _ = understood(tmp_path, f"pid,name,track_uri\n{rows}0,Another,t0\n")

    assert titles[:2] == ["Mix 0", "Mix 1"]


@pytest.mark.parametrize(
    ("header", "row", "title", "name"),
    [
        ("pid,name,song_id,title", "1,Gym,t{0},Name {0}", "Gym", "Name 1"),
        ("pid,title,song_id,name", "1,Gym,t{0},Name {0}", "Gym", "Name 1"),
    ],
)
def test_of_name_and_title_one_is_that_of_playlists(tmp_path: Path, header: str, row: str, title: str, name: str):
    titles, tracks = understood(tmp_path, "\n".join([header, row.format(1), row.format(2), ""]))

    assert (titles, tracks[0][1]) == ([title], name)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("playlist_id,id,name,artists,album", "p1,{0},{1},Radiohead,x"),
        ("playlist_id,artist,name,id", "p1,Radiohead,{1},{0}"),
        ("user,id,name,artist_name", "u,{0},{1},Radiohead"),
    ],
)
def test_an_id_beside_name_and_artists_is_that_of_the_track(tmp_path: Path, header: str, row: str):
    _, tracks = understood(tmp_path, "\n".join([header, row.format("4u", "Creep"), row.format("3u", "Lucky"), ""]))

    assert tracks == [("4u", "Creep", "Radiohead", "Radiohead"), ("3u", "Lucky", "Radiohead", "Radiohead")]


@pytest.mark.parametrize(
    "rows",
    [
        ("Radiohead,Creep", "Muse,Hoodoo"),
        ("Radiohead,Creep", "Radiohead,Lucky"),
        ("Sigur Rós,Gong", "The xx,Intro"),
    ],
)
@pytest.mark.parametrize("whose", ["user", "playlist_id"])
def test_names_of_artists_beside_name_make_no_model_of_artists(tmp_path: Path, whose: str, rows: tuple[str, str]):
    _, tracks = understood(tmp_path, f"{whose},artists,name\nw,{rows[0]}\nw,{rows[1]}\n")

    assert [track[0] for track in tracks] == [row.replace(",", " - ") for row in rows]


def test_a_choice_is_told_with_the_option_that_changes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = "pid,name,track_uri\n1,Gym,t1\n1,Gym,t2\n"

    understood(tmp_path, content)
    assert "If it holds names of tracks, add --columns track_name=name" in " ".join(capsys.readouterr().err.split())
    assert understood(tmp_path, content, track_name="name")[1] == [("t1", "Gym", "", ""), ("t2", "Gym", "", "")]
