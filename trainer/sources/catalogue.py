"""
Catalogues: what is known of tracks beside playlists, a table with a row for each track.

CSV, Parquet and JSON lines, plain or packed. Usual names of columns are recognised; other columns keep their names.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import polars as pl

from trainer.errors import BadInput
from trainer.progress import say
from trainer.sources.chunked_files import POLARS_ERRORS, Head, first_line, read_head, read_whole, seekable
from trainer.sources.encodings import wide_encoding
from trainer.sources.parquet import PARQUET_MAGIC
from trainer.sources.source import NotData

# Names of columns without blanks and signs, in lower case, by what they are.
NAMES: Mapping[str, Sequence[str]] = {
    "id": ("id", "trackid", "trackuri", "uri", "songid", "spotifyid", "spotifytrackid", "spotifyuri", "recordingid"),
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
YEAR = r"\b(1\d{3}|20\d{2})\b"
LONGEST_S = 10_000  # a duration above it is of milliseconds
EXACT = 2**53  # integers beyond it are texts, as a float would change them


def read_catalogue(paths: Sequence[Path]) -> pl.DataFrame:
    """
    Read catalogues, of which the first that knows something of a track counts.

    Returns:
        A row for each track: its `id`, and columns of the types Float64, Boolean, String and List(String).

    Raises:
        BadInput: one cannot be read, or has no ids.
    """
    tables = [_read(path) for path in paths]
    shared = {name for table in tables for name, dtype in table.schema.items() if dtype == pl.List(pl.String)}
    tables = [
        table.with_columns(
            _as_list(pl.col(name)) for name in shared & set(table.columns) if table.schema[name] == pl.String
        )
        for table in tables
    ]
    joined = pl.concat(tables, how="diagonal_relaxed")
    distinct = joined.unique("id", keep="first", maintain_order=True)
    if len(distinct) < len(joined):
        say(f"catalogue: {len(joined) - len(distinct):,} rows repeat an earlier id and are left out")
    return distinct


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
    roles = {name: _role(name) for name in table.columns}
    ids = [name for name, role in roles.items() if role == "id"]
    if not ids:
        raise BadInput(
            f"cannot read {path}: none of its columns ({', '.join(table.columns[:20])}) is the id of a track. "
            "Name it `id`, and write the ids of the playlists there."
        )
    found = {"id": table[ids[0]].cast(pl.String, strict=False).str.strip_chars()}
    for name, role in roles.items():
        if role in RESERVED or role in LEFT_OUT or role in found:
            continue
        column = _converted(role, name, table[name])
        if column is None:
            say(f"{path}: the column {name!r} is left out: {table.schema[name]} is no number, boolean, text or list")
        elif column.null_count() < len(column):
            found[role] = column
    return pl.DataFrame([column.alias(name) for name, column in found.items()]).filter(pl.col("id").is_not_null())


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
    header = text.partition("\n")[0]
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


def _converted(role: str, name: str, column: pl.Series) -> pl.Series | None:
    """Return *column* as one of the four types, by its *role*; None if it is none of them."""
    if isinstance(column.dtype, pl.List | pl.Array):
        texts = column.cast(pl.List(pl.String), strict=False)
        return texts if role in LISTS or len(texts) else None
    if column.dtype == pl.Struct or column.dtype == pl.Object or column.dtype == pl.Binary:
        return None
    if role == "year":
        return _years(column if column.dtype.is_temporal() else _plain(column))
    if role in LISTS:
        return pl.select(_as_list(pl.lit(column.cast(pl.String)))).to_series()
    if column.dtype.is_temporal() or isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    plain = _plain(column)
    if role == "duration_s":
        return _seconds(column, plain, name)
    if role == "explicit" and plain.dtype == pl.Float64:
        return plain > 0
    return plain.cast(pl.String) if role in ("album", "isrc") else plain


def _plain(column: pl.Series) -> pl.Series:
    """Return *column* as numbers, else as booleans, else as texts: the first that all its values are."""
    if column.dtype == pl.Boolean:
        return column
    if column.dtype.is_numeric():
        numbers = column.cast(pl.Float64, strict=False).replace([float("inf"), float("-inf")], None).fill_nan(None)
        exact = not column.dtype.is_integer() or not (numbers.abs() >= EXACT).any()
        return numbers if exact else column.cast(pl.String)
    texts = column.cast(pl.String).str.strip_chars()
    texts = pl.select(pl.when(pl.lit(texts).is_in(NOTHING)).then(None).otherwise(pl.lit(texts))).to_series()
    numbers = texts.cast(pl.Float64, strict=False)
    leading_zeros = texts.str.contains(r"^[+-]?0\d").any()  # 007 is a text
    if numbers.null_count() == texts.null_count() and not leading_zeros and not (numbers.abs() >= EXACT).any():
        return numbers.fill_nan(None)
    booleans = texts.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean)
    return booleans if booleans.null_count() == texts.null_count() else texts


def _years(column: pl.Series) -> pl.Series:
    if column.dtype in (pl.Date, pl.Datetime):
        return column.dt.year().cast(pl.Float64)
    if column.dtype.is_numeric() and (column.cast(pl.Float64).abs() > 9999).any():  # seconds or milliseconds since 1970
        numbers = column.cast(pl.Float64)
        unit = 1000.0 if (numbers.abs() > 1e11).any() else 1.0
        return pl.from_epoch((numbers / unit).cast(pl.Int64), "s").dt.year().cast(pl.Float64)
    return column.cast(pl.String).str.extract(YEAR).cast(pl.Float64)


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
