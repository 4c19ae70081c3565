"""
Catalogues: what is known of tracks beside playlists, a table with a row for each track.

CSV, Parquet and JSON lines, plain or packed. Usual names of columns are recognised; other columns keep their names.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from trainer.errors import BadInput
from trainer.progress import say
from trainer.sources.chunked_files import POLARS_ERRORS, Head, first_line, read_head, read_whole, seekable
from trainer.sources.encodings import wide_encoding
from trainer.sources.parquet import PARQUET_MAGIC
from trainer.sources.source import NotData

Converted = TypeVar("Converted", bound=pl.Series | None)

# Names of columns without blanks and signs, in lower case, by what they are.
NAMES: Mapping[str, Sequence[str]] = {
    "id": ("trackuri", "spotifyuri", "uri", "spotifytrackid", "spotifyid", "trackid", "songid", "recordingid", "id"),
    "name": ("name", "title", "trackname", "tracktitle", "song", "songname"),
    "artist": ("artist", "artists", "artistname", "artistnames", "artistid", "artisturi", "artistids"),
    "album": ("album", "albumname", "albumtitle", "release", "releasename"),
    "isrc": ("isrc",),
    "year": ("year", "releaseyear", "releasedate", "released", "date", "albumreleasedate"),
    "duration_s": ("duration", "durations", "durationsec", "durationseconds", "durationms", "length", "lengthms"),
    "explicit": ("explicit", "isexplicit"),
    "genres": ("genre", "genres", "artistgenres"),
    "tags": ("tag", "tags"),
}
RECOGNISED = {name: role for role, names in NAMES.items() for name in names}
LISTS = ("genres", "tags")
LEFT_OUT = ("name", "artist")  # the playlists say them
RESERVED = ("artist", "playlists")  # what a filter knows without a catalogue

SEPARATORS = ",;\t|"
LIST_SEPARATOR = r"\s*[;|,]\s*"
NOTHING = ("", "null", "NULL", "None", "NA", "N/A", "n/a", "nan", "NaN", "\\N")
BOOLEANS = {
    "true": True,
    "false": False,
    "yes": True,
    "no": False,
    "1": True,
    "0": False,
    "explicit": True,
    "clean": False,
}
YEARS, DAYS = (1000, 2999), (10_000_101, 29_991_231)  # 2015, and 20150301
LEAST_SECONDS, MILLISECONDS = 10_000, 1e11  # since 1970; fewer seconds are no date, and more are milliseconds
YEAR = r"\b(1\d{3}|20\d{2})\b"
LONGEST_S = 10_000  # a duration above it is of milliseconds
EXACT = 2**53  # integers beyond it are texts, as a float would change them


def read_catalogue(paths: Sequence[Path]) -> pl.DataFrame:
    """
    Read catalogues, which complete each other: of each attribute of a track, the first value counts.

    Returns:
        A row for each track: its `id`, and columns of the types Float64, Boolean, String and List(String).

    Raises:
        BadInput: one cannot be read, or has no ids.
    """
    joined = pl.concat(_alike([_read(path) for path in paths]), how="diagonal_relaxed")
    distinct = joined.n_unique("id")
    if distinct < len(joined):
        say(f"catalogue: {len(joined):,} rows tell of {distinct:,} tracks; of each attribute the first value counts")
    firsts = [pl.col(name).drop_nulls().first() for name in joined.columns if name != "id"]
    return joined.group_by("id", maintain_order=True).agg(firsts) if distinct < len(joined) else joined


def _alike(tables: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return *tables* in which a column that is of lists in one of them, and not in others, is of lists in all."""
    lists = {name for table in tables for name, dtype in table.schema.items() if dtype == pl.List(pl.String)}
    return [
        table.with_columns(
            _as_list(pl.col(name).cast(pl.String))
            for name in table.columns
            if name in lists and table.schema[name] != pl.List
        )
        for table in tables
    ]


def check_ids(catalogue: pl.DataFrame, track_ids: Sequence[str]) -> None:
    """
    Check that *catalogue* knows a track of the playlists.

    Raises:
        BadInput: it knows none.
    """
    if track_ids and len(catalogue) and not catalogue["id"].is_in(pl.Series(track_ids).implode()).any():
        raise BadInput(
            f"the catalogue knows no track of the playlists: its ids are like {catalogue['id'][0]!r}, and theirs like "
            f"{track_ids[0]!r}. Name the column with the ids of the playlists `id`."
        )


