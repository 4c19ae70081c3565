"""The Million Playlist Dataset in every form, and damaged."""

import contextlib
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

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


def a_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as refused:
        list(read([path]))
    assert "\n" not in str(refused.value)
    return str(refused.value)


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
    assert "holds no slices" in refusal(a_zip(tmp_path / "a.zip", {"README": b""}))


@pytest.mark.parametrize("name", ["mpd.zip", "mpd"])
def test_a_truncated_zip_is_reported(tmp_path: Path, name: str):
    whole = a_zip(
        tmp_path / "whole.zip", {f"mpd.slice.{i}-{i}.json": a_slice(*range(50)) for i in range(9)}
    ).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])

    assert "it is not a whole zip file" in refusal(tmp_path / name)


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

    assert f"byte {len(a_slice(1)) - 40}" in refusal(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"info": {}}, "`playlists`"),
        ([], "`playlists`"),
        ({"playlists": [{"pid": 1}]}, "`tracks` - at `$.playlists[0]`"),
        (
            {"playlists": [{"pid": 1, "tracks": [BARE, {"track_name": "x"}]}]},
            "`track_uri` - at `$.playlists[0].tracks[1]`",
        ),
        ({"playlists": [{"pid": "x", "tracks": []}]}, "at `$.playlists[0].pid`"),
        ({"playlists": [{"pid": 1, "tracks": [{"track_uri": ""}]}]}, "at `$.playlists[0].tracks[0].track_uri`"),
        ({"playlists": [{"pid": 1, "tracks": [{"track_uri": 5}]}]}, "at `$.playlists[0].tracks[0].track_uri`"),
    ],
)
def test_json_that_is_not_a_slice_says_what_is_missing_and_where(tmp_path: Path, content: Any, said: str):
    (tmp_path / "s.json").write_text(json.dumps(content))

    assert said in refusal(tmp_path / "s.json")


def test_bytes_that_are_not_utf8_are_reported_with_their_place(tmp_path: Path):
    content = a_slice(1).replace("Björk".encode(), "Björk".encode("latin-1"), 1)
    (tmp_path / "s.json").write_bytes(content)

    said = refusal(tmp_path / "s.json")

    assert "not UTF-8" in said
    assert f"byte {content.index(0xF6)}" in said


def test_bytes_that_are_not_utf8_are_reported_in_unused_fields_too(tmp_path: Path):
    (tmp_path / "s.json").write_bytes(a_slice(1).replace(b"Pablo Honey", b"Pablo \xf6ney"))

    assert "not UTF-8" in refusal(tmp_path / "s.json")


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
