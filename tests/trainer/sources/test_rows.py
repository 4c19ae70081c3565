"""Ids of tables: names in their place, blanks and quotes around them, missing ones, and floats of whole numbers."""

import json
from pathlib import Path

import polars as pl
import pytest

from service.engine import bare_id
from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import Interactions, SourceTrack, read
from trainer.sources.chunked_files import BLOCK_BYTES


def a_csv(path: Path, content: str) -> Path:
    (path / "a.csv").write_text(content)
    return path / "a.csv"


def batches(path: Path, **columns: str) -> list[Interactions]:
    return [part for part in read([path], ReadOptions(columns, max_odd=1)) if isinstance(part, Interactions)]


def described(path: Path, block_bytes: int = BLOCK_BYTES) -> dict[str, tuple[SourceTrack, ...]]:
    """Return the tracks of each playlist."""
    found: dict[str, tuple[SourceTrack, ...]] = {}
    for part in read([path], ReadOptions(max_odd=1), block_bytes):
        assert isinstance(part, Interactions)
        for owner, row in zip(part.owners, part.rows, strict=True):
            playlist = part.playlist_ids[owner]
            found[playlist] = (*found.get(playlist, ()), part.tracks[row])
    return found


def ids(path: Path, **columns: str) -> list[tuple[str, str]]:
    """Return the ids of the playlist and of the track, row by row."""
    return [
        (found.playlist_ids[owner], found.tracks[row].id)
        for found in batches(path, **columns)
        for owner, row in zip(found.owners, found.rows, strict=True)
    ]


# Names in place of ids.


@pytest.mark.parametrize(
    "header",
    [
        "user,artist,track",
        "user,artist_name,track_name",
        "user,Artist,Title",
        "User,Interpret,Titel",
        "user,artist,name",
    ],
)
def test_a_track_without_an_id_is_named_by_artist_and_name(tmp_path: Path, header: str):
    path = a_csv(tmp_path, f"{header}\nu,The xx,Intro\nu,alt-J,Intro\nu,The xx , Our  Song\n")

    assert [track for _, track in ids(path)] == ["The xx - Intro", "alt-J - Intro", "The xx - Our Song"]


def test_one_word_names_are_names_if_several_artists_have_them(tmp_path: Path):
    path = a_csv(tmp_path, "user,artist,track\nu,Muse,Intro\nu,Alt,Intro\nu,Alt,Home\n")

    assert [track for _, track in ids(path)] == ["Muse - Intro", "Alt - Intro", "Alt - Home"]


@pytest.mark.parametrize("track", ["t1", "spotify:track:4uLU6hMCjMI75M1A2tKUQC", "Intro"])
def test_ids_in_a_column_like_track_stay_ids(tmp_path: Path, track: str):
    assert ids(a_csv(tmp_path, f"user,artist,track\nu,The xx,{track}\nu,Muse,t2\n")) == [("u", track), ("u", "t2")]


def test_the_column_that_is_given_for_ids_holds_ids(tmp_path: Path):
    path = a_csv(tmp_path, "user,artist,track\nu,The xx,On Hold\nu,Muse,t2\n")

    assert ids(path, track="track") == [("u", "On Hold"), ("u", "t2")]


def test_names_fill_in_for_ids_that_are_missing(tmp_path: Path):
    path = a_csv(tmp_path, "user,artist_name,track_mbid,track_name\nu,Muse,m1,Uprising\nu,Muse,,Hoodoo\nu,,,\n")

    assert ids(path) == [("u", "m1"), ("u", "Muse - Hoodoo")]


def test_a_track_without_an_artist_has_its_name_as_the_id(tmp_path: Path):
    rows = ["Uprising", "On Hold", " On   Hold ", "Jo\u0301ga", "J\u00f3ga"]
    found = ids(a_csv(tmp_path, "pid,song_name\n" + "".join(f"p,{name}\n" for name in rows)))

    assert [track for _, track in found] == ["Uprising", "On Hold", "On Hold", "J\u00f3ga", "J\u00f3ga"]


def test_playlists_of_a_listener_are_told_apart_by_their_names(tmp_path: Path):
    rows = "u,mix,s1\nu,rock,s2\nv,mix,s3\nv,,s4\n"

    expected = [("u - mix", "s1"), ("u - rock", "s2"), ("v - mix", "s3"), ("v", "s4")]
    for header in ("user_id,playlistname,song_id", "user_id,playlist,song_id"):
        path = a_csv(tmp_path, f"{header}\n{rows}")
        assert ids(path) == expected
        assert batches(path)[0].titles[:2] == (["mix", "rock"] if "name" in header else ["", ""])
    assert [user for user, _ in ids(path, playlist="user_id")] == ["u", "u", "v", "v"]


