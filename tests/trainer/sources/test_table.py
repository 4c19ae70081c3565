"""Tables of interactions as text, JSON lines and Parquet: usual, unusual and damaged."""

import contextlib
import csv
import gzip
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.trainer.sources.inputs import refusal
from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import Interactions, SourceArtist, SourceTrack, read
from trainer.sources.account import Odd
from trainer.sources.chunked_files import BLOCK_BYTES


def a_file(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def a_parquet(path: Path, **columns: Any) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


def batches(path: Path, block_bytes: int = BLOCK_BYTES, **columns: str) -> list[Interactions]:
    found = [
        item for item in read([path], ReadOptions(columns, max_odd=1), block_bytes) if isinstance(item, Interactions)
    ]
    for batch in found:
        assert batch.owners.dtype == batch.rows.dtype == np.int32
        assert len(batch.owners) == len(batch.rows) > 0
        assert len(set(batch.playlist_ids)) == len(batch.playlist_ids) == len(batch.titles)
        assert not (batch.tracks and batch.artists)
    return found


def batch(path: Path, **columns: str) -> Interactions:
    (only,) = batches(path, **columns)
    return only


def pairs(path: Path, block_bytes: int = BLOCK_BYTES, **columns: str) -> list[tuple[str, str]]:
    """Return the ids of the playlist and of the track or artist, row by row."""
    return [
        (found.playlist_ids[owner], (found.tracks or found.artists)[row].id)
        for found in batches(path, block_bytes, **columns)
        for owner, row in zip(found.owners, found.rows, strict=True)
    ]


def odd(path: Path, block_bytes: int = BLOCK_BYTES, **columns: str) -> list[str]:
    """Return the places of the odd rows."""
    reading = read([path], ReadOptions(columns, max_odd=1), block_bytes)
    list(reading)
    (group,) = reading.groups
    return [place for found in group.account.odd.values() for place in found.places]


# Batches.


def test_rows_of_tracks_come_factorised_in_the_order_of_the_file(tmp_path: Path):
    content = (
        "playlist_id,title,track_id,track_name,artist_id,artist_name,plays,position\n"
        "p2,,t1,Creep,a1,Radiohead,3,1\n"
        "p1,mix,t2,Jóga,,Björk,1,2.5\n"
        "p2,quiet,t1,Creep,a1,Radiohead,2,0\n"
        "p2,loud,t3,,a3,,1,3\n"
    )

    found = batch(a_file(tmp_path / "a.csv", content))

    assert found.playlist_ids == ["p2", "p1"]
    assert found.titles == ["quiet", "mix"]
    assert found.tracks == [
        SourceTrack("t1", "Creep", "a1", "Radiohead"),
        SourceTrack("t2", "Jóga", "Björk", "Björk"),
        SourceTrack("t3", "", "a3", "a3"),
    ]
    assert found.artists == []
    assert found.owners.tolist() == [0, 1, 0, 0]
    assert found.rows.tolist() == [0, 1, 0, 2]
    assert found.counts is not None
    assert found.counts.dtype == np.float32
    assert found.counts.tolist() == [3, 1, 2, 1]
    assert found.positions is not None
    assert found.positions.dtype == np.float64
    assert found.positions.tolist() == [1, 2.5, 0, 3]
    assert found.size == len(content.encode())


def test_rows_of_artists_come_without_counts_where_there_are_none(tmp_path: Path):
    found = batch(a_file(tmp_path / "a.csv", "user,artist_id,artist_name\nu,1,\nu,1,Sia\nu,2,\nu,,Moby\n"))

    assert found.artists == [SourceArtist("1", "Sia"), SourceArtist("2", "2"), SourceArtist("Moby", "Moby")]
    assert found.tracks == []
    assert found.counts is None
    assert found.positions is None


def test_artists_may_have_a_name_alone(tmp_path: Path):
    assert batch(a_file(tmp_path / "a.csv", "user,Artist Name\nu,Sia\n")).artists == [SourceArtist("Sia", "Sia")]


def test_the_first_name_that_is_there_is_the_name_of_a_track(tmp_path: Path):
    content = "pid,track,track_name,artist,artist_name\n1,t,,,\n2,t,Creep,a,Radiohead\n3,t,Other,b,Other\n"

    assert batch(a_file(tmp_path / "a.csv", content)).tracks == [SourceTrack("t", "Creep", "a", "Radiohead")]


def test_a_table_of_any_size_is_read_in_batches(tmp_path: Path):
    rows = [(f"u{number // 7}", f"t{number % 50}") for number in range(1200)]
    users, songs = zip(*rows, strict=True)
    frame = pl.DataFrame({"user": users, "song": songs})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=100)

    for name, block in (("a.csv", 600), ("a.jsonl", 2000), ("a.parquet", 600)):
        sizes = [found.size for found in batches(tmp_path / name, block)]
        assert len(sizes) > 10
        assert pairs(tmp_path / name, block) == rows
        assert 0.9 < sum(sizes) / (tmp_path / name).stat().st_size <= 1
        assert max(sizes) < sum(sizes) / 5


