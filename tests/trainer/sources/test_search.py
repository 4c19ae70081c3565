"""The search for data: links, files given twice, packed files and zip files."""

import bz2
import gzip
import io
import lzma
import os
import resource
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from tests.trainer.sources.inputs import a_zip, ids, refusal
from trainer.config import DEFAULTS
from trainer.errors import BadInput
from trainer.sources import Account, Reading, SourcePlaylist
from trainer.sources.chunked_files import read_whole
from trainer.sources.files import zip_files
from trainer.sources.source import Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}
SLICE = b'{"playlists": [{"pid": 1, "name": "n", "tracks": [{"track_uri": "t:1"}]}]}'


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Limit the process to 80 more open files than the highest that other tests have left open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 80, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def a_table(*playlists: str) -> bytes:
    return "".join(["playlist_id,track_id\n", *(f"{playlist},t:1\n" for playlist in playlists)]).encode()


def a_parquet(*playlists: str) -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"user": playlists, "song": ["x"] * len(playlists)}).write_parquet(file)
    return file.getvalue()


# Links, and files given twice.


def test_linked_files_and_directories_are_read(tmp_path: Path):
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir()
    other.mkdir()
    (other / "b.csv").write_bytes(a_table("b"))
    (tmp_path / "c.csv").write_bytes(a_table("c"))
    (data / "linked").symlink_to(other)
    (data / "c.csv").symlink_to(tmp_path / "c.csv")

    assert sorted(ids(data)) == ["b", "c"]


def test_a_directory_that_is_linked_twice_is_walked_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_bytes(a_table("a"))
    (tmp_path / "again").symlink_to(tmp_path / "data")

    assert ids(tmp_path) == ["a"]
    assert "passed over" not in capsys.readouterr().err


def test_links_in_a_circle_end(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "itself").symlink_to(tmp_path / "a" / "itself")
    (tmp_path / "a" / "b" / "a.csv").write_bytes(a_table("a"))

    assert ids(tmp_path) == ["a"]


@pytest.mark.parametrize("again", ["a.csv", ".", "../data/a.csv", "linked.csv", "hard.csv"])
def test_a_file_given_twice_is_read_once_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], again: str):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_bytes(a_table("a"))
    (data / "linked.csv").symlink_to(data / "a.csv")
    os.link(data / "a.csv", data / "hard.csv")

    assert ids(data / "a.csv", data / again) == ["a"]
    assert f"it is the same file as {data / 'a.csv'}, which is read once." in capsys.readouterr().err


def test_a_directory_given_twice_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_bytes(a_table(name))

    assert ids(tmp_path, tmp_path) == ["a", "b"]
    assert "b.csv" in capsys.readouterr().err


@pytest.mark.parametrize("n", [1, 150_000])  # the second is longer than the beginning that is compared first
@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_beside_its_packed_copy_is_read_once_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packing: str, n: int
):
    content = a_table(*map(str, range(n)))
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / f"a.csv.{packing}").write_bytes(PACKINGS[packing](content))

    assert len(ids(tmp_path)) == n
    assert f"a.csv.{packing}: it has the same content as {tmp_path / 'a.csv'}, which" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a (1).csv", "Copy of a.csv", "old/b.txt"])
def test_a_copy_of_a_table_of_any_name_is_read_once(tmp_path: Path, name: str):
    (tmp_path / "old").mkdir()
    for path in ("a.csv", name):
        (tmp_path / path).write_bytes(a_table("a"))

    assert ids(tmp_path) == ["a"]


def test_playlists_of_the_same_tracks_and_other_names_are_two(tmp_path: Path):
    for name in ("rock.m3u", "pop.m3u"):
        (tmp_path / name).write_text("#EXTM3U\n#EXTINF:1,Muse - Hoodoo\na.mp3\n")

    assert len(ids(tmp_path)) == 2


def test_a_zip_file_beside_its_folder_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    members = {f"{name}.csv": a_table(name) for name in "abc"}
    a_zip(tmp_path / "lists.zip", members)
    (tmp_path / "lists").mkdir()
    for name, content in members.items():
        (tmp_path / "lists" / name).write_bytes(content)

    assert sorted(ids(tmp_path)) == ["a", "b", "c"]
    said = capsys.readouterr().err
    assert said.count("passed over") == 1
    assert "a.csv and 2 more files: it has the same content as a file in " in said