@pytest.mark.parametrize(
    ("header", "odd", "fault"),
    [
        ("pid,song_id", ",s", "no playlist id"),
        ("user,song_id", ",s", "no user id"),
        ("user,playlist_name,song_id", ",mix,s", "no user id"),
        ("playlist_name,song_id", ",s", "no playlist title"),
        ("pid,artist_name,track_name", "p,Muse,", "no track name"),
        ("pid,artist_name,track_name,track_id", "p,Muse,,", "no track id"),
        ("pid,artist_name", "p,", "no artist name"),
    ],
)
def test_a_row_without_the_texts_of_an_id_is_odd_and_the_reason_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], header: str, odd: str, fault: str
):
    sound = ",".join("x" * len(header.split(",")))
    (found,) = batches(a_csv(tmp_path, f"{header}\n{odd}\n{sound}\n"))

    assert len(found.rows) == 1
    assert f"passed over 1: {fault} (data row 1)" in capsys.readouterr().err


def test_names_in_a_column_for_playlists_are_their_titles(tmp_path: Path):
    (found,) = batches(a_csv(tmp_path, "Playlist,song_id\nRainy morning,s\nJazz,s\n"))

    assert (found.playlist_ids, found.titles) == (["Rainy morning", "Jazz"],) * 2


def test_each_listen_of_a_listener_counts(tmp_path: Path):
    (found,) = batches(a_csv(tmp_path, "user,song_id,timestamp\nu,s,1\nu,s,2\n"))

    assert found.counts is not None
    assert found.counts.tolist() == [1, 1]


@pytest.mark.parametrize("header", ["pid", "user,playlist_name", "user,title", "user,playlist"])
def test_times_of_playlists_are_no_listens(tmp_path: Path, header: str):
    whose = {"pid": "p"}.get(header, "u,Rainy morning")
    (found,) = batches(a_csv(tmp_path, f"{header},song_id,timestamp\n{whose},s,1\n{whose},t,2\n"))

    assert found.counts is None


@pytest.mark.parametrize(("column", "short", "long"), [("ms_played", 29_999, 30_000), ("played_ratio_pct", 49, 50)])
def test_short_listens_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, short: int, long: int
):
    assert ids(a_csv(tmp_path, f"user,song_id,{column}\nu,a,{short}\nu,b,{long}\n")) == [("u", "b")]
    assert "left out 1: listens of less than" in capsys.readouterr().err


# Text around ids.