# Ids.


def test_ids_are_kept_as_text(tmp_path: Path):
    content = "user,song\n007,1\n7,1.0\n7,1e3\n7, x\n7,x \n7,X\n7,x\n"

    assert [song for _, song in pairs(a_file(tmp_path / "a.csv", content))] == [
        "1", "1.0", "1e3", "x", "x", "X", "x",
    ]  # fmt: skip
    assert batch(tmp_path / "a.csv").playlist_ids == ["007", "7"]


def test_ids_that_are_numbers_here_and_text_there_are_all_text(tmp_path: Path):
    content = '{"user":1,"song":7}\n{"song":"7","user":"1"}\n{"user":1,"song":123456789012345678901234567890}\n'

    assert pairs(a_file(tmp_path / "a.jsonl", content)) == [
        ("1", "7"),
        ("1", "7"),
        ("1", "123456789012345678901234567890"),
    ]


def test_ids_in_parquet_may_be_numbers_text_categories_or_bytes(tmp_path: Path):
    users = (
        [7, 8],
        pl.Series([7, 8], dtype=pl.UInt8),
        ["7", "8"],
        pl.Series(["7", "8"], dtype=pl.Categorical),
        [b"7", b"8"],
    )
    for column in users:
        assert pairs(a_parquet(tmp_path / "a.parquet", user=column, song=["x", "y"])) == [("7", "x"), ("8", "y")]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: a_file(path / "a.csv", "user,song\nu,1\nu,\n"),
        lambda path: a_file(path / "a.tsv", "song\tuser\n1\tu\n1\t\n"),
        lambda path: a_file(path / "a.jsonl", '{"user":"u","song":"1"}\n{"user":"u"}\n'),
        lambda path: a_file(path / "b.jsonl", '{"user":"u","song":"1"}\n{"user":null,"song":1}\n'),
        lambda path: a_parquet(path / "a.parquet", user=["u", "u"], song=["1", None]),
        lambda path: a_parquet(path / "a.parquet", user=["u", "u"], song=["1", ""]),
        lambda path: a_parquet(path / "a.parquet", user=[1.0, float("nan")], song=["1", "2"]),
    ],
)
def test_a_row_without_an_id_is_odd(tmp_path: Path, write: Callable[[Path], Path]):
    assert re.search(r"1: no (user|track) id \(data row 2\)", refusal(write(tmp_path)))


def test_the_number_of_a_row_counts_through_all_batches(tmp_path: Path):
    lines = '{"user":"u","song":1}\n'
    songs = ["1"] * 70 + [""]
    for path in (
        a_file(tmp_path / "a.csv", "user,song\n" + "u,1\n" * 70 + "u,\n"),
        a_file(tmp_path / "b.csv", "user,song\n" + "u,1\n" * 70 + "u\n"),
        a_file(tmp_path / "c.csv", b"user,song\n" + b"u,1\n" * 70 + b"u,\xff\n"),
        a_file(tmp_path / "a.jsonl", lines * 70 + '{"user":[]}\n'),
        a_parquet(tmp_path / "a.parquet", user=["u"] * 71, song=songs),
    ):
        assert odd(path, 64) == ["data row 71"]
        assert len(pairs(path, 64)) == 70


# Counts and positions.


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf", "-inf", "", "1,5", "1e999"])
def test_a_row_whose_count_is_no_number_from_0_up_is_odd(tmp_path: Path, value: str):
    path = a_file(tmp_path / "a.tsv", f"user\tsong\tplays\nu\t1\t2\nu\t2\t{value}\nu\t3\t1\n")

    assert odd(path) == ["data row 2"]
    assert pairs(path) == [("u", "1"), ("u", "3")]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5, None])
def test_a_row_of_parquet_whose_count_is_no_number_is_odd(tmp_path: Path, value: float | None):
    assert odd(a_parquet(tmp_path / "a.parquet", user=["u", "u"], song=["1", "2"], plays=[1.0, value])) == [
        "data row 2"
    ]


@pytest.mark.parametrize("value", ["abc", "nan", "inf", "", "8/12"])
def test_a_row_whose_position_is_no_number_comes_last(tmp_path: Path, value: str):
    found = batch(a_file(tmp_path / "a.csv", f"user,song,pos\nu,1,{value}\nu,2,7\n"))

    assert found.positions is not None
    assert found.positions.tolist() == [np.inf, 7]


def test_the_number_of_a_track_on_its_album_is_no_position(tmp_path: Path):
    found = batch(a_file(tmp_path / "a.csv", "pid,track_id,Track Number,tracknumber\n1,a,8/12,8\n1,b,3/12,3\n"))

    assert found.positions is None


@pytest.mark.parametrize("plays", [[2, 10**18], [2.0, 1e18], ["2", " 1e18 "]])
def test_counts_may_be_of_any_kind_and_absurd(tmp_path: Path, plays: list[Any]):
    counts = batch(a_parquet(tmp_path / "a.parquet", user=["u", "u"], song=["1", "2"], plays=plays)).counts

    assert counts is not None
    assert counts.tolist() == [2, 1e9]