def _read(path: Path) -> pl.DataFrame:
    try:
        table = _table(path, read_head(path))
    except NotData as error:
        raise BadInput(str(error)) from None
    except POLARS_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BadInput(f"cannot read {path}: {error.strerror}.") from error
        raise BadInput(
            f"cannot read {path}: {first_line(error)}. A catalogue is CSV, Parquet or JSON lines."
        ) from error
    id_ = _id_column(path, table)
    found = {"id": _refusing(path, _ids, table[id_])}
    for name in table.columns:
        role = _role(name)
        if name == id_ or role in LEFT_OUT:
            continue
        if role in RESERVED or role in found:
            say(f"{path}: the column {name!r} is left out: there is another {role!r}")
            continue
        column = _refusing(path, partial(_converted, role), table[name])
        if column is None:
            say(f"{path}: the column {name!r} is left out: {table.schema[name]} is no number, boolean, text or texts")
        elif column.null_count() < len(column):
            found[role] = column
    return pl.DataFrame([column.alias(name) for name, column in found.items()]).filter(pl.col("id").is_not_null())


def _id_column(path: Path, table: pl.DataFrame) -> str:
    """Return the column of ids; of several the one whose name says the most, as `id` may number the rows."""
    bare = {re.sub(r"[\W_]", "", name.casefold()): name for name in reversed(table.columns)}
    ids = [bare[name] for name in NAMES["id"] if name in bare]
    if not ids:
        raise BadInput(
            f"cannot read {path}: none of its columns ({', '.join(table.columns[:20])}) is the id of a track. "
            "Name it `id`, and write the ids of the playlists there."
        )
    if len(ids) > 1:
        say(f"{path}: the ids are those of the column {ids[0]!r}")
    return ids[0]


def _refusing(path: Path, convert: Callable[[pl.Series], Converted], column: pl.Series) -> Converted:
    """Return *column* as *convert* does, or raise BadInput with its name."""
    try:
        return convert(column)
    except POLARS_ERRORS as error:
        raise BadInput(f"cannot read the column {column.name!r} of {path}: {first_line(error)}.") from error


def _ids(column: pl.Series) -> pl.Series:
    """Return *column* as texts without blanks around them, and whole numbers without a point."""
    if column.dtype.is_float():
        column = column.cast(pl.Int64, strict=False)
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical)):
        raise ValueError(f"{column.dtype} is no id; expected texts or whole numbers")
    return column.cast(pl.String).str.strip_chars()


def _table(path: Path, head: Head) -> pl.DataFrame:
    if head.raw.startswith(PARQUET_MAGIC):
        return pl.read_parquet(seekable(path))
    head.check_not_empty("A catalogue")
    wide = wide_encoding(head.raw)
    source = BytesIO(read_whole(path).decode(wide, "replace").encode()) if wide else seekable(path)
    text = head.text.decode(wide, "replace") if wide else head.text.decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        return pl.read_ndjson(source, infer_schema_length=None)
    if text.lstrip().startswith("["):
        return pl.read_json(source, infer_schema_length=None)
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    separator = max(SEPARATORS, key=header.count)
    return pl.read_csv(
        source,
        separator=separator,
        infer_schema=False,
        encoding="utf8-lossy",
        null_values=list(NOTHING),
        truncate_ragged_lines=True,
    )


def _role(name: str) -> str:
    bare = re.sub(r"[\W_]", "", name.casefold())
    return RECOGNISED.get(bare) or re.sub(r"\W+", "_", name.strip().casefold()).strip("_") or "column"


