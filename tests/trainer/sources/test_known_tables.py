"""Tables that people have, in their exact shape: each is read without an option, and the run says its name."""

import zipfile
from pathlib import Path

import polars as pl
import pytest

from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import Interactions, read
from trainer.sources.headers import EXPORTIFY

HASH = "b80344d063b5ccb3212f76538f3d9e43d87dca9e"
MBID = "f1b1cf71-bd35-4e99-8624-24a6e15f133a"
Rows = list[tuple[str, str, str, str, float | None]]


def understood(*paths: Path, **columns: str) -> tuple[Rows, str]:
    """Return each row as playlist, title, track, artist and count; and the name of the format."""
    reading = read(paths, ReadOptions(columns))
    rows = [
        (
            found.playlist_ids[owner],
            found.titles[owner],
            found.tracks[row].id,
            found.tracks[row].artist_name,
            None if found.counts is None else float(found.counts[place]),
        )
        for found in reading
        if isinstance(found, Interactions)
        for place, (owner, row) in enumerate(zip(found.owners, found.rows, strict=True))
    ]
    (format_,) = {group.account.format for group in reading.groups}
    return rows, format_


def a_file(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(line + end for line in lines), newline="")
    return path


URI = "spotify:track:4uLU6hMCjMI75M1A2tKUQC"
LONG = (
    '"Track URI","Track Name","Artist URI(s)","Artist Name(s)","Album URI","Album Name","Album Artist URI(s)",'
    '"Album Artist Name(s)","Album Release Date","Album Image URL","Disc Number","Track Number","Track Duration (ms)",'
    '"Track Preview URL","Explicit","Popularity","ISRC","Added By","Added At"'
)
SHORT = (
    '"Track URI","Track Name","Album Name","Artist Name(s)","Release Date","Duration (ms)","Popularity","Explicit",'
    '"Added By","Added At"'
)


def test_exportify_is_a_file_a_playlist(tmp_path: Path):
    row = (
        f'"{URI}","Never, Ever","spotify:artist:a","Rick Astley","spotify:album:l","L","spotify:artist:a","Rick Astley"'
    )
    for folder in ("ann", "ben"):
        a_file(
            tmp_path / folder / "Road_trip.csv",
            LONG,
            f'{row},"1987","","1","8","1","","false","1","I","{folder}","t"',
            end="\r\n",
        )
    a_file(tmp_path / "ben" / "b.csv", SHORT, f'"{URI}","Never","L","Rick Astley","1987","1","1","false","","t"')

    rows, format_ = understood(tmp_path)

    assert format_ == "Exportify"
    assert rows == [
        ("ann/Road_trip", "Road_trip", URI, "Rick Astley", None),
        ("ben/Road_trip", "Road_trip", URI, "Rick Astley", None),
        ("ben/b", "b", URI, "Rick Astley", None),
    ]


def test_exportify_with_a_column_for_the_playlist_is_read_by_it(tmp_path: Path):
    path = a_file(
        tmp_path / "a.csv", f'"Playlist",{SHORT}', f'"My mix","{URI}","Never","L","Rick","1","1","1","f","",""'
    )

    assert understood(path) == ([("My mix", "My mix", URI, "Rick", None)], "Exportify")


@pytest.mark.parametrize("names", EXPORTIFY)
def test_exportify_is_known_in_its_languages(tmp_path: Path, names: str):
    uri, name, artists = names.split()
    path = a_file(tmp_path / "mix" / "a.csv", f"{uri},{name},{artists},x", f"{URI},Never,Rick,1")

    assert understood(path) == ([("mix/a", "a", URI, "Rick", None)], "Exportify")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ('"Spotify ID","Artist IDs","Track Name","Album Name","Artist Name(s)","Added At"', "{},a1,Never,L,Rick,t"),
        ('"Spotify URI","Track Name","Artist Name(s)","Album Name"', "spotify:track:{},Never,Rick,L"),
        ('"Spotify URI","Track Name","Artist Name","Album Name","Added By"', "spotify:track:{},Never,Rick,L,me"),
        ("Track name,Artist name,Album,Playlist name,Type,ISRC,Spotify - id", "Never,Rick,L,a,Playlist,I,{}"),
        ("title,artist,album,isrc,platform,trackId", "Never,Rick,L,I,spotify,{}"),
    ],
)
def test_tracks_of_spotify_have_one_id_in_the_exports_of_people(tmp_path: Path, header: str, row: str):
    path = a_file(tmp_path / "a.csv", header, row.format("4uLU6hMCjMI75M1A2tKUQC"), row.format("short"))

    (first, second), _ = understood(path)

    assert first[1:4] == ("a", URI, "Rick")
    assert second[2] in ("short", "spotify:track:short")