def test_rows_with_a_count_of_0_are_passed_over_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = "user,song,plays,pos\n" + "u,1,0,1\nv,2,1,2\n" * 12 + "w,3,0,1\n" * 20

    found = batches(a_file(tmp_path / "a.csv", content), 50)

    assert {user for one in found for user in one.playlist_ids} == {"v"}
    assert all(one.positions is not None and one.positions.tolist() == [2] * len(one.rows) for one in found)
    assert "left out 32: a count of 0" in capsys.readouterr().err


# Columns.


@pytest.mark.parametrize(
    "header",
    [
        "playlist_id,track_id",
        "Playlist ID,Track-Uri",
        "PID,SongID",
        " user_id , item ",
        "listener,song",
        "sessionId,recording_mbid",
        "user,artist",
        "user,artist_mbid",
        "user,artname",
    ],
)
def test_columns_are_known_by_their_usual_names(tmp_path: Path, header: str):
    assert pairs(a_file(tmp_path / "a.csv", f"{header}\n1,2\n")) == [("1", "2")]


def test_name_alone_is_the_name_of_a_track_where_there_are_tracks(tmp_path: Path):
    assert batch(a_file(tmp_path / "a.csv", "pid,track,name\n1,t,Creep\n")).tracks[0].name == "Creep"
    assert batch(a_file(tmp_path / "b.csv", "pid,track,name,song name\n1,t,x,Creep\n")).tracks[0].name == "Creep"
    assert batch(a_file(tmp_path / "c.csv", "pid,artist,name\n1,a,x\n")).artists == [SourceArtist("a", "x")]


TITLES = (
    # titles of: each playlist, some of them, each track
    ("mix,mix,rock", "title"),
    ("mix,,rock", "title"),
    (",,", "title"),
    ("Creep,Joga,Creep", "track_name"),
)


@pytest.mark.parametrize(("titles", "role"), TITLES)
def test_titles_are_the_playlists_unless_a_playlist_has_several(tmp_path: Path, titles: str, role: str):
    one, two, three = titles.split(",")
    songs = ["a", "b", "a"]
    a_file(tmp_path / "a.csv", f"user,song,title\n1,a,{one}\n1,b,{two}\n2,a,{three}\n")
    pl.DataFrame({"user": [1, 1, 2], "song": songs, "title": [one, two, three]}).write_ndjson(tmp_path / "a.jsonl")
    a_parquet(tmp_path / "a.parquet", user=[1, 1, 2], song=songs, title=[one or None, two, three])

    for name in ("a.csv", "a.jsonl", "a.parquet"):
        found = batch(tmp_path / name)
        assert found.titles == ([one, three] if role == "title" else ["", ""])
        assert [track.name for track in found.tracks] == ([one, two] if role == "track_name" else ["", ""])


def test_the_role_of_titles_is_reported_once_with_the_option_that_changes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = a_file(tmp_path / "a.csv", "user,song,title\n1,a,Creep\n1,b,Joga\n" + "2,c,Army of Me\n" * 9)

    assert {track.name for found in batches(path, 40) for track in found.tracks} == {"Creep", "Joga", "Army of Me"}
    said = capsys.readouterr().err
    assert said.count("taken for names of tracks") == 1
    assert said.endswith("--columns title=title\n")


def test_titles_whose_role_the_header_decides_are_not_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    both = "1,a,x,y\n1,b,z,y\n"
    for header in ("user,song,track_name,title", "user,song,name,title", "user,song,title,playlist_name"):
        found = batch(a_file(tmp_path / "a.csv", f"{header}\n{both}"))
        assert found.titles == ["y"]
        assert [track.name for track in found.tracks] == ["x", "z"]
    alone = a_file(tmp_path / "b.csv", "user,song,title\n1,a,x\n1,b,z\n")
    assert batch(alone, title="title").titles == ["x", "z"]
    assert batch(alone, title="title").playlist_ids == ["1 - x", "1 - z"]
    assert [track.name for track in batch(alone, track_name="title").tracks] == ["x", "z"]
    assert "the titles are taken" not in capsys.readouterr().err


def test_titles_of_tracks_make_ids_beside_an_artist(tmp_path: Path):
    found = batch(a_file(tmp_path / "a.csv", "user,artist,title\n1,a,Creep\n1,a,Just\n"))

    assert found.titles == [""]
    assert [track.id for track in found.tracks] == ["a - Creep", "a - Just"]


def test_a_column_may_have_two_roles(tmp_path: Path):
    a_file(tmp_path / "a.csv", "user,name\n1,Creep\n")
    a_file(tmp_path / "a.jsonl", '{"user":1,"name":"Creep"}\n')
    a_parquet(tmp_path / "a.parquet", user=[1], name=["Creep"])

    for name in ("a.csv", "a.jsonl", "a.parquet"):
        assert batch(tmp_path / name, track="name", track_name="name").tracks == [SourceTrack("Creep", "Creep", "", "")]


