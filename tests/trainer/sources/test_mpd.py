"""The Million Playlist Dataset in every form, and damaged."""

import contextlib
import gzip
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.sources.inputs import a_zip, refusal
from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import SourcePlaylist, SourceTrack, read

FULL = {
    "pos": 0,
    "track_uri": "t:1",
    "track_name": "Creep",
    "artist_uri": "a:1",
    "artist_name": "Radiohead",
    "album_uri": "b:1",
    "album_name": "Pablo Honey",
    "duration_ms": 1,
}
BARE = {"pos": 1, "track_uri": "t:2", "track_name": "Jóga", "artist_name": "Björk"}
EXPECTED = [SourceTrack("t:1", "Creep", "a:1", "Radiohead"), SourceTrack("t:2", "Jóga", "Björk", "Björk")]


def a_slice(*pids: int) -> bytes:
    playlists = [{"name": f"n{pid}", "pid": pid, "num_tracks": 2, "tracks": [FULL, BARE]} for pid in pids]
    return json.dumps({"info": {"version": "v1"}, "playlists": playlists}, ensure_ascii=False).encode()


def ids(*paths: Path) -> list[str]:
    return [playlist.id for playlist in read(paths)]


def test_tracks_come_with_and_without_artist_uri_and_album(tmp_path: Path):
    (tmp_path / "s.json").write_bytes(a_slice(7))

    assert list(read([tmp_path / "s.json"])) == [SourcePlaylist("7", "n7", EXPECTED)]


def test_a_slice_of_any_name_may_be_gzipped(tmp_path: Path):
    (tmp_path / "s.json.gz").write_bytes(gzip.compress(a_slice(1)))
    (tmp_path / "s.json").write_bytes(gzip.compress(a_slice(2)))

    assert ids(tmp_path / "s.json.gz", tmp_path / "s.json") == ["1", "2"]


def test_a_directory_is_read_in_the_order_of_its_slices_numbers(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    for number in (10000, 2000, 0):
        (tmp_path / "deep" / f"mpd.slice.{number}-{number + 999}.json").write_bytes(a_slice(number))
    (tmp_path / "deep" / "mpd.slice.3000-3999.json.gz").write_bytes(gzip.compress(a_slice(3000)))
    (tmp_path / "README.md").write_text("not a slice")
    (tmp_path / "._mpd.slice.0-999.json").write_text("left by a Mac")

    assert ids(tmp_path) == ["0", "2000", "3000", "10000"]


def test_a_zip_is_read_as_downloaded_with_its_slices_in_any_folder(tmp_path: Path):
    members = {
        "mpd/data/mpd.slice.1000-1999.json": a_slice(1000),
        "mpd/data/mpd.slice.0-999.json": a_slice(0, 1),
        "mpd/src/stats.py": b"print()",
        "__MACOSX/mpd/data/._mpd.slice.0-999.json": b"\0",
        "mpd.slice.5-5.json.gz": gzip.compress(a_slice(5)),
    }

    assert sorted(ids(a_zip(tmp_path / "mpd.zip", members)), key=int) == ["0", "1", "5", "1000"]


def test_fields_that_are_null_or_missing_are_empty(tmp_path: Path):
    track = {"track_uri": "t:1", "track_name": None, "artist_name": None}
    (tmp_path / "s.json").write_text(json.dumps({"playlists": [{"pid": 1, "name": None, "tracks": [track]}]}))

    assert list(read([tmp_path / "s.json"])) == [SourcePlaylist("1", "", [SourceTrack("t:1", "", "", "")])]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path):
    (tmp_path / "s.json").write_bytes(b"\xef\xbb\xbf" + a_slice(1))

    assert ids(tmp_path / "s.json") == ["1"]


def test_the_real_slice_with_all_fields_is_read():
    path = Path(__file__).parents[4] / "shared" / "data" / "mpd-full-fields.json"
    if not path.exists():
        pytest.skip(f"needs {path}, which is not here")

    playlists = list(read([path]))

    assert len(playlists) == 29
    assert all(track.artist_id.startswith("spotify:artist:") for playlist in playlists for track in playlist.tracks)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path):
    assert refusal(tmp_path / "nope") == f"cannot read {tmp_path / 'nope'}: it does not exist."