def _converted(role: str, column: pl.Series) -> pl.Series | None:
    """Return *column* as one of the four types, by its *role*; None if it is none of them."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return _texts(column) if _is_text(column.dtype.inner) else None
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        return None
    if isinstance(column.dtype, pl.Duration):
        return column.dt.total_milliseconds().cast(pl.Float64) / 1000
    if role == "year":
        return _years(column if column.dtype.is_temporal() else _plain(column))
    if role in LISTS:
        return _texts(pl.select(_as_list(pl.lit(column.cast(pl.String)))).to_series())
    if column.dtype.is_temporal() or isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    plain = _plain(column)
    if role == "duration_s":
        return _seconds(column, plain, column.name)
    if role == "explicit" and plain.dtype == pl.Float64:
        return plain > 0
    return plain.cast(pl.String) if role in ("album", "isrc") else plain


def _is_text(dtype: Any) -> bool:
    """Return whether lists of *dtype* are lists of texts; those of floats are vectors."""
    return bool(dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum) or dtype.is_integer())


def _texts(lists: pl.Series) -> pl.Series:
    """Return *lists* of texts without missing and empty ones; an empty list is missing."""
    texts = lists.cast(pl.List(pl.String), strict=False)
    known = pl.element().filter(pl.element().is_not_null() & ~pl.element().str.strip_chars().is_in(NOTHING))
    found = pl.select(pl.lit(texts).list.eval(known)).to_series()
    return pl.select(pl.when(pl.lit(found).list.len() > 0).then(pl.lit(found))).to_series()


def _plain(column: pl.Series) -> pl.Series:
    """Return *column* as numbers, else as booleans, else as texts: the first that all its values are."""
    if column.dtype == pl.Boolean:
        return column
    if column.dtype.is_numeric():
        numbers = _finite(column.cast(pl.Float64, strict=False))
        exact = not column.dtype.is_integer() or not (numbers.abs() >= EXACT).any()
        return numbers if exact else column.cast(pl.String)
    texts = column.cast(pl.String).str.strip_chars()
    texts = pl.select(pl.when(pl.lit(texts).is_in(NOTHING)).then(None).otherwise(pl.lit(texts))).to_series()
    numbers = texts.cast(pl.Float64, strict=False)
    leading_zeros = texts.str.contains(r"^[+-]?0\d").any()  # 007 is a text
    if numbers.null_count() == texts.null_count() and not leading_zeros and not (numbers.abs() >= EXACT).any():
        return _finite(numbers)
    booleans = texts.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean)
    return booleans if booleans.null_count() == texts.null_count() else texts


def _finite(numbers: pl.Series) -> pl.Series:
    return pl.select(pl.when(pl.lit(numbers).is_finite()).then(pl.lit(numbers))).to_series()


def _years(column: pl.Series) -> pl.Series:
    """Return years: of dates, of texts with a year, and of numbers: 2015, 20150301, or seconds or milliseconds."""
    if column.dtype in (pl.Date, pl.Datetime):
        return column.dt.year().cast(pl.Float64)
    if column.dtype != pl.Float64:
        return column.cast(pl.String).str.extract(YEAR).cast(pl.Float64)
    number = pl.lit(column)
    seconds = pl.when(number.abs() > MILLISECONDS).then(number / 1000).otherwise(number)
    seconds = pl.when(seconds.abs() <= MILLISECONDS).then(seconds)  # beyond the year 5138
    of_epoch = pl.from_epoch(seconds.cast(pl.Int64, strict=False), "s").dt.year().cast(pl.Float64)
    month, day = (number % 10_000) // 100, number % 100
    as_digits = number.is_between(*DAYS) & month.is_between(1, 12) & day.is_between(1, 31)
    years = (
        pl.when(number.is_between(*YEARS)).then(number.floor())
        .when(as_digits).then(number // 10_000)
        .when(number.abs() > LEAST_SECONDS).then(of_epoch)
    )  # fmt: skip
    return pl.select(years).to_series()


def _seconds(column: pl.Series, plain: pl.Series, name: str) -> pl.Series:
    if plain.dtype != pl.Float64:  # 3:45, or 1:02:03
        parts = column.cast(pl.String).str.split(":").list.reverse().cast(pl.List(pl.Float64), strict=False)
        seconds, minutes, hours = (parts.list.get(place, null_on_oob=True) for place in range(3))
        return seconds + 60 * minutes.fill_null(0) + 3600 * hours.fill_null(0)
    median = plain.median()
    in_ms = name.casefold().endswith("ms") or (isinstance(median, float) and median > LONGEST_S)
    return plain / 1000 if in_ms else plain


def _as_list(texts: pl.Expr) -> pl.Expr:
    """Return lists of the parts of *texts*: `rock; pop`, `rock|pop`, `['rock', 'pop']`."""
    bare = texts.str.strip_chars(" []'\"").str.replace_all(r"""['"]\s*,\s*['"]""", ",")
    parts = bare.str.replace_all(LIST_SEPARATOR, ";").str.split(";")
    return parts.list.eval(pl.element().filter(pl.element() != ""))