def test_columns_that_are_named_go_before_those_that_are_guessed(tmp_path: Path):
    path = a_file(tmp_path / "a.csv", "who,user,song,item,title,n\n1,2,3,4,Creep,5\n")

    found = batch(path, playlist="who", track="item", track_name="title", count="n")

    assert found.playlist_ids == ["1"]
    assert found.tracks == [SourceTrack("4", "Creep", "", "")]
    assert found.titles == [""]
    assert found.counts is not None
    assert found.counts.tolist() == [5]


def test_columns_are_named_in_json_lines_and_parquet_too(tmp_path: Path):
    assert pairs(a_file(tmp_path / "a.jsonl", '{"a b":1,"^c.*$":2,"cd":3}\n'), playlist="a b", track="^c.*$") == [
        ("1", "2")
    ]
    path = a_parquet(tmp_path / "a.parquet", **{"a b": [1], "^c.*$": [2], "cd": [3]})
    assert pairs(path, playlist="a b", track="^c.*$") == [("1", "2")]


def test_a_key_that_only_later_lines_have_is_a_column(tmp_path: Path):
    content = '{"user":1,"song":2}\n{"user":1,"song":3,"song_name":"x","other":{"a":[1]}}\n'

    assert [track.name for track in batch(a_file(tmp_path / "a.jsonl", content)).tracks] == ["", "x"]


@pytest.mark.parametrize(
    ("header", "columns", "said"),
    [
        (
            "a,b",
            {},
            "no column for the playlist or the user and none for the track or the artist. The columns are a, b.",
        ),
        ("a,b", {}, "Name the columns, as in --columns playlist=...,track=..."),
        ("user,b", {}, "no column for the track or the artist. The columns are user, b. Name the columns, as in"),
        ('"a, b",song', {}, "no column for the playlist or the user. The columns are 'a, b', song."),
        ("a,song", {}, "If each such file is one playlist, add --columns playlist="),
        ("user,song,item", {}, "2 columns for the track, 'song' and 'item'"),
        ("user,song,item", {}, "Choose one: --columns track=song or --columns track=item."),
        ('user,"song, id",item_id', {}, "--columns 'track=song\\, id' or --columns track=item_id."),
        ("user,song", {"track": "sng"}, "no column 'sng' for the track. The columns are user, song."),
        ("user,song", {"track": "3"}, "no column '3' for the track. The columns are user, song."),
        ("user,song", {"sung": "song"}, "--columns has no role 'sung'. Use playlist, user, track, track_name, artist"),
        ("user,artist,song,song ", {}, "2 columns for the track, 'song' and 'song'"),
        ("user,song,song", {"track": "song"}, "more than one column 'song'"),
    ],
)
def test_unsuitable_columns_are_refused_with_those_found_and_a_fix(
    tmp_path: Path, header: str, columns: dict[str, str], said: str
):
    assert said in refusal(a_file(tmp_path / "a.csv", f"{header}\n"), **columns)


# Delimited text.


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_delimiter_is_that_of_the_header(tmp_path: Path, delimiter: str, end: str, mark: bytes):
    content = end.join(
        delimiter.join(row) for row in (("user", "song", "song_name"), ("1", "2", "a:b"), ("1", "3", ""))
    )
    path = a_file(tmp_path / "a.txt", mark + content.encode())

    found = batches(path)  # two, as the last line has no end

    assert [track[:2] for one in found for track in one.tracks] == [("2", "a:b"), ("3", "")]
    assert [one.playlist_ids for one in found] == [["1"], ["1"]]


def test_quoted_fields_may_hold_anything(tmp_path: Path):
    content = 'user,song,"song_name"\n1,a,"x, y"\n1,b,"p\nq"\n1,c,"say ""hi"""\n1,"d,e",""\n'

    assert [track[:2] for track in batch(a_file(tmp_path / "a.csv", content)).tracks] == [
        ("a", "x, y"),
        ("b", "p\nq"),
        ("c", 'say "hi"'),
        ("d,e", ""),
    ]


def test_quotes_between_tabs_are_kept_unless_they_quote_the_whole_field(tmp_path: Path):
    content = 'user\tsong\tsong_name\n1\ta\t12" mix\n1\tb\t"He said ""x"""\n1\tc\t"open\n1\td\t"Heroes" live\n1\te\t"\n'

    found = batches(a_file(tmp_path / "a.tsv", content))

    assert [track.name for part in found for track in part.tracks] == [
        '12" mix',
        'He said "x"',
        '"open',
        '"Heroes" live',
        '"',
    ]


def test_quotes_inside_a_field_without_quotes_are_literal(tmp_path: Path):
    content = 'user,song,song_name\n1,a,12" mix\n1,b,"x, ""y"""\n1,c,7"\n\n1,d,"p\nq"\n'
    for block in (5, 30, 1000):
        names = [track.name for found in batches(a_file(tmp_path / "a.csv", content), block) for track in found.tracks]
        assert names == ['12" mix', 'x, "y"', '7"', "p\nq"]