def test_bare_ids_of_other_tables_stay_as_they_are(tmp_path: Path):
    path = a_file(tmp_path / "a.csv", "pid,spotify_id", "p,4uLU6hMCjMI75M1A2tKUQC")

    assert understood(path)[0] == [("p", "", "4uLU6hMCjMI75M1A2tKUQC", "", None)]


@pytest.mark.parametrize("last", ["Spotify - id", "Apple - id"])
def test_tunemymusic_has_playlists_by_name(tmp_path: Path, last: str):
    header = f"Track name,Artist name,Album,Playlist name,Type,ISRC,{last}"
    path = a_file(
        tmp_path / "a.csv", header, "Jump,Van Halen,1984,Rock,Playlist,,", "Vogue,Madonna,,Pop,Playlist,US1,05R"
    )

    assert understood(path) == (
        [("Rock", "Rock", "Van Halen - Jump", "Van Halen", None), ("Pop", "Pop", "05R", "Madonna", None)],
        "TuneMyMusic",
    )


@pytest.mark.parametrize(
    ("header", "row", "id_"),
    [
        ("title;artist;album;isrc", "Alice;Tom Waits;Alice;usep41718138", "Tom Waits - Alice"),
        (
            "\ufefftitle;artist;album;isrc;addedDate;addedBy;duration;url",
            "Alice;Tom Waits;;;;;225s;",
            "Tom Waits - Alice",
        ),
        (
            "title,artist,album,isrc,platform,trackId,duration,addedDate,addedBy,url",
            "Alice,Tom Waits,,,spotify,t1,,,,",
            "t1",
        ),
    ],
)
def test_soundiiz_is_a_file_a_playlist(tmp_path: Path, header: str, row: str, id_: str):
    path = a_file(tmp_path / "mine" / "Late night.csv", header, row)

    assert understood(path) == ([("mine/Late night", "Late night", id_, "Tom Waits", None)], "Soundiiz")


def test_lastfm_1k_has_no_header(tmp_path: Path):
    path = a_file(
        tmp_path / "userid-timestamp-artid-artname-traid-traname.tsv",
        f"user_000001\t2009-05-04T23:08:57Z\t{MBID}\tDeep Dish\t\tFuck Me Im Famous",
        f"user_000001\t2009-05-04T13:54:10Z\t\t坂本龍一\t{MBID}\tComposition 0919",
    )

    assert understood(path) == (
        [
            ("user_000001", "", "Deep Dish - Fuck Me Im Famous", "Deep Dish", 1),
            ("user_000001", "", MBID, "坂本龍一", 1),
        ],
        "Last.fm 1K",
    )


def test_the_taste_profile_has_no_header(tmp_path: Path):
    path = a_file(tmp_path / "train_triplets.txt", f"{HASH}\tSOAKIMP12A8C130995\t1", f"{HASH}\tSOBBMDR12A8C13253B\t2")

    assert understood(path) == (
        [(HASH, "", "SOAKIMP12A8C130995", "", 1), (HASH, "", "SOBBMDR12A8C13253B", "", 2)],
        "Taste Profile",
    )


@pytest.mark.parametrize(
    ("lines", "count", "format_"),
    [
        (["user_id\ttrack_id\tcount", "2\t7\t3"], 3, "LFM-2b or Music4All-Onion"),
        (["user_id\ttrack_id\talbum_id\ttimestamp", "2\t7\t9\t2013-01-01 00:00:00"], 1, "LFM-2b"),
        (["user_id\ttrack_id\ttimestamp", "2\t7\t2013-01-01 00:00"], 1, "Music4All-Onion"),
        (["user_id,track_id,hashtag,created_at", "2,7,nowplaying,2014-01-01 05:54:21"], 1, "#nowplaying-RS"),
    ],
)
def test_tables_of_listening_by_id(tmp_path: Path, lines: list[str], count: float, format_: str):
    assert understood(a_file(tmp_path / "a.tsv", *lines)) == ([("2", "", "7", "", count)], format_)


def test_nowplaying_playlists_are_told_apart_by_listener_and_name(tmp_path: Path):
    header = '"user_id", "artistname", "trackname", "playlistname"'
    path = a_file(tmp_path / "a.csv", header, '"9cc0","Elvis","Alison","HARD ROCK"', '"9cc0","Elvis","Alison","Soft"')

    assert understood(path) == (
        [
            ("9cc0 - HARD ROCK", "HARD ROCK", "Elvis - Alison", "Elvis", None),
            ("9cc0 - Soft", "Soft", "Elvis - Alison", "Elvis", None),
        ],
        "#nowplaying playlists",
    )


