"""Catalogues of every kind become four types of columns by usual names, or a clear refusal."""

import gzip
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from trainer.errors import BadInput
from trainer.sources.catalogue import check_ids, read_catalogue

CSV = (
    "Track URI,Track Name,Artist,Album Name,ISRC,Release Date,Duration (ms),Explicit,Genres,Danceability,Rank,Mood\n"
    "t:1,One,A,First,US1,2015-03-01,215000,true,\"rock; pop\",0.5,1,calm\n"
    "t:2,Two,B,,US2,1999,61500,false,jazz,,2,\n"
    "t:3,Three,C,Third,,,,,,0.25,n/a,wild\n"
)  # fmt: skip
ROWS = [
    {
        "id": "t:1", "album": "First", "isrc": "US1", "year": 2015.0, "duration_s": 215.0, "explicit": True,
        "genres": ["rock", "pop"], "danceability": 0.5, "rank": 1.0, "mood": "calm",
    },
    {
        "id": "t:2", "album": None, "isrc": "US2", "year": 1999.0, "duration_s": 61.5, "explicit": False,
        "genres": ["jazz"], "danceability": None, "rank": 2.0, "mood": None,
    },
    {
        "id": "t:3", "album": "Third", "isrc": None, "year": None, "duration_s": None, "explicit": None,
        "genres": None, "danceability": 0.25, "rank": None, "mood": "wild",
    },
]  # fmt: skip


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(*paths: Path) -> list[dict[str, object]]:
    return [
        {name: value or None if value == [] else value for name, value in row.items()}
        for row in read_catalogue(paths).to_dicts()
    ]


@pytest.mark.parametrize("form", ["plain", "semicolons", "gzip", "byte order mark", "UTF-16", "windows lines"])
def test_usual_names_of_a_csv_file_are_recognised(tmp_path: Path, form: str):
    content = {
        "plain": CSV.encode(),
        "semicolons": CSV.replace("rock; pop", "rock| pop").replace(",", ";").encode(),
        "gzip": gzip.compress(CSV.encode()),
        "byte order mark": b"\xef\xbb\xbf" + CSV.encode(),
        "UTF-16": CSV.encode("utf-16"),
        "windows lines": CSV.replace("\n", "\r\n").encode(),
    }[form]

    assert rows_of(write(tmp_path / "catalogue", content)) == ROWS


def test_parquet_and_json_lines_are_read_with_their_types(tmp_path: Path):
    table = pl.DataFrame(
        {
            "id": ["t:1", "t:2"],
            "year": [date(2015, 3, 1), None],
            "added": [datetime(2020, 1, 2, 3), None],
            "plays": [3, 2**60],
            "tags": [["a", "b"], []],
            "live": [True, None],
            "kind": pl.Series(["x", "y"], dtype=pl.Categorical),
            "box": [{"a": 1}, {"a": 2}],
        }
    )
    table.write_parquet(tmp_path / "a.parquet")
    write(
        tmp_path / "b.jsonl",
        '{"id": "t:1", "tags": ["a", "b"], "bpm": 120, "live": true}\n{"id": "t:2", "bpm": 99.5}\n',
    )

    (first, second) = rows_of(tmp_path / "a.parquet")
    assert first == {
        "id": "t:1", "year": 2015.0, "added": "2020-01-02 03:00:00.000000", "plays": "3", "tags": ["a", "b"],
        "live": True, "kind": "x",
    }  # fmt: skip
    assert second["plays"] == str(2**60)  # a float would change it
    assert rows_of(tmp_path / "b.jsonl") == [
        {"id": "t:1", "tags": ["a", "b"], "bpm": 120.0, "live": True},
        {"id": "t:2", "tags": None, "bpm": 99.5, "live": None},
    ]


@pytest.mark.parametrize(
    ("given", "year"),
    [
        ("2015", 2015), ("2015-03", 2015), ("2015-03-01T00:00:00Z", 2015), ("01/03/2015", 2015),
        ("March 1, 2015", 2015),
        ("1425168000", 2015), ("1425168000000", 2015), ("-86400", 1969), ("unknown", None), ("0000", None),
    ],
)  # fmt: skip
def test_dates_of_every_kind_are_years(tmp_path: Path, given: str, year: int | None):
    rows = rows_of(write(tmp_path / "c.csv", f'id,release_date,n\na,"{given}",1\n'))

    assert rows[0].get("year") == year


@pytest.mark.parametrize(
    ("header", "given", "seconds"),
    [
        ("duration", "215", 215),
        ("duration", "215000", 215),
        ("duration_ms", "900", 0.9),
        ("length", "3:35", 215),
        ("length", "1:00:01", 3601),
    ],
)
def test_durations_are_seconds(tmp_path: Path, header: str, given: str, seconds: float):
    assert rows_of(write(tmp_path / "c.csv", f"id,{header}\na,{given}\n"))[0]["duration_s"] == seconds