def test_any_table_that_pythons_csv_module_writes_is_read_back(tmp_path: Path):
    random_ = random.Random(3)
    bits = ["a", "ä", '"', '""', ",", ";", "\t", "\n", "\r\n", " ", "\x0c", "\u2028", '12" ']
    for _ in range(60):
        rows = [
            (str(random_.randrange(5)), str(number), "".join(random_.choices(bits, k=random_.randrange(6))))
            for number in range(random_.randrange(1, 20))
        ]
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=random_.choice(",;|"), lineterminator=random_.choice(["\n", "\r\n"]))
        writer.writerows([("user", "song", "song_name"), *rows])
        path = a_file(tmp_path / "a.csv", text.getvalue())

        found = [
            (one.playlist_ids[owner], *one.tracks[row][:2])
            for one in batches(path, random_.choice([7, 50, 1000]))
            for owner, row in zip(one.owners, one.rows, strict=True)
        ]
        assert found == [(user, song, name.strip()) for user, song, name in rows]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_blank_lines_are_no_rows(tmp_path: Path, name: str):
    delimiter = "," if name == "a.csv" else "\t"
    content = "\nuser,song\n1,a\n\n2,b\n\n\n".replace(",", delimiter)

    assert pairs(a_file(tmp_path / name, content)) == [("1", "a"), ("2", "b")]


@pytest.mark.parametrize("row", ["2", "2,b,c,d", '2,"b",c,d', '2,"b,c"'])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_row_with_too_few_or_too_many_fields_is_odd(tmp_path: Path, name: str, row: str):
    content = f"user,song,song_name\n1,a,x\n{row}\n3,c,y\n"
    if name == "a.tsv":
        content = content.replace('"b,c"', "b").replace(",", "\t")

    assert odd(a_file(tmp_path / name, content)) == ["data row 2"]
    assert pairs(tmp_path / name) == [("1", "a"), ("3", "c")]


def test_too_few_fields_in_one_row_do_not_cancel_too_many_in_another(tmp_path: Path):
    assert "data row 1" in refusal(a_file(tmp_path / "a.csv", "user,song,x\n1,a\n2,b,c,d\n"))


@pytest.mark.parametrize("row", ['1,"open', '1,"shut" not', '1,""b"', '1,""b""'])
def test_quotes_that_do_not_pair_up_cost_their_row_alone(tmp_path: Path, row: str):
    path = a_file(tmp_path / "a.csv", f'user,song\n1,a\n{row}\n3,c\n3,"d"\n3,e\n')

    assert odd(path) == ["data row 2"]
    assert pairs(path) == [("1", "a"), ("3", "c"), ("3", "d"), ("3", "e")]


def test_quotes_may_be_escaped_by_backslashes(tmp_path: Path):
    path = a_file(
        tmp_path / "a.csv", 'user,song,song_name\n"1","a","Joe \\"King\\" Carrasco"\n"1","b","\\"Heroes\\""\n'
    )

    assert [track.name for track in batch(path).tracks] == ['Joe "King" Carrasco', '"Heroes"']


@pytest.mark.parametrize("odd_row", ["1,x", "1,x,y,z", '1,"x,y', "1"])
@pytest.mark.parametrize("escaped", ['"12\\" mix"', '"\\"Heroes\\""', '"so, \\"12, mix\\""'])
def test_one_odd_row_does_not_spoil_those_with_escaped_quotes(tmp_path: Path, odd_row: str, escaped: str):
    rows = [f"1,{row},{escaped}" for row in range(9)]
    path = a_file(tmp_path / "a.csv", "\n".join(["user,song,song_name", *rows[:5], odd_row, *rows[5:], ""]))

    assert len(odd(path)) == 1
    names = [track.name for found in batches(path) for track in found.tracks]
    assert names == [escaped[1:-1].replace("\\", "")] * 9


@pytest.mark.parametrize("block_bytes", range(20, 60, 3))
def test_a_quoted_newline_between_tabs_is_whole_wherever_a_block_ends(tmp_path: Path, block_bytes: int):
    rows = "".join(f'1\t{row}\t"So\nng {row}"\n1\tx{row}\tplain\n' for row in range(9))
    path = a_file(tmp_path / "a.tsv", f"user\tsong\tsong_name\n{rows}")

    names = [track.name for found in batches(path, block_bytes) for track in found.tracks]

    assert names == [name for row in range(9) for name in (f"So\nng {row}", "plain")]


def test_the_places_of_odd_rows_are_the_first_three_of_each_fault(tmp_path: Path):
    path = a_file(tmp_path / "a.csv", "user,song,plays\nu,1,1\nu,,1\nu,2,x\nu,,1\nu,,1\nu,,1\nu,3,1\n")

    assert odd(path) == ["data row 2", "data row 4", "data row 5", "data row 3"]
    assert "4: no track id (data row 2, data row 4, data row 5, ...)" in refusal(path)