def test_an_empty_directory_says_what_was_expected(tmp_path: Path):
    assert "mpd.slice.0-999.json" in refusal(tmp_path)


def test_other_files_beside_slices_are_not_trained_on(tmp_path: Path):
    (tmp_path / "mpd.slice.0-999.json").write_bytes(a_slice(0))
    (tmp_path / "challenge_set.json").write_bytes(a_slice(1))
    members = {"data/mpd.slice.0-999.json": a_slice(0), "data/challenge_set.json": a_slice(1)}

    assert ids(tmp_path) == ids(a_zip(tmp_path / "a.zip", members)) == ["0"]


def test_slices_of_other_names_are_read_if_no_file_is_named_like_a_slice(tmp_path: Path):
    (tmp_path / "mine.json").write_bytes(a_slice(1))
    (tmp_path / "yours.json").write_bytes(a_slice(2))

    assert ids(tmp_path) == ["1", "2"]


def test_a_zip_damaged_anywhere_gives_no_traceback(tmp_path: Path):
    """One byte after another of a small zip, of the two ways of packing that Python knows well."""
    for packing in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as archive:
            archive.writestr("mpd.slice.0-999.json", a_slice(1))
        whole = (tmp_path / "a.zip").read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 0xFF
            (tmp_path / "a.zip").write_bytes(damaged)
            with contextlib.suppress(BadInput):
                list(read([tmp_path / "a.zip"]))


def test_a_zip_without_slices_says_what_was_expected(tmp_path: Path):
    said = refusal(a_zip(tmp_path / "a.zip", {"README": b"", "x.py": b"print()", "y.py": b""}))

    assert "no file in it holds data" in said
    assert "mpd.slice.0-999.json" in said


@pytest.mark.parametrize("name", ["mpd.zip", "mpd"])
def test_a_truncated_zip_is_reported(tmp_path: Path, name: str):
    whole = a_zip(
        tmp_path / "whole.zip", {f"mpd.slice.{i}-{i}.json": a_slice(*range(50)) for i in range(9)}
    ).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])

    assert "it is damaged or cut short" in refusal(tmp_path / name)


def test_a_zip_with_a_damaged_member_names_it(tmp_path: Path):
    path = a_zip(tmp_path / "a.zip", {"mpd.slice.0-999.json": a_slice(*range(500))})
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)

    assert "mpd.slice.0-999.json" in refusal(path)


def test_a_truncated_gzip_is_reported(tmp_path: Path):
    (tmp_path / "s.json.gz").write_bytes(gzip.compress(a_slice(*range(50)))[:-20])

    assert "damaged or cut short" in refusal(tmp_path / "s.json.gz")


def test_broken_json_in_one_slice_of_many_names_the_slice_and_where(tmp_path: Path):
    for number in range(5):
        (tmp_path / f"mpd.slice.{number}-{number}.json").write_bytes(a_slice(number))
    (tmp_path / "mpd.slice.3-3.json").write_bytes(a_slice(3).replace(b'"pid": 3,', b'"pid" 3,'))

    said = refusal(tmp_path)

    assert "mpd.slice.3-3.json" in said
    assert "byte 6" in said


def test_json_that_breaks_off_says_at_which_byte(tmp_path: Path):
    (tmp_path / "s.json").write_bytes(a_slice(1)[:-40])

    assert ", byte " in refusal(tmp_path / "s.json")


@pytest.mark.parametrize("content", [{"info": {}}, [], {"playlists": {}}, {"playlists": None}])
def test_json_that_is_not_a_slice_says_what_is_missing(tmp_path: Path, content: Any):
    (tmp_path / "s.json").write_text(json.dumps(content))

    assert "JSON without" in refusal(tmp_path / "s.json")


# Odd records.