def test_yambda_counts_listens_of_half_the_track_or_more(tmp_path: Path):
    columns = {
        "uid": pl.Series([100, 100, 200], dtype=pl.UInt32),
        "timestamp": pl.Series([1, 2, 3], dtype=pl.UInt32),
        "item_id": pl.Series([8, 9, 8], dtype=pl.UInt32),
        "is_organic": pl.Series([1, 0, 1], dtype=pl.UInt8),
        "played_ratio_pct": pl.Series([50, 49, 100], dtype=pl.UInt16),
        "track_length_seconds": pl.Series([1, 2, 3], dtype=pl.UInt32),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "listens.parquet")

    assert understood(tmp_path / "listens.parquet") == ([("100", "", "8", "", 1), ("200", "", "8", "", 1)], "Yambda")


def test_yambda_with_a_listener_a_row_is_a_listen_an_element(tmp_path: Path):
    columns = {
        "uid": pl.Series([100, 200, 300], dtype=pl.UInt32),
        "timestamp": pl.Series([[1, 2], [3], []], dtype=pl.List(pl.UInt32)),
        "item_id": pl.Series([[8, 9], [8], []], dtype=pl.List(pl.UInt32)),
        "is_organic": pl.Series([[1, 0], [1], []], dtype=pl.List(pl.UInt8)),
        "played_ratio_pct": pl.Series([[50, 49], [100], []], dtype=pl.List(pl.UInt16)),
        "track_length_seconds": pl.Series([[1, 2], [3], []], dtype=pl.List(pl.UInt32)),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "listens.parquet")

    assert understood(tmp_path / "listens.parquet") == ([("100", "", "8", "", 1), ("200", "", "8", "", 1)], "Yambda")


NOWPLAYING = (
    f'2014-01-01 00:00:03,{HASH[:32]},"<a href=""http://x.com"" rel=""nofollow"">X</a>","Never, Ever",All Saints,17',
    f"2014-01-01 00:00:04,{HASH[:32]},web,Creep,Radiohead,18",
)


@pytest.mark.parametrize("header", [["timestamp,user_id,source,track_title,artist_name,track_id"], []])
def test_nowplaying_is_read_with_a_header_and_without(tmp_path: Path, header: list[str]):
    path = a_file(tmp_path / "nowplaying.csv", *header, *NOWPLAYING)

    listener = HASH[:32]
    assert understood(path) == (
        [(listener, "", "17", "All Saints", 1), (listener, "", "18", "Radiohead", 1)],
        "#nowplaying",
    )


@pytest.mark.parametrize("user", ["someone", "12 34"])
def test_lines_of_another_shape_are_not_taken_for_nowplaying(tmp_path: Path, user: str):
    with pytest.raises(BadInput, match="its first line looks like data"):
        understood(a_file(tmp_path / "a.csv", NOWPLAYING[1].replace(HASH[:32], user)))


@pytest.mark.parametrize("place", [0, 3, 18])
@pytest.mark.parametrize("odd", ["user_1\t0000-00-00\t\tMuse\t\tUprising", "user_1", "\t\t\t\t\t\t\t", '"'])
def test_one_odd_line_does_not_hide_a_known_shape(tmp_path: Path, place: int, odd: str):
    lines = [f"user_{row}\t2009-05-04T23:08:57Z\t\tMuse\t\tSong {row}" for row in range(200)]
    lines[place if odd.count("\t") == 5 else max(place, 1)] = odd  # the first line alone tells the delimiter

    rows, format_ = understood(a_file(tmp_path / "a.tsv", *lines))

    assert format_ == "Last.fm 1K"
    assert 199 <= len(rows) <= 200


def test_a_header_of_unknown_names_over_a_known_shape_costs_one_row(tmp_path: Path):
    lines = [f"{HASH[:40]}\tSOAKIMP12A8C130{row}\t5" for row in range(100, 300)]

    rows, format_ = understood(a_file(tmp_path / "a.tsv", "who\twhat\thow often", *lines))

    assert (len(rows), format_) == (200, "Taste Profile")


def test_a_header_over_a_known_shape_is_a_header(tmp_path: Path):
    lines = [f"{HASH[:40]}\tSOAKIMP12A8C130{row}\t5" for row in range(100, 300)]

    rows, format_ = understood(a_file(tmp_path / "a.tsv", "user\tsong\tplays", *lines))

    assert (len(rows), format_) == (200, "table (text)")