AROUND = ["{}", " {}", "{}\t", "\xa0{}\u3000", '"{}"', ' " {} " ']


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("id_", ["t1", "Weird Al", "a b"])
def test_blanks_and_quotes_around_an_id_are_no_part_of_it_as_in_blocklists(tmp_path: Path, around: str, id_: str):
    text = around.format(id_)
    (tmp_path / "a.jsonl").write_text(json.dumps({"user": text, "song_id": text}))
    pl.DataFrame({"user": [text], "song_id": [text]}).write_parquet(tmp_path / "a.parquet")

    assert bare_id(text) == id_
    for name in ("a.jsonl", "a.parquet"):
        assert ids(tmp_path / name) == [(id_, id_)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", " \r\n", "\r\r\r\n"])
@pytest.mark.parametrize("row", ["u{}s", " u {} s ", '"u"{} "s"', '"u"{}"s"'])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_ends_of_lines_and_blanks_are_no_part_of_ids(tmp_path: Path, end: str, row: str, delimiter: str):
    (tmp_path / "a.txt").write_bytes((delimiter.join(["user", "song_id"]) + end + row.format(delimiter) + end).encode())

    assert ids(tmp_path / "a.txt") == [("u", "s")]


@pytest.mark.parametrize("missing", ["\\N", "NULL", "null", "nan", "NaN", "<NA>", '"NULL"', " \\N "])
def test_texts_for_missing_ids_are_no_ids(tmp_path: Path, missing: str):
    assert ids(a_csv(tmp_path, f"user,song_id\nu,{missing}\nu,s\n{missing},s\n")) == [("u", "s")]


def test_names_are_missing_only_as_databases_write_it(tmp_path: Path):
    (found,) = batches(a_csv(tmp_path, "user,song_id,song_name,artist_name\nu,s,NULL,None\nu,t,\\N,\\N\n"))

    assert [tuple(track) for track in found.tracks] == [("s", "NULL", "None", "None"), ("t", "", "", "")]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;\r"])
def test_a_first_line_may_say_the_delimiter(tmp_path: Path, first: str):
    assert ids(a_csv(tmp_path, f"{first}\nuser;song_id,x\nu;s,1\n"), track="song_id,x") == [("u", "s,1")]


@pytest.mark.parametrize("blank", ["\n", "\r\n", "  \n\n"])
@pytest.mark.parametrize("first", ["sep=;\n", ""])
def test_blank_lines_above_the_header_are_no_rows(tmp_path: Path, first: str, blank: str):
    assert ids(a_csv(tmp_path, f"{first}{blank}user;song_id\nu;s\n")) == [("u", "s")]


# Numbers that are ids.


def test_ids_that_became_floats_are_the_whole_numbers_again(tmp_path: Path):
    whole = [10000001, 7, 2**53]
    pl.DataFrame({"user": [1.0, None, 2.0], "item": [float(id_) for id_ in whole]}).write_parquet(
        tmp_path / "a.parquet"
    )
    a_csv(tmp_path, "user,item\n1.0,10000001.0\n,7.0\n2.0,9007199254740992.0\n")
    (tmp_path / "a.jsonl").write_text(
        '{"user":1.0,"item":10000001.0}\n{"item":7}\n{"user":2,"item":9007199254740992}\n'
    )

    for name in ("a.parquet", "a.csv", "a.jsonl"):
        assert ids(tmp_path / name) == [("1", "10000001"), ("2", "9007199254740992")]


@pytest.mark.parametrize(
    "songs", [["1.0", "x"], ["1.0", "2"], ["7.0", "v1.0"], ["1.5", "2.0"], ["007", "7"], ["1e3", "2e3"]]
)
def test_other_ids_stay_text(tmp_path: Path, songs: list[str]):
    assert [song for _, song in ids(a_csv(tmp_path, f"user,song\nu,{songs[0]}\nu,{songs[1]}\n"))] == songs


@pytest.mark.parametrize("odd", ["x7", "7", "7.5"])
def test_one_odd_id_does_not_keep_the_points_of_the_others(tmp_path: Path, odd: str):
    rows = "".join(f"u,{song}.0\n" for song in range(100))

    assert [song for _, song in ids(a_csv(tmp_path, f"user,song_id\n{rows}u,{odd}\n"))] == [*map(str, range(100)), odd]


@pytest.mark.parametrize("id_", [2.0**53 + 2, 1.2345678901234567e18])
def test_ids_beyond_the_whole_numbers_of_floats_are_an_error(tmp_path: Path, id_: float):
    pl.DataFrame({"user": ["u"], "item": [id_]}).write_parquet(tmp_path / "a.parquet")

    (tmp_path / "a.jsonl").write_text(json.dumps({"user": "u", "item": id_}) + '\n{"user": "u", "item": "t"}\n')

    for path in (tmp_path / "a.parquet", tmp_path / "a.jsonl", a_csv(tmp_path, f"user,item\nu,{id_!r}\n")):
        with pytest.raises(BadInput, match="track ids became floats and lost digits, such as"):
            ids(path)


def test_floats_of_32_bits_lose_digits_sooner(tmp_path: Path):
    ids_ = pl.Series([2.0**24 + 2], dtype=pl.Float32)
    pl.DataFrame({"user": ["u"], "item": ids_}).write_parquet(tmp_path / "a.parquet")

    with pytest.raises(BadInput, match="lost digits"):
        ids(tmp_path / "a.parquet")


# Texts that describe a track, of which the first of each track is cleaned.

HEADER = "playlist_id,track_id,track_name,artist_id,artist_name"


@pytest.mark.parametrize(
    ("rows", "track"),
    [
        (["p,t, Creep ,a, Radiohead"], SourceTrack("t", "Creep", "a", "Radiohead")),
        (["p,t,  ,a,", "q,t,Creep,,Radiohead"], SourceTrack("t", "Creep", "a", "Radiohead")),
        (["p,t,Creep,NULL,Radiohead", "q,t,Creep,a,Radiohead"], SourceTrack("t", "Creep", "a", "Radiohead")),
        (["p,t,\\N,,\\N", "q, t ,Creep,,"], SourceTrack("t", "Creep", "", "")),
        (["p,t,Creep,,Radiohead"], SourceTrack("t", "Creep", "Radiohead", "Radiohead")),
        (["p,t,Creep,a,"], SourceTrack("t", "Creep", "a", "a")),
        (['p,t,"""Creep""",,"""Radiohead"""'], SourceTrack("t", '"Creep"', '"Radiohead"', '"Radiohead"')),
        (["p,t,Creep,\u3000a\xa0,\u2003"], SourceTrack("t", "Creep", "a", "a")),
    ],
)
def test_a_track_has_its_first_texts_that_are_not_blank(tmp_path: Path, rows: list[str], track: SourceTrack):
    later = "".join(f"x{row},u{row},a,b,c\n" for row in range(50))  # and so in a block after the first
    first, second = ("\n".join((HEADER, *parts)) + "\n" for parts in (rows, [later, *rows]))

    assert set(described(a_csv(tmp_path, first))["p"]) == {track}
    assert set(described(a_csv(tmp_path, second), 200)["p"]) >= {track}


@pytest.mark.parametrize("id_", [" t", "t\t", "\xa0t", "t\u2003", '"t"', ' "t" '])
def test_ids_are_clean_in_every_block(tmp_path: Path, id_: str):
    lines = [{"playlist_id": row, "track_id": f"t{row}"} for row in range(20)] + [{"playlist_id": id_, "track_id": id_}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert described(tmp_path / "a.jsonl", 100)["t"] == (SourceTrack("t", "", "", ""),)


def test_whole_numbers_in_json_lines_are_ids_of_any_length(tmp_path: Path):
    tracks = [7, 2**70, "007", 7.0, None, -1]
    lines = "".join(json.dumps({"playlist_id": 1, "track_id": track}) + "\n" for track in tracks)
    (tmp_path / "a.jsonl").write_text(lines)

    expected = ["7", str(2**70), "007", "7", "-1"]
    assert [track for _, track in ids(tmp_path / "a.jsonl")] == expected
    assert [track.id for track in described(tmp_path / "a.jsonl", 35)["1"]] == expected
