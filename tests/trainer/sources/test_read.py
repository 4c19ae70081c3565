"""Detection of formats, directories, several inputs in one run, and progress."""

import gzip
import io
import json
import os
from pathlib import Path

import polars as pl
import pytest

from tests.trainer.sources.inputs import a_zip, ids, refusal
from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import Interactions, read

USER = "a" * 40
SLICE = json.dumps({"playlists": [{"pid": 1, "name": "n", "tracks": [{"track_uri": "t:1"}]}]})
PRETTY_SLICE = json.dumps(json.loads(SLICE), indent=1)
CSV = "playlist_id,track_id\n5,t:2\n"
LINES = '{"playlist_id": 6, "track_id": "t:3"}\n{"playlist_id": "7", "track_id": "t:3"}\n'


def test_inputs_of_different_formats_are_read_one_after_the_other(tmp_path: Path):
    (tmp_path / "mpd.slice.0-0.json").write_text(SLICE)
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "a.jsonl").write_text(LINES)
    (tmp_path / "plays.tsv").write_text(f"{USER}\tm\tName\t3\n")
    pl.DataFrame({"user": [8], "song": ["x"]}).write_parquet(tmp_path / "a.parquet")
    names = ("a.csv", "mpd.slice.0-0.json", "a.parquet", "plays.tsv", "a.jsonl")

    assert ids(*(tmp_path / name for name in names)) == ["5", "1", "8", USER, "6", "7"]


@pytest.mark.parametrize("content", [SLICE, PRETTY_SLICE, gzip.compress(SLICE.encode(), mtime=0)])
@pytest.mark.parametrize("name", ["s.json", "s.jsonl", "s"])
def test_a_slice_is_not_taken_for_json_lines(tmp_path: Path, name: str, content: str | bytes):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    assert ids(tmp_path / name) == ["1"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.txt", "a"])
def test_json_lines_of_any_name_are_detected(tmp_path: Path, name: str):
    (tmp_path / name).write_text(LINES)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(LINES.encode() * 2))

    assert ids(tmp_path / name, tmp_path / f"{name}.gz") == ["6", "7", "6", "7"]


def test_a_table_is_detected_by_its_header_or_magic(tmp_path: Path):
    (tmp_path / "a").write_text(CSV)
    pl.DataFrame({"user": [8], "song": ["x"]}).write_parquet(tmp_path / "b.csv")

    assert ids(tmp_path / "a", tmp_path / "b.csv") == ["5", "8"]


def test_a_directory_of_tables_is_read_in_the_order_of_their_names(tmp_path: Path):
    for name in ("b.csv", "a.csv", ".hidden.csv", "_SUCCESS", "README.txt", "c.txt"):
        (tmp_path / name).write_text(f"user,song\n{name},1\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.csv").write_text("user,song\nx,1\n")
    (tmp_path / "part-0.json").write_text(LINES)
    (tmp_path / "notes.md").write_text("user,song\n")

    assert ids(tmp_path) == ["a.csv", "b.csv", "c.txt", "6", "7"]


def test_in_a_directory_of_slices_only_those_are_read(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "mpd.slice.0-0.json").write_text(SLICE)

    assert ids(tmp_path) == ["1"]


def test_tables_and_playlists_in_one_directory_are_all_read(tmp_path: Path):
    (tmp_path / "b.csv").write_text(CSV)
    (tmp_path / "a.json").write_text(SLICE)

    assert ids(tmp_path) == ["1", "5"]


NOT_DATA: dict[str, bytes] = {
    "package.json": b'{"name": "export", "version": 3}',
    "array.json": b'[{"user": 1, "song": 2}]',
    "empty.json": b"",
    "empty.csv": b"",
    "notes.txt": b"Exported in May.\n",
    "latin.txt": "Größe\n".encode("latin-1"),
    "tracks.csv": b"track_id,track_name\nt:2,Creep\n",
    "log.jsonl": b'{"level": "info"}\n{"level": "info"}\n',
    "cover.jpg": b"\xff\xd8\xff\xe0",
    "table.xlsx": b"PK\x05\x06" + bytes(18),
    "table.ods": b"PK\x03\x04" + bytes(26),
    "report": b"%PDF-1.7\n\0",
    "playlists.rar": b"Rar!\x1a\x07\0",
    "page.html": b"<!DOCTYPE html><title>Sign in</title>",
    "plays.csv": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}


@pytest.mark.parametrize("name", NOT_DATA)
def test_a_file_that_is_not_data_is_passed_over_and_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    (tmp_path / "b.csv").write_text(CSV)
    (tmp_path / name).write_bytes(NOT_DATA[name])

    assert ids(tmp_path) == ["5"]
    said = capsys.readouterr().err
    assert said.count(name) == 1
    assert f"passed over {tmp_path / name}: " in said


@pytest.mark.parametrize("name", NOT_DATA)
def test_a_directory_with_only_a_file_that_is_not_data_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(NOT_DATA[name])

    assert refusal(tmp_path).startswith(f"cannot read {tmp_path / name}: ")


def test_of_several_files_that_are_not_data_the_error_names_one_of_a_known_format(tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "b.csv").write_text("who,what\n1,2\n")

    assert "b.csv: it has no column for the playlist" in refusal(tmp_path)