def test_listenbrainz_names_listens_without_an_id(tmp_path: Path):
    frame = pl.DataFrame(
        {
            "listened_at": [1, 2],
            "created": [1, 2],
            "user_id": [5, 5],
            "recording_msid": ["x", "y"],
            "artist_name": ["Muse", "Muse"],
            "artist_credit_id": [3, None],
            "release_name": ["", ""],
            "release_mbid": ["", ""],
            "recording_name": ["Uprising", "Hoodoo"],
            "recording_mbid": [MBID, None],
            "artist_credit_mbids": [[MBID], None],
        }
    )
    frame.with_columns(pl.from_epoch("listened_at")).write_parquet(tmp_path / "0.parquet")

    assert understood(tmp_path / "0.parquet") == (
        [("5", "", MBID, "Muse", 1), ("5", "", "Muse - Hoodoo", "Muse", 1)],
        "ListenBrainz",
    )


# Headers.


@pytest.mark.parametrize(
    "lines",
    [
        ["u1\t2009-05-04T23:08:57Z\tMuse", "u1\t2009-05-04T23:08:58Z\tMuse"],
        ["196\t242\t3", "186\t302\t3"],
        [f"{HASH},t1", f"{HASH},t2"],
        [f"{URI};Never", f"{URI};Ever"],
    ],
)
def test_a_header_that_is_data_is_called_so_without_a_guess(tmp_path: Path, lines: list[str]):
    with pytest.raises(BadInput) as refused:
        understood(a_file(tmp_path / "a.csv", *lines))

    assert "its first line looks like data, not like a header: 1 " in str(refused.value)
    assert str(refused.value).endswith("--columns user=NUMBER,track=NUMBER.")


def test_columns_by_number_read_a_file_without_a_header(tmp_path: Path):
    path = a_file(tmp_path / "u.data", "196\t242\t3\t881250949", "186\t302\t3\t891717742")

    assert understood(path, user="1", track="2", count="3")[0] == [("196", "", "242", "", 3), ("186", "", "302", "", 3)]


@pytest.mark.parametrize(
    ("header", "is_header"), [("who\twhat\tn", True), ("who\t17\tn", True), ("8\t17\t2", False), ("8\t17\tmany", True)]
)
def test_columns_by_number_leave_out_a_first_line_that_resembles_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], header: str, is_header: bool
):
    path = a_file(tmp_path / "u.data", header, "196\t242\t3", "186\t302\t3")

    assert len(understood(path, user="1", track="2", count="3")[0]) == 3 - is_header
    assert ("the first line is taken for a header: 1 '" in capsys.readouterr().err) == is_header


def test_a_first_line_that_may_be_a_header_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = a_file(tmp_path / "u.data", "who\twhat", "ann\tCreep", "bob\tLucky")

    assert len(understood(path, user="1", track="2")[0]) == 3
    assert "the first line is taken for data, as the columns are given by number: 1 'who'," in capsys.readouterr().err


def test_columns_by_number_leave_a_header_out(tmp_path: Path):
    assert understood(a_file(tmp_path / "a.csv", "who,song_id", "u,s"), user="1", track="2")[0] == [
        ("u", "", "s", "", None)
    ]


def test_a_file_is_one_playlist_if_it_is_said(tmp_path: Path):
    path = a_file(tmp_path / "mine" / "rock.csv", "song_id,x", "s,1")

    assert understood(path, playlist="")[0] == [("mine/rock", "rock", "s", "", None)]


def test_files_whose_names_have_dots_are_different_playlists(tmp_path: Path):
    files = [
        a_file(tmp_path / f"{name}.csv", "Track URI,Track Name,Artist Name(s)", f"{URI},Never,Rick")
        for name in ("Dr. Dre", "Dr. No")
    ]

    rows, _ = understood(*files)

    assert [title for _, title, *_ in rows] == ["Dr. Dre", "Dr. No"]


def test_a_folder_of_playlists_in_a_zip_file_has_the_names_of_its_files(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "spotify_playlists.zip", "w") as archive:
        for name in ("road_trip", "Vol. 2"):
            archive.writestr(f"{name}.csv", f"Track URI,Track Name,Artist Name(s)\n{URI},Never,Rick\n")

    rows, _ = understood(tmp_path / "spotify_playlists.zip")

    assert sorted(title for _, title, *_ in rows) == ["Vol. 2", "road_trip"]