def test_every_row_after_a_quote_that_never_closes_is_read(tmp_path: Path):
    path = a_file(tmp_path / "a.csv", 'user,song\n1,"a\n1,b\n1,"c" x\n1,"d" \n1,e\n')

    assert odd(path) == ["data row 1", "data row 3"]
    assert pairs(path) == [("1", "b"), ("1", "d"), ("1", "e")]


def test_a_quoted_newline_between_tabs_is_part_of_its_field(tmp_path: Path):
    content = 'user\tsong\tsong_name\n1\ta\t"So\nng"\n1\tb\t12" mix\n1\tc\t"open\n2\td\tlast\n'

    found = batch(a_file(tmp_path / "a.tsv", content))

    assert [track.name for track in found.tracks] == ["So\nng", '12" mix', '"open', "last"]


def test_a_header_alone_yields_nothing(tmp_path: Path):
    for content in ("user,song", "user,song\n", "\ufeffuser;song\r\n"):
        assert batches(a_file(tmp_path / "a.csv", content)) == []


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.jsonl"])
@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_reported(tmp_path: Path, name: str, content: bytes):
    assert "is empty" in refusal(a_file(tmp_path / name, content))


def test_a_header_that_is_not_utf8_is_refused(tmp_path: Path):
    said = refusal(a_file(tmp_path / "a.csv", "usër,song\n1,2\n".encode("latin-1")))

    assert "its header is not UTF-8. Convert the file to UTF-8." in said