def test_of_very_many_files_that_are_not_data_some_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.csv").write_text(CSV)
    for number in range(25):
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8")
        (tmp_path / f"{number}.csv").write_text(f"x{number}\n")

    assert ids(tmp_path) == ["5"]
    said = capsys.readouterr().err
    assert f"passed over {tmp_path / '0.jpg'} and 24 more files: its format is unknown." in said
    assert said.count("passed over") == 21
    assert "passed over 6 more files" in said


def test_a_damaged_file_in_a_directory_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-9])

    assert "b.csv.gz: it is damaged or cut short" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"\0\1\2", b"hello, world\n", b""])
def test_a_file_of_unknown_format_is_refused_with_the_known_formats(tmp_path: Path, content: bytes):
    (tmp_path / "x").write_bytes(content)

    said = refusal(tmp_path / "x")

    assert all(format_ in said for format_ in ("Million Playlist Dataset", "Last.fm 360K", "csv", "parquet"))


def test_a_directory_of_unknown_formats_is_refused_with_the_known_formats(tmp_path: Path):
    (tmp_path / "x.pdf").write_bytes(b"%PDF")

    assert "Last.fm 360K" in refusal(tmp_path)


def test_an_unreadable_file_in_a_directory_is_named(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text(CSV)
    (tmp_path / "b.csv").chmod(0)
    if os.access(tmp_path / "b.csv", os.R_OK):
        pytest.skip("this user may read every file")

    assert refusal(tmp_path) == f"cannot read {tmp_path / 'b.csv'}: Permission denied."


def test_wrong_columns_of_the_last_input_are_reported_before_the_first_is_read(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")

    with pytest.raises(BadInput, match="x, y"):
        next(iter(read([tmp_path / "a.csv", tmp_path / "b.csv"])))


def test_an_unknown_role_is_refused_for_any_input(tmp_path: Path):
    (tmp_path / "s.json").write_text(SLICE)

    with pytest.raises(BadInput, match=r"'song'.*playlist, user, track, "):
        list(read([tmp_path / "s.json"], ReadOptions({"song": "x"})))


def test_a_file_that_vanishes_before_its_turn_is_named(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text(CSV * 2)
    (tmp_path / "s.json").write_text(SLICE)
    for name in ("b.csv", "s.json"):
        stream = iter(read([tmp_path / "a.csv", tmp_path / name]))
        next(stream)
        (tmp_path / name).unlink()

        with pytest.raises(BadInput, match=rf"{name}: No such file"):
            list(stream)


def test_progress_ends_at_the_size_of_the_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.csv").write_text(CSV + "6,t:3\n" * 100)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress((CSV + "6,t:3\n" * 101).encode()))
    (tmp_path / "s.json").write_text(SLICE)
    pl.DataFrame({"user": ["a"] * 90, "song": ["x"] * 90}).write_parquet(tmp_path / "c.parquet")
    paths = [tmp_path / name for name in ("a.csv", "b.csv.gz", "s.json", "c.parquet")]

    batches = sum(isinstance(item, Interactions) for item in read(paths, block_bytes=100))

    total = sum(path.stat().st_size for path in paths) / 1000
    assert batches > 6
    assert f"100% {total:.2f}k/{total:.2f}k" in capsys.readouterr().err


def test_of_very_many_kinds_of_files_some_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number in range(25):
        (tmp_path / f"a{number}.{'csv' if number % 2 else 'jsonl'}").write_text(
            (LINES if number % 2 == 0 else CSV) + "\n" * number
        )

    list(read(sorted(tmp_path.iterdir())))

    said = capsys.readouterr().err
    assert said.count(f"{tmp_path}/a") == 20
    assert "5 more kinds of input are in the manifest" in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_notes_come_below_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.csv").write_text("user,song,plays\n1,2,0\n1,3,1\n")
    (tmp_path / "b.csv").write_text(CSV)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    list(read([tmp_path / "a.csv", tmp_path / "b.csv"]))

    bar, _, below = terminal.getvalue().partition(f"{tmp_path / 'a.csv'}: ")
    assert "100%" in bar
    assert "left out 1: a count of 0" in below


BROKEN = {
    "x.xspf": '<playlist xmlns="http://xspf.org/ns/0/"><trackList>',
    "x.jspf": '{"playlist": {"title": "x", "track": [',
    "Library.xml": '<?xml version="1.0"?><plist version="1.0"><dict><key>Tracks</key>',
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_file_that_is_alone_of_its_kind_does_not_end_the_run(tmp_path: Path, name: str, packed: bool):
    table = "playlist_id,track_id\n" + "".join(f"p,t{row}\n" for row in range(100))
    folder = tmp_path / "data"
    folder.mkdir()
    for file, content in {"a.csv": table, name: BROKEN[name]}.items():
        (folder / file).write_text(content)
    both = a_zip(tmp_path / "data.zip", {"a.csv": table.encode(), name: BROKEN[name].encode()}) if packed else folder

    assert ids(both) == ["p"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_that_is_named_ends_the_run(tmp_path: Path, name: str):
    (tmp_path / name).write_text(BROKEN[name])

    assert f"{name}: 1 of 1 tracks are odd, 1: a damaged file" in refusal(tmp_path / name)
