"""The two Last.fm collections in their published forms, and damaged."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.sources.inputs import refusal
from trainer.sources import Interactions, SourceArtist, read

ANN, BEN = "a" * 40, "0123456789abcdef" * 2 + "01234567"
PLAYS = "usersha1-artmbid-artname-plays.tsv"
LINES = f"{ANN}\tm-1\tRadiohead\t12\n{ANN}\t\tBjörk\t3\n{BEN}\tm-1\tRadiohead\t1\n"
EXPECTED = [(ANN, "m-1", "Radiohead", 12), (ANN, "Björk", "Björk", 3), (BEN, "m-1", "Radiohead", 1)]


def rows(*paths: Path) -> list[tuple[str, str, str, float]]:
    """Listener, artist's id, its name and plays, of each row."""
    found = []
    for batch in read(paths):
        assert isinstance(batch, Interactions)
        assert batch.counts is not None
        assert not batch.tracks
        assert batch.owners.dtype == batch.rows.dtype == np.int32
        for owner, row, count in zip(batch.owners, batch.rows, batch.counts.tolist(), strict=True):
            found.append((batch.playlist_ids[owner], *batch.artists[row], count))
    return found


def many_lines(count: int) -> str:
    return "".join(f"{ANN}\tm-{number}\tName {number}\t5\n" for number in range(count))


def a_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def a_2k(folder: Path, plays: str, artists: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "user_artists.dat").write_text(plays)
    (folder / "artists.dat").write_bytes(artists)
    return folder


PLAYS_2K = "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t7\n3\t51\t1\n"
ARTISTS_2K = b"51\tDuran Duran\thttp://x\thttp://y\n52\tMorcheeba\thttp://x\thttp://y\n"
EXPECTED_2K = [("2", "51", "Duran Duran", 13883), ("2", "52", "Morcheeba", 7), ("3", "51", "Duran Duran", 1)]


@pytest.mark.parametrize("name", [PLAYS, "plays.txt", "plays"])
def test_360k_of_any_name_is_detected_by_its_lines(tmp_path: Path, name: str):
    (tmp_path / name).write_text(LINES)

    assert rows(tmp_path / name) == EXPECTED


def test_360k_comes_gzipped_in_a_directory_or_in_its_tar_file(tmp_path: Path):
    (tmp_path / "d" / "lastfm-dataset-360K").mkdir(parents=True)
    (tmp_path / "d" / "lastfm-dataset-360K" / PLAYS).write_text(LINES)
    (tmp_path / "d" / "lastfm-dataset-360K" / "usersha1-profile.tsv").write_text(
        f"{ANN}\tf\t22\tGermany\tFeb 1, 2007\n"
    )
    (tmp_path / f"{PLAYS}.gz").write_bytes(gzip.compress(LINES.encode()))
    members = {"lastfm/README.txt": b"read me", f"lastfm/{PLAYS}": LINES.encode(), "lastfm/usersha1-profile.tsv": b""}

    assert rows(tmp_path / "d") == EXPECTED
    assert rows(tmp_path / f"{PLAYS}.gz") == EXPECTED
    assert rows(a_tar(tmp_path / "lastfm-dataset-360K.tar.gz", members)) == EXPECTED
    assert rows(a_tar(tmp_path / "a.tar", members, "w")) == EXPECTED


def test_tabs_in_a_name_are_spaces_and_quotes_are_quotes(tmp_path: Path):
    content = (
        f'{ANN}\tm-1\tOne\tTwo\tThree\t3\n{ANN}\tm-2\t"Weird Al" Yankovic\t4\n{ANN}\tm-3\t"open\t5\n{ANN}\tm-4\t\t6\n'
    )
    (tmp_path / PLAYS).write_text(content)

    assert rows(tmp_path / PLAYS) == [
        (ANN, "m-1", "One Two Three", 3),
        (ANN, "m-2", '"Weird Al" Yankovic', 4),
        (ANN, "m-3", '"open', 5),
        (ANN, "m-4", "m-4", 6),
    ]


def test_lines_without_plays_or_without_an_artist_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / PLAYS).write_text(f"{ANN}\tm-1\tA\t0\n{ANN}\t\t\t5\n{ANN}\tm-2\tB\t5\n")

    assert rows(tmp_path / PLAYS) == [(ANN, "m-2", "B", 5)]
    said = capsys.readouterr().err
    assert "left out 1: a count of 0" in said
    assert "left out 1: no artist" in said


@pytest.mark.parametrize("bad", ["sep 20, 2008\tm-1\tA\t5", f"{ANN}\tm-1\t5", f"{ANN}\tm-1\tA\tmany", ""])
def test_a_few_malformed_lines_are_passed_over_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str
):
    (tmp_path / PLAYS).write_text(many_lines(150) + f"{bad}\n" + many_lines(50))

    assert len(rows(tmp_path / PLAYS)) == 200
    said = " ".join(capsys.readouterr().err.split())
    assert "passed over 1: no line of a user's 40 hex digits, an id, an artist and plays (line 151)" in said