def test_a_row_that_is_not_utf8_is_odd(tmp_path: Path):
    path = a_file(tmp_path / "a.csv", "user,song,n\n1,2,ö\n".encode("latin-1") + "1,3,ö\n".encode())

    assert odd(path) == ["data row 1"]
    assert pairs(path) == [("1", "3")]
    assert "1: not UTF-8, convert the file" in refusal(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl", "a"])
def test_text_of_windows_programs_is_read(tmp_path: Path, encoding: str, name: str):
    table = '{"user":1,"song":"ö"}\r\n' if name == "a.jsonl" else "user,song\r\n1,ö\r\n"

    assert pairs(a_file(tmp_path / name, (table * 1).encode(encoding))) == [("1", "ö")]


def test_a_line_of_many_blocks_is_refused(tmp_path: Path):
    assert "a line has more than" in refusal(a_file(tmp_path / "a.csv", "user,song\n" + "x" * 5000), 100)


def test_a_line_of_a_few_blocks_is_read(tmp_path: Path):
    assert pairs(a_file(tmp_path / "a.csv", f"user,song\nu,{'x' * 500}\n"), 100) == [("u", "x" * 500)]


def test_lines_that_end_in_carriage_returns_alone_are_refused(tmp_path: Path):
    assert "carriage returns" in refusal(a_file(tmp_path / "a.csv", "user,song\r1,2\r"))


def test_a_path_that_looks_like_a_pattern_is_a_path(tmp_path: Path):
    assert pairs(a_file(tmp_path / "a[1]*.csv", "user,song\n1,2\n")) == [("1", "2")]
    assert pairs(a_parquet(tmp_path / "a[1]*.parquet", user=["1"], song=["2"])) == [("1", "2")]


# Packed files.


def test_text_of_any_name_may_be_packed(tmp_path: Path):
    a_file(tmp_path / "a.csv.gz", gzip.compress(b"user,song\n") + gzip.compress("1,ä\n".encode()))
    a_file(tmp_path / "b.csv", gzip.compress("user,song\n1,ä\n".encode()))
    a_file(tmp_path / "empty_first.csv.gz", gzip.compress(b"") + gzip.compress("user,song\n1,ä\n".encode()))
    pl.DataFrame({"user": ["1"], "song": ["ä"]}).write_csv(tmp_path / "c.csv.zst", compression="zstd")

    for name in ("a.csv.gz", "b.csv", "empty_first.csv.gz", "c.csv.zst"):
        assert pairs(tmp_path / name) == [("1", "ä")]


def test_a_packed_file_that_is_cut_short_or_damaged_is_refused(tmp_path: Path):
    random_ = np.random.default_rng(0)
    content = "user,song\n" + "".join(f"u,{random_.bytes(9).hex()}\n" for _ in range(5000))
    whole = gzip.compress(content.encode())
    frame = pl.read_csv(content.encode())
    frame.write_csv(tmp_path / "whole.zst", compression="zstd")

    assert "cut short" in refusal(a_file(tmp_path / "a.csv.gz", whole[: len(whole) // 2]))
    assert "cut short" in refusal(a_file(tmp_path / "a.csv.gz", whole[:-3]))
    assert "cut short" in refusal(a_file(tmp_path / "a.csv.gz", whole[:12]))
    assert "damaged" in refusal(a_file(tmp_path / "a.csv.gz", whole[:2] + b"\xff" * 50))
    assert "damaged" in refusal(a_file(tmp_path / "a.csv.zst", (tmp_path / "whole.zst").read_bytes()[:-9]))


# JSON lines.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"user":1,"song":', "truncated"),
        ('{"user":1,"song":true}', "got `bool` - at `$.song`"),
        ('{"user":1,"song":[2]}', "got `array` - at `$.song`"),
        ("[1,2]", "got `array`"),
        ("1,2", "Expected `object`"),
    ],
)
def test_a_line_that_is_not_an_object_of_text_and_numbers_is_odd(tmp_path: Path, line: str, said: str):
    path = a_file(tmp_path / "a.jsonl", f'{{"user":1,"song":2}}\n\n{line}\n{{"user":1,"song":3}}\n')

    assert odd(path) == ["data row 2"]
    assert pairs(path) == [("1", "2"), ("1", "3")]
    assert said in refusal(path) or "malformed" in refusal(path)


@pytest.mark.parametrize("half", [r"\ud83d", r"\udc4d", r"\ud83d\ud83d"])
def test_half_an_emoji_costs_that_letter_alone(tmp_path: Path, half: str):
    path = a_file(tmp_path / "a.jsonl", f'{{"user":1,"song":2,"song_name":"x{half}y \\ud83d\\udc4d"}}\n')

    lost = "\ufffd" * half.count("u")
    assert batch(path).tracks[0].name == f"x{lost}y 👍"


def mended(path: Path) -> dict[str, Odd]:
    reading = read([path])
    list(reading)
    return reading.groups[0].account.mended


@pytest.mark.parametrize("field", ["song_name", "title", "artist"])
def test_half_an_emoji_in_json_lines_is_counted_with_its_first_places(tmp_path: Path, field: str):
    half = f'{{"user":1,"song":2,"{field}":"x\\ud83d"}}\n'
    path = a_file(tmp_path / "a.jsonl", f'{{"user":1,"song":2,"{field}":"x"}}\n' + half * 4)

    assert mended(path) == {
        "half a character, replaced": Odd(4, ["data row 2", "data row 3", "data row 4"]),
    }


@pytest.mark.parametrize("field", ["user", "song", "playlist_id", "track_id"])
def test_ids_with_half_a_character_do_not_become_one_id(tmp_path: Path, field: str):
    sound = {"user": 1, "song_id": 2} if field in ("user", "song") else {"playlist_id": 1, "track_id": 2}
    name = "song_id" if field == "song" else field
    lines = [json.dumps(sound), *(json.dumps(sound | {name: f"t{half}"}) for half in ("\ud83d", "\udc00", "\ud83d"))]
    path = a_file(tmp_path / "a.jsonl", "\n".join(lines) + "\n")

    assert pairs(path) == [("1", "2")]
    assert odd(path) == ["data row 2", "data row 3", "data row 4"]


@pytest.mark.parametrize("bad", [b"t\xff", b"\xed\xa0\x80"])
@pytest.mark.parametrize("role", ["user", "song_id", "song_name"])
def test_bytes_in_parquet_that_are_not_utf8_cost_their_row(tmp_path: Path, role: str, bad: bytes):
    columns: dict[str, list[bytes | None]] = {name: [b"1", "\xf3".encode(), b"3"] for name in ("user", "song_id")}
    columns["song_name"] = [b"x", None, b"z"]
    columns[role] = [columns[role][0], bad, columns[role][2]]
    path = a_parquet(tmp_path / "a.parquet", **columns)

    assert pairs(path) == [("1", "1"), ("3", "3")]
    assert odd(path) == ["data row 2"]


@pytest.mark.parametrize("content", [r'"genre":"x\ud83d"', r'"song_name":"x \ud83d\udc4d"', r'"song_name":"�"'])
def test_other_letters_and_unused_columns_are_not_counted_as_half(tmp_path: Path, content: str):
    path = a_file(tmp_path / "a.jsonl", f'{{"user":1,"song":2,{content}}}\n')

    assert mended(path) == {}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_half_an_emoji_in_utf16_is_replaced_and_counted(tmp_path: Path, encoding: str, name: str):
    rows = {
        "a.csv": "user,song,song_name\n1,2,x\ud83dy👍\n",
        "a.jsonl": '{"user":1,"song":2,"song_name":"x\ud83dy👍"}\n',
    }
    path = a_file(tmp_path / name, (rows[name] * 2).encode(encoding, "surrogatepass"))

    assert mended(path)["half a character, replaced"].n == 2
    assert batch(path).tracks[0].name == "x\ufffdy👍"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("header", ["user,song_id,song_name", "用户,歌曲,歌名"])
def test_utf16_of_mostly_chinese_text_needs_no_mark(tmp_path: Path, encoding: str, header: str):
    rows = "".join(f"王,曲{row},夕阳之歌夕阳之歌夕阳之歌\n" for row in range(9))

    assert pairs(a_file(tmp_path / "a.csv", f"{header}\n{rows}".encode(encoding)))[0] == ("王", "曲0")


@pytest.mark.parametrize("row", ["1,a\rb", "1\r,a", '1,"a"\rb'])
def test_a_carriage_return_within_a_row_is_called_so_or_is_text(tmp_path: Path, row: str):
    path = a_file(tmp_path / "a.csv", f'user,song\n1,2\n{row}\n1,"3" x\n1,4\n')
    reading = read([path], ReadOptions(max_odd=1))
    list(reading)

    assert not any("universal-newline" in fault for group in reading.groups for fault in group.account.odd)


def test_fields_in_json_lines_may_be_null_or_missing_or_text_for_numbers(tmp_path: Path):
    content = '\ufeff{"user":1,"song":2,"title":null,"plays":"3","track_name":4}\r\n\n{"user":1,"song":3,"plays":1.5}\n'

    found = batch(a_file(tmp_path / "a.ndjson", content))

    assert found.tracks == [SourceTrack("2", "4", "", ""), SourceTrack("3", "", "", "")]
    assert found.titles == [""]
    assert found.counts is not None
    assert found.counts.tolist() == [3, 1.5]


def test_a_json_line_that_is_not_utf8_is_odd(tmp_path: Path):
    content = '{"user":1,"song":2}\n{"user":1,"song":"ö"}\n'.encode("latin-1")

    assert odd(a_file(tmp_path / "a.jsonl", content)) == ["data row 2"]


# Parquet.


def test_a_parquet_file_of_no_rows_yields_nothing(tmp_path: Path):
    assert batches(a_parquet(tmp_path / "a.parquet", user=[], song=[])) == []


def test_fields_in_parquet_may_be_null(tmp_path: Path):
    path = a_parquet(tmp_path / "a.parquet", user=["u"], song=["s"], title=[None], song_name=pl.Series([None]), pos=[1])

    found = batch(path)

    assert found.tracks == [SourceTrack("s", "", "", "")]
    assert found.titles == [""]


def test_each_element_of_a_list_is_a_row(tmp_path: Path):
    path = a_parquet(tmp_path / "a.parquet", user=["u", "v"], song=[["a", "b"], ["b"]], plays=[[3.0, 2.0], [1.0]])

    for block_bytes in (1, BLOCK_BYTES):
        assert pairs(path, block_bytes) == [("u", "a"), ("u", "b"), ("v", "b")]
    found = batch(path).counts
    assert found is not None
    assert found.tolist() == [3, 2, 1]


def test_columns_beside_lists_are_repeated_and_empty_lists_are_no_rows(tmp_path: Path):
    songs = pl.Series([["a", "b"], None, [], ["c"]])
    path = a_parquet(tmp_path / "a.parquet", playlist_id=[1, 2, 3, 4], title=["x", "y", "z", "w"], song_id=songs)

    found = batch(path)

    assert pairs(path) == [("1", "a"), ("1", "b"), ("4", "c")]
    assert found.titles == ["x", "w"]


def test_lists_of_different_lengths_are_passed_over(tmp_path: Path):
    songs, plays = [["a", "b"], ["c"], ["d"]], [[1, 2], [3, 4], None]
    path = a_parquet(tmp_path / "a.parquet", user=[1, 2, 3], song=songs, plays=plays)

    assert pairs(path) == [("1", "a"), ("1", "b")]
    assert "2 of 4 rows are odd, 2: lists of different lengths" in refusal(path)


@pytest.mark.parametrize(("song", "held"), [([[["a"]]], "List(String)"), ([{"id": "a"}], "Struct({'id': String})")])
def test_nested_values_are_refused(tmp_path: Path, song: list[Any], held: str):
    said = refusal(a_parquet(tmp_path / "a.parquet", user=["u"], song=song))

    assert f"its column 'song' holds {held}. Text or numbers are expected for the track." in said


def test_a_count_that_is_a_date_is_refused(tmp_path: Path):
    dates = pl.Series([1], dtype=pl.Date)

    assert "Numbers are expected for the count" in refusal(
        a_parquet(tmp_path / "a.parquet", user=["u"], song=["a"], plays=dates)
    )


def test_a_parquet_file_that_is_none_or_cut_short_is_refused(tmp_path: Path):
    whole = a_parquet(tmp_path / "a.parquet", user=["u"] * 99, song=["a"] * 99).read_bytes()

    assert "not a whole Parquet file" in refusal(a_file(tmp_path / "a.parquet", whole[:-20]))
    assert "not a whole Parquet file" in refusal(a_file(tmp_path / "a", whole[: len(whole) // 2]))
    assert "not a Parquet file" in refusal(a_file(tmp_path / "a.parquet", "user,song\n1,2\n"))
    assert "not a Parquet file" in refusal(a_file(tmp_path / "a.parquet", b""))


def test_a_parquet_file_damaged_anywhere_gives_no_traceback(tmp_path: Path):
    whole = a_parquet(tmp_path / "a.parquet", user=["u", "v"] * 9, song=["a", "b", "c"] * 6).read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        with contextlib.suppress(BadInput):
            list(read([a_file(tmp_path / "a.parquet", bytes(damaged))]))