def odd_slice(path: Path, *records: Any, n_sound: int = 500) -> Path:
    """Write a slice whose first playlists are *records*, before many sound ones."""
    sound = json.loads(a_slice(*range(n_sound)))["playlists"]
    path.write_text(json.dumps({"playlists": [*records, *sound]}))
    return path


def read_odd(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[SourcePlaylist], str]:
    """Return the playlists before the sound ones, and the account on one line."""
    playlists = [playlist for playlist in read([path]) if isinstance(playlist, SourcePlaylist)]
    return playlists[:-500], " ".join(capsys.readouterr().err.split())


def test_text_and_numbers_are_ids_of_playlists(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pids: list[Any] = ["37i9dQ0000", 7, 7.0, "007"]
    found, _ = read_odd(odd_slice(tmp_path / "s.json", *({"pid": pid, "tracks": [FULL]} for pid in pids)), capsys)

    assert [playlist.id for playlist in found] == ["37i9dQ0000", "7", "7", "007"]


def test_numbers_are_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    track = {"track_uri": 5, "track_name": 1979, "artist_name": 311}
    found, _ = read_odd(odd_slice(tmp_path / "s.json", {"pid": 1, "name": 2017, "tracks": [track]}), capsys)

    assert found == [SourcePlaylist("1", "2017", [SourceTrack("5", "1979", "311", "311")])]


@pytest.mark.parametrize("uri", [None, "", [], True])
def test_a_track_without_an_id_has_artist_and_name_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], uri: object
):
    local = {"track_uri": uri, "track_name": " My  demo", "artist_name": "Me"}
    found, said = read_odd(odd_slice(tmp_path / "s.json", {"pid": 1, "tracks": [FULL, local]}), capsys)

    assert [track.id for track in found[0].tracks] == ["t:1", "Me - My demo"]
    assert "mended 1: no track id, so ARTIST - NAME is the id (playlists[0].tracks[1])" in said


@pytest.mark.parametrize(
    "track", [{"track_name": "x"}, {"track_uri": None, "artist_name": "x"}, None, 5, {}, {"track_uri": "t:\ud83d"}]
)
def test_an_odd_track_is_passed_over_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str], track: object):
    found, said = read_odd(odd_slice(tmp_path / "s.json", {"pid": 1, "tracks": [track, FULL]}), capsys)

    assert [track.id for track in found[0].tracks] == ["t:1"]
    assert "1,002 tracks passed over 1: no track id (playlists[0].tracks[0])" in said


@pytest.mark.parametrize("playlist", [{"pid": 1}, {"pid": 1, "tracks": None}, {"pid": 1, "tracks": {}}, [], None])
def test_a_playlist_without_tracks_in_a_list_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], playlist: object
):
    found, said = read_odd(odd_slice(tmp_path / "s.json", playlist), capsys)

    assert found == []
    assert "passed over 1: no list of tracks (playlists[0])" in said


@pytest.mark.parametrize("pid", [None, "", False, [1]])
def test_a_playlist_without_an_id_is_passed_over_with_all_its_tracks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pid: object
):
    found, said = read_odd(odd_slice(tmp_path / "s.json", {"pid": pid, "tracks": [FULL] * 3}), capsys)

    assert found == []
    assert "passed over 3: no playlist id (playlists[0])" in said


@pytest.mark.parametrize("around", [" {}", "{}\t", "\u3000{}\xa0", '"{}"', ' " {} " '])
@pytest.mark.parametrize("others", [[], [{"track_uri": None}]])
def test_blanks_and_quotes_around_an_id_are_no_part_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], around: str, others: list[Any]
):
    track = {"track_uri": around.format("t:1"), "artist_uri": around.format("a:1"), "artist_name": "A"}
    path = odd_slice(tmp_path / "s.json", {"pid": around.format("1"), "tracks": [track, *others]})

    ((found,), _) = read_odd(path, capsys)

    assert (found.id, found.tracks[0].id, found.tracks[0].artist_id) == ("1", "t:1", "a:1")