def test_many_malformed_lines_are_refused_with_the_first(tmp_path: Path):
    (tmp_path / PLAYS).write_text(many_lines(95) + "nobody\tm-1\tA\t5\n" * 5)

    said = refusal(tmp_path / PLAYS)

    assert "5 of 100 rows are odd" in said
    assert "line 96" in said


def test_a_name_that_is_not_utf8_costs_a_letter_alone(tmp_path: Path):
    (tmp_path / PLAYS).write_bytes(LINES.encode() + f"{BEN}\tm-9\tSigur R".encode() + b"\xf3s\t4\n")

    assert rows(tmp_path / PLAYS) == [*EXPECTED, (BEN, "m-9", "Sigur R�s", 4)]


@pytest.mark.parametrize("name", [f"{PLAYS}.gz", "lastfm-dataset-360K.tar.gz"])
def test_a_packed_file_that_is_cut_short_is_reported(tmp_path: Path, name: str):
    content = "".join(
        f"{ANN}\tm-{number}\t{np.random.default_rng(number).bytes(9).hex()}\t5\n" for number in range(2000)
    )
    if "tar" in name:
        whole = a_tar(tmp_path / name, {f"lastfm/{PLAYS}": content.encode()}).read_bytes()
    else:
        whole = gzip.compress(content.encode())
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])

    assert "damaged or cut short" in refusal(tmp_path / name)


def test_another_tar_file_is_refused(tmp_path: Path):
    assert "it is a tar file. Unpack it" in refusal(a_tar(tmp_path / "a.tar.gz", {"a.csv": b"user,song\n"}))


@pytest.mark.parametrize("header", ["userID\tartistID\tweight\n", "//userID\tartistID\tweight\r\n"])
def test_2k_is_read_from_a_directory_its_file_or_its_zip(tmp_path: Path, header: str):
    plays = PLAYS_2K.replace("userID\tartistID\tweight\n", header)
    folder = a_2k(tmp_path / "2k", plays, b"id\tname\turl\tpictureURL\n" + ARTISTS_2K)
    with zipfile.ZipFile(tmp_path / "hetrec2011-lastfm-2k.zip", "w") as archive:
        archive.writestr("user_artists.dat", plays)
        archive.writestr("artists.dat", ARTISTS_2K)
        archive.writestr("tags.dat", "")

    assert rows(folder) == EXPECTED_2K
    assert rows(folder / "user_artists.dat") == EXPECTED_2K
    assert rows(tmp_path / "hetrec2011-lastfm-2k.zip") == EXPECTED_2K


def test_2k_artists_without_a_name_have_their_id_and_broken_letters_are_replaced(tmp_path: Path):
    folder = a_2k(tmp_path / "2k", PLAYS_2K, b"51\tMot\xf6rhead\thttp://x\n")

    assert {row[1:3] for row in rows(folder)} == {("51", "Mot�rhead"), ("52", "52")}


def test_2k_without_its_names_is_refused(tmp_path: Path):
    folder = a_2k(tmp_path / "2k", PLAYS_2K, ARTISTS_2K)
    (folder / "artists.dat").unlink()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("user_artists.dat", PLAYS_2K)

    assert "artists.dat is missing" in refusal(folder)
    assert "artists.dat is missing" in refusal(tmp_path / "a.zip")


def test_2k_with_a_broken_row_names_it(tmp_path: Path):
    assert "data row 4" in refusal(a_2k(tmp_path / "2k", PLAYS_2K + "3\t52\n", ARTISTS_2K))
    assert "count is no number from 0 up (data row 4)" in refusal(
        a_2k(tmp_path / "2k", PLAYS_2K + "3\t52\tx\n", ARTISTS_2K)
    )


def test_2k_with_another_header_is_refused(tmp_path: Path):
    assert "userID, artistID, weight" in refusal(a_2k(tmp_path / "2k", "a\tb\n1\t2\n", ARTISTS_2K))


def test_the_real_2k_is_read_whole():
    path = Path(__file__).parents[4] / "shared" / "data" / "lastfm-2k"
    if not path.exists():
        pytest.skip(f"needs {path}, which is not here")

    found = rows(path)

    assert len(found) == 92_834
    assert len({row[0] for row in found}) == 1_892
    assert len({row[1] for row in found}) == 17_632
    assert ("2", "51", "Duran Duran", 13883) in found
    assert sum(row[1] == row[2] for row in found) < 10
    assert SourceArtist("51", "Duran Duran") == SourceArtist(*found[0][1:3])