@pytest.mark.parametrize("other", ["9", "99"])
def test_files_that_differ_only_at_their_ends_are_two(tmp_path: Path, other: str):
    names = [str(number) for number in range(150_000)]
    (tmp_path / "a.csv").write_bytes(a_table(*names))
    (tmp_path / "b.csv").write_bytes(a_table(*names[:-1], other))

    assert len(ids(tmp_path)) == 300_000 - 1


@pytest.mark.parametrize("name", ["_fire_.csv", "License to ill.csv", "readme_first.csv", "_metadata.csv"])
def test_playlists_of_any_name_are_read(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(a_table("a"))
    a_zip(tmp_path / "b.zip", {f"_b/{name}": a_table("b")})

    assert sorted(ids(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("name", [".hidden.csv", "_SUCCESS", "_delta_log/0.csv", "_committed_123", "Thumbs.db"])
def test_files_of_systems_are_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    (tmp_path / "a.csv").write_bytes(a_table("a"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(a_table("b"))

    assert ids(tmp_path) == ["a"]
    assert "passed over" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["README", "readme.md", "LICENSE.txt", "Licence", "CHANGELOG.md"])
def test_descriptions_are_passed_over_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    (tmp_path / "a.csv").write_bytes(a_table("a"))
    (tmp_path / name).write_bytes(a_table("b"))

    assert ids(tmp_path) == ["a"]
    assert f"passed over {tmp_path / name}: it is a description by its name." in capsys.readouterr().err


def test_links_to_nothing_and_pipes_in_a_directory_are_passed_over_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "a.csv").write_bytes(a_table("a"))
    (tmp_path / "lost.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.csv")

    assert ids(tmp_path) == ["a"]
    said = capsys.readouterr().err
    assert f"passed over {tmp_path / 'lost.csv'} and 1 more file: it is a link to a missing file, or no regular" in said


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.csv")

    assert stat.S_ISFIFO((tmp_path / "pipe.csv").stat().st_mode)
    assert "Write the data to a file first" in refusal(tmp_path / "pipe.csv")


def test_files_beside_slices_or_a_collection_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    slices, lastfm = tmp_path / "slices", tmp_path / "lastfm"
    slices.mkdir()
    lastfm.mkdir()
    (slices / "mpd.slice.0-0.json").write_bytes(SLICE)
    (slices / "challenge_set.json").write_bytes(SLICE)
    (lastfm / "user_artists.dat").write_bytes(b"userID\tartistID\tweight\n2\t1\t5\n")
    (lastfm / "artists.dat").write_bytes(b"id\tname\n1\tA\n")
    (lastfm / "tags.dat").write_bytes(b"x")

    assert ids(slices, lastfm) == ["1", "2"]
    said = capsys.readouterr().err
    assert f"passed over {slices / 'challenge_set.json'}: it lies beside slices" in said
    assert f"passed over {lastfm / 'tags.dat'}: it lies beside a collection of Last.fm" in said


# Packed files.


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", a_table("1")),
        ("a.jsonl", b'{"user": "1", "song": "x"}\n'),
        ("a.parquet", a_parquet("1")),
        ("mpd.slice.0-0.json", SLICE),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_every_format_may_be_packed(tmp_path: Path, packing: str, name: str, content: bytes, named: bool):
    path = tmp_path / (f"{name}.{packing}" if named else name)
    path.write_bytes(PACKINGS[packing](content))

    assert ids(path) == ["1"]


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_file_that_is_cut_short_is_refused(tmp_path: Path, packing: str):
    content = PACKINGS[packing](a_table(*map(str, range(20_000))))
    (tmp_path / f"a.csv.{packing}").write_bytes(content[: len(content) // 2])

    assert f"a.csv.{packing}: it is damaged or cut short" in refusal(tmp_path / f"a.csv.{packing}")


# Zip files.


def test_all_tables_of_a_zip_file_are_read_without_the_shadows_of_a_mac(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    members = {
        "export/b.csv": a_table("b"),
        "export/a.csv": a_table("a"),
        "export/deep/c.csv.gz": gzip.compress(a_table("c")),
        "export/d.parquet": a_parquet("d"),
        "export/cover.jpg": b"\xff\xd8\xff\0",
        "__MACOSX/export/._a.csv": b"\0",
        "export/.DS_Store": b"\0",
        "export/": b"",
    }

    assert ids(a_zip(tmp_path / "a.zip", members)) == ["a", "b", "d", "c"]
    said = capsys.readouterr().err
    assert "cover.jpg: it is a picture." in said
    assert "DS_Store" not in said


def test_a_zip_file_in_a_directory_is_read_like_a_directory(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(a_table("a"))
    a_zip(tmp_path / "b.zip", {"b.csv": a_table("b")})
    a_zip(tmp_path / "c.zip", {"cover.jpg": b"\xff\xd8\xff\0"})

    assert ids(tmp_path) == ["a", "b"]


def test_a_zip_file_in_a_zip_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    inner = a_zip(tmp_path / "inner.zip", {"b.csv": a_table("b")}).read_bytes()

    assert ids(a_zip(tmp_path / "a.zip", {"a.csv": a_table("a"), "inner.zip": inner})) == ["a"]
    assert f"{tmp_path / 'a.zip' / 'inner.zip'}: it is a zip file in a zip file. Unpack it" in capsys.readouterr().err


@pytest.mark.parametrize("marker", ["[Content_Types].xml", "mimetype", "Index/Document.iwa"])
def test_a_spreadsheet_of_any_name_is_refused(tmp_path: Path, marker: str):
    assert "Save its table as CSV" in refusal(a_zip(tmp_path / "a.zip", {marker: b"", "b.csv": a_table("b")}))


@pytest.mark.parametrize("name", ["a.xlsx", "a.XLS", "a.ods", "a.numbers"])
def test_a_spreadsheet_is_refused_by_its_name(tmp_path: Path, name: str):
    path = a_zip(tmp_path / name, {"content.xml": b"<x/>"})

    assert refusal(path) == f"cannot read {path}: it is a spreadsheet. Save it as CSV."


def test_a_table_in_text_may_have_the_name_of_a_spreadsheet(tmp_path: Path):
    (tmp_path / "export.xls").write_bytes(a_table("a").replace(b",", b"\t"))

    assert ids(tmp_path / "export.xls") == ["a"]


def test_an_encrypted_member_says_so(tmp_path: Path):
    path = a_zip(tmp_path / "a.zip", {"a.csv": a_table("a")})
    content = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        struct.pack_into("<H", content, content.index(magic) + at, 1)  # the flag of encryption
    path.write_bytes(content)

    assert refusal(path) == f"cannot read {path / 'a.csv'}: it is encrypted. Unpack the zip file into a directory."


def test_an_unknown_packing_in_a_zip_file_is_named(tmp_path: Path):
    path = a_zip(tmp_path / "a.zip", {"a.csv": a_table("a")})
    content = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        struct.pack_into("<H", content, content.index(magic) + at, 9)  # deflate64
    path.write_bytes(content)

    assert "Unpack the zip file into a directory." in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_both_files_of_one_name_in_a_zip_file_are_read(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for playlist in ("one", "two, longer"):
            archive.writestr("a.csv", a_table(f'"{playlist}"'))

    assert ids(tmp_path / "a.zip") == ["one", "two, longer"]


def test_a_zip_file_is_opened_once_for_all_its_files(tmp_path: Path, few_descriptors: None):
    files = zip_files(a_zip(tmp_path / "a.zip", {f"{number}.m3u": b"" for number in range(150)}))

    with ExitStack() as opened:
        assert len([opened.enter_context(file.open("rb")) for file in files]) == 150


def test_a_zip_file_that_was_written_anew_is_read_anew(tmp_path: Path):
    for number, playlist in enumerate(("a", "longer")):
        path = a_zip(tmp_path / "a.zip", {"a.csv": a_table(playlist)})
        os.utime(path, (number, number))
        assert ids(path) == [playlist]


def test_a_file_that_is_too_large_to_be_read_at_once_is_refused_by_name(tmp_path: Path):
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(bytes(1000)))

    assert read_whole(tmp_path / "a.json.gz", most=1000) == bytes(1000)
    with pytest.raises(BadInput, match=r"a\.json\.gz: it has more than 999 bytes.*Unpack it"):
        read_whole(tmp_path / "a.json.gz", most=999)


def test_memory_that_is_too_small_is_an_error_that_names_the_file():
    def read(_: int) -> Iterator[SourcePlaylist]:
        raise MemoryError
        yield

    reading = Reading([("d", [Source("d/a.json", 1, read, Account("JSPF"))])], [], DEFAULTS, 1)

    with pytest.raises(BadInput, match=r"d/a\.json: the memory is too small"):
        list(reading)


def test_there_may_be_more_zip_files_than_descriptors(tmp_path: Path, few_descriptors: None):
    for number in range(150):
        a_zip(tmp_path / f"{number}.zip", {"a.csv": a_table(str(number))})

    assert len(ids(tmp_path)) == 150