@pytest.mark.parametrize("blank", [" ", "\t", "\u3000"])
def test_an_id_of_blanks_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str], blank: str):
    path = odd_slice(tmp_path / "s.json", {"pid": 1, "tracks": [FULL, FULL | {"track_uri": blank, "track_name": ""}]})

    found, said = read_odd(path, capsys)

    assert [len(playlist.tracks) for playlist in found] == [1]
    assert "passed over 1: no track id (playlists[0].tracks[1])" in said


def test_half_a_character_is_replaced_in_names_and_titles(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    track = {"track_uri": "t:1", "track_name": "Song \ud83d", "artist_name": "\ude00A"}
    found, said = read_odd(odd_slice(tmp_path / "s.json", {"pid": 1, "name": "mix\ud83d", "tracks": [track]}), capsys)

    assert found == [SourcePlaylist("1", "mix\ufffd", [SourceTrack("t:1", "Song \ufffd", "\ufffdA", "\ufffdA")])]
    assert "mended 3: half a character, replaced (playlists[0], playlists[0].tracks[0]," in said


def test_text_that_is_not_utf8_is_passed_over_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = odd_slice(tmp_path / "s.json", {"pid": 1, "name": "Gr\u00fc\u00dfe", "tracks": [FULL]})
    path.write_bytes(path.read_bytes().replace(b"Gr\\u00fc\\u00dfe", b"Gr\xfc\xdfe").replace(b"Creep", b"Cr\xe8p", 1))

    found, said = read_odd(path, capsys)

    assert found == [SourcePlaylist("1", "", [])]
    assert "passed over 1: text is not UTF-8 (playlists[0].tracks[0])" in said
    assert "passed over 1: a title is not UTF-8 (playlists[0])" in said


def test_a_slice_in_another_encoding_is_refused(tmp_path: Path):
    (tmp_path / "s.json").write_bytes(a_slice(*range(9)).replace("ö".encode(), "ö".encode("latin-1")))

    assert "9 of 18 tracks are odd, 9: text is not UTF-8 (playlists[0].tracks[1], " in refusal(tmp_path / "s.json")


def test_of_a_slice_that_breaks_off_the_playlists_before_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number in range(0, 1000, 100):
        (tmp_path / f"mpd.slice.{number}-{number + 99}.json").write_bytes(a_slice(*range(number, number + 100)))
    last = tmp_path / "mpd.slice.900-999.json"
    last.write_bytes(last.read_bytes()[:-200])

    assert ids(tmp_path) == [str(pid) for pid in range(999)]
    said = " ".join(capsys.readouterr().err.split())
    assert "2,000 tracks passed over 2: the JSON is broken from here on (mpd.slice.900-999.json byte " in said


@pytest.mark.parametrize("name", ["mpd.slice.0-99.json", "mine.json"])
def test_a_slice_of_which_much_is_lost_is_refused(tmp_path: Path, name: str):
    content = a_slice(*range(100))
    place = content.index(b'"pid": 40')
    (tmp_path / name).write_bytes(content[:place] + b"!" + content[place:])

    said = refusal(tmp_path / name)

    assert re.search(r"cannot read \S+: 1[12]\d of \d+ tracks are odd, 1[12]\d: the JSON is broken", said)


def test_more_odd_records_are_accepted_if_the_user_says_so(tmp_path: Path):
    path = odd_slice(tmp_path / "s.json", *[{"pid": 1, "tracks": [None]}] * 11)

    assert "11 of 1,011 tracks are odd" in refusal(path)
    assert len(list(read([path], ReadOptions(max_odd=0.02)))) == 511


def test_json_that_is_nested_too_deeply_is_reported(tmp_path: Path):
    (tmp_path / "s.json").write_text('{"playlists":[],"x":' + "[" * 100_000)

    assert "nested too deeply" in refusal(tmp_path / "s.json")


@pytest.mark.parametrize("content", [b"", b"  \n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_reported(tmp_path: Path, content: bytes):
    (tmp_path / "s.json").write_bytes(content)

    assert "is empty" in refusal(tmp_path / "s.json")


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path):
    (tmp_path / "s.json").symlink_to(tmp_path / "s.json")

    assert "s.json" in refusal(tmp_path / "s.json")
