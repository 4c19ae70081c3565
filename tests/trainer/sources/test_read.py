"""Which format an input is of, several inputs in one go, and the progress through them."""

import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest

import trainer.sources
from trainer.errors import BadInput
from trainer.progress import progress
from trainer.sources import Interactions, Playlist, read

USER = "a" * 40
SLICE = json.dumps({"playlists": [{"pid": 1, "name": "n", "tracks": [{"track_uri": "t:1"}]}]})
PRETTY_SLICE = json.dumps(json.loads(SLICE), indent=1)
CSV = "playlist_id,track_id\n5,t:2\n"
LINES = '{"playlist_id": 6, "track_id": "t:3"}\n{"playlist_id": "7", "track_id": "t:3"}\n'


def ids(*paths: Path) -> list[str]:
    found: list[str] = []
    for item in read(paths):
        found += [item.id] if isinstance(item, Playlist) else item.playlist_ids
    return found


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as refused:
        list(read([path]))
    assert "\n" not in str(refused.value)
    return str(refused.value)


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
def test_json_lines_are_known_whatever_their_name(tmp_path: Path, name: str):
    (tmp_path / name).write_text(LINES)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(LINES.encode()))

    assert ids(tmp_path / name, tmp_path / f"{name}.gz") == ["6", "7", "6", "7"]


def test_a_table_is_known_by_its_header_or_its_magic_where_its_name_says_nothing(tmp_path: Path):
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


def test_a_directory_of_slices_is_that_whatever_lies_beside_them(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "mpd.slice.0-0.json").write_text(SLICE)

    assert ids(tmp_path) == ["1"]


@pytest.mark.parametrize("content", [b"%PDF-1.4\n", b"\0\1\2", b"hello, world\n", b""])
def test_what_is_not_understood_is_refused_with_what_is(tmp_path: Path, content: bytes):
    (tmp_path / "x").write_bytes(content)

    said = refusal(tmp_path / "x")

    assert all(format_ in said for format_ in ("Million Playlist Dataset", "Last.fm 360K", "csv", "parquet"))


def test_a_directory_of_nothing_that_is_understood_is_refused_with_what_is(tmp_path: Path):
    (tmp_path / "x.pdf").write_bytes(b"%PDF")

    assert "Last.fm 360K" in refusal(tmp_path)


def test_the_wrong_columns_of_the_last_input_are_told_before_the_first_is_read(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")

    with pytest.raises(BadInput, match="x, y"):
        next(iter(read([tmp_path / "a.csv", tmp_path / "b.csv"])))


def test_a_role_that_there_is_not_is_refused_whatever_the_input(tmp_path: Path):
    (tmp_path / "s.json").write_text(SLICE)

    with pytest.raises(BadInput, match=r"'song'.*playlist, track, "):
        list(read([tmp_path / "s.json"], {"song": "x"}))


def test_a_file_that_vanishes_before_its_turn_is_named(tmp_path: Path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text(CSV)
    (tmp_path / "s.json").write_text(SLICE)
    for name in ("b.csv", "s.json"):
        stream = read([tmp_path / "a.csv", tmp_path / name])
        next(stream)
        (tmp_path / name).unlink()

        with pytest.raises(BadInput, match=rf"{name} cannot be read: No such file"):
            list(stream)


def test_progress_ends_at_the_size_of_the_inputs_and_never_goes_beyond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.csv").write_text(CSV * 1 + "6,t:3\n" * 100)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress((CSV + "6,t:3\n" * 100).encode()))
    (tmp_path / "s.json").write_text(SLICE)
    pl.DataFrame({"user": ["a"] * 90, "song": ["x"] * 90}).write_parquet(tmp_path / "c.parquet")
    monkeypatch.setattr(trainer.sources.blocks, "BLOCK", 100)
    bars = []

    def kept(*args: object, **kwargs: object) -> object:
        bars.append(progress(*args, **kwargs))
        return bars[-1]

    monkeypatch.setattr(trainer.sources, "progress", kept)
    paths = [tmp_path / name for name in ("a.csv", "b.csv.gz", "s.json", "c.parquet")]
    monkeypatch.setattr("sys.stderr", io.StringIO())

    batches = sum(isinstance(item, Interactions) for item in read(paths) if bars[0].n <= bars[0].total)

    assert batches > 6
    assert bars[0].n == bars[0].total == sum(path.stat().st_size for path in paths)


def test_what_is_to_be_said_is_said_below_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.csv").write_text("user,song,plays\n1,2,0\n1,3,1\n")
    (tmp_path / "b.csv").write_text(CSV)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)

    list(read([tmp_path / "a.csv", tmp_path / "b.csv"]))

    assert terminal.getvalue().endswith(f"\n{tmp_path / 'a.csv'}: passed over 1 row with a count of 0\n")