@pytest.mark.parametrize("given", ["rock;pop", "rock | pop", "['rock', 'pop']", '[""rock"", ""pop""]', "rock,  pop"])
def test_lists_in_texts_are_divided(tmp_path: Path, given: str):
    assert rows_of(write(tmp_path / "c.csv", f'id,genres\na,"{given}"\n'))[0]["genres"] == ["rock", "pop"]


def test_a_column_whose_values_do_not_all_fit_a_type_is_of_texts(tmp_path: Path):
    rows = rows_of(write(tmp_path / "c.csv", "id,code,zip,mark\na,1,007,yes\nb,x,123,maybe\n"))

    assert rows == [
        {"id": "a", "code": "1", "zip": "007", "mark": "yes"},
        {"id": "b", "code": "x", "zip": "123", "mark": "maybe"},
    ]


def test_of_rows_with_one_id_the_first_counts_and_files_complete_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    first = write(tmp_path / "a.csv", "id,year,tags\na,2001,x;y\na,2002,z\n")
    second = write(tmp_path / "b.jsonl", '{"id": "b", "tags": ["w"], "bpm": 90}\n{"id": "a", "bpm": 1}\n')

    rows = rows_of(first, second)

    assert rows == [
        {"id": "a", "year": 2001.0, "tags": ["x", "y"], "bpm": 1.0},
        {"id": "b", "year": None, "tags": ["w"], "bpm": 90.0},
    ]
    assert "4 rows tell of 2 tracks" in capsys.readouterr().err


def test_years_are_decided_one_by_one(tmp_path: Path):
    years = [2001, 20155, 20151016, 1425168000, 0, -5, 1e300, 2002.9]
    path = tmp_path / "years.parquet"
    pl.DataFrame({"id": list("abcdefgh"), "year": [float(year) for year in years]}).write_parquet(path)

    assert [row["year"] for row in rows_of(path)] == [2001, 1970, 2015, 2015, None, None, None, 2002]


def test_lists_have_neither_empty_nor_missing_texts_and_vectors_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "lists.parquet"
    table = {"id": ["a", "b"], "genres": [["rock", None, " "], [None]], "vector": [[0.1, 0.2], [0.3, 0.4]]}
    pl.DataFrame(table | {"deep": [[["x"]], [["y"]]], "took": [timedelta(seconds=90), None]}).write_parquet(path)

    assert rows_of(path) == [
        {"id": "a", "genres": ["rock"], "took": 90.0},
        {"id": "b", "genres": None, "took": None},
    ]
    said = capsys.readouterr().err
    assert "the column 'vector' is left out: List(Float64)" in said
    assert "the column 'deep' is left out" in said


def test_ids_are_those_of_the_column_that_says_the_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / "c.csv", "id,track_uri,playlists,genre,artist_genres\n1,t:1,9,x,y\n")

    assert rows_of(path) == [{"id": "t:1", "genres": ["x"]}]
    said = capsys.readouterr().err
    assert "the ids are those of the column 'track_uri'" in said
    assert "'playlists' is left out: there is another 'playlists'" in said
    assert "'artist_genres' is left out: there is another 'genres'" in said


def test_whole_numbers_are_ids_in_any_type_and_others_are_refused(tmp_path: Path):
    path = tmp_path / "ids.parquet"
    pl.DataFrame({"id": [1.0, 2.0], "year": [2000, 2001]}).write_parquet(path)
    assert [row["id"] for row in rows_of(path)] == ["1", "2"]
    pl.DataFrame({"id": [["a"], ["b"]]}).write_parquet(path)
    with pytest.raises(BadInput, match=r"column 'id' of .*ids\.parquet: List\(String\) is no id"):
        read_catalogue([path])


def test_a_catalogue_that_knows_no_track_is_refused_with_an_id_of_each():
    catalogue = pl.DataFrame({"id": ["17"], "year": [2000.0]})

    check_ids(catalogue, ["17", "spotify:track:x"])
    check_ids(catalogue, [])
    with pytest.raises(BadInput, match="its ids are like '17', and theirs like 'spotify:track:x'"):
        check_ids(catalogue, ["spotify:track:x"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty. A catalogue is expected"),
        (b"name,year\nx,2000\n", r"none of its columns \(name, year\) is the id of a track. Name it `id`"),
        (b"PAR1 and no more", "A catalogue is CSV, Parquet or JSON lines"),
        (gzip.compress(b"id,year\na,1\n", mtime=0)[:-9], "damaged or cut short"),
        (b'{"id": "a"}\n{"id": ', "A catalogue is CSV, Parquet or JSON lines"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_by_its_name(tmp_path: Path, content: bytes, reason: str):
    with pytest.raises(BadInput, match=reason) as refusal:
        read_catalogue([write(tmp_path / "bad.csv", content)])

    assert "bad.csv" in str(refusal.value)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path: Path):
    with pytest.raises(BadInput, match=r"nothing\.csv.*No such file"):
        read_catalogue([tmp_path / "nothing.csv"])
