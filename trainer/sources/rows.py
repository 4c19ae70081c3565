"""
Cleans the rows of tables of any format.

Ids and names become text without blanks around them, numbers become numbers, and odd rows are passed over. Ids stay as
they are, 007 is not 7, except that a column of ids that became floats, such as 1078.0, has whole numbers again.
"""

import polars as pl

from service.engine import bare_id
from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources.account import MOST_PLACES, Account
from trainer.sources.columns import ROLE_SHOWN, Columns
from trainer.sources.decisions import decide_roles, hold_names
from trainer.sources.file_names import playlist_id, stem_of
from trainer.sources.headers import IDS, NUMBERS
from trainer.sources.names import track_id

# Texts that databases and programs write for a missing id. None is not among them: artists are called so.
NULL = "\\N"
MISSING = (NULL, "NULL", "null", "nan", "NaN", "<NA>")

# Beyond these, floats do not hold every whole number.
LARGEST_WHOLE, LARGEST_WHOLE_32 = 2**53, 2**24
WHOLE_FLOAT = r"^-?\d+\.\d*(?:[eE]\+?\d+)?$"

PLAYED = ("played_ms", "played_pct")

# Texts of which a batch needs the first of each track or playlist alone, so that only those are cleaned.
DESCRIPTIONS = ("title", "track_name", "artist", "artist_name")


class Rows:
    """The rows of one table, cleaned block by block; the first block decides on what the header does not tell."""

    def __init__(self, name: str, columns: Columns, account: Account, options: ReadOptions):
        """Clean the rows of the file *name*, and complete the *account*."""
        self._columns, self._account, self._name, self._options = columns, account, name, options
        self._roles: dict[str, str] | None = None
        self._floats: list[str] = []
        self._later: set[str] = set()  # the columns to be cleaned after the rows are grouped
        self._first = 1  # the number of the first row of the block
        self._playlists_are_titles = False

    def clean(self, frame: pl.DataFrame) -> pl.DataFrame:
        """
        Return the rows of use, and count the others in the account.

        Args:
            frame: columns named after their roles, as text, or numbers where numbers are wanted; and maybe `row`, the
                numbers of the rows.

        Returns:
            Text in `playlist`, `title`, `artist`, `artist_name`, and, if the rows are of tracks, `track` and
            `track_name`; float64 in `count` and `position`, if there are any. `bare` has to clean the texts that
            describe a track or a playlist.

        Raises:
            BadInput: ids became floats and lost digits.
        """
        self._first = self._account.records + 1
        self._account.records += frame.height
        frame = frame.with_columns(bare(text) for text in frame if text.name not in (*NUMBERS, "row", *self._later))
        if self._roles is None:
            self._roles = self._decide(frame)
        frame = frame.rename(self._roles)
        frame = frame.with_columns(self._whole(frame[role]) for role in self._floats)
        frame = _with_numbers(_with_tracks(self._with_playlists(frame)))
        return self._heard(self._sound(frame))

    def _decide(self, frame: pl.DataFrame) -> dict[str, str]:
        """Return the role for each column of an unclear role, and find the ids that became floats."""
        names = {role: self._columns.names[place] for role, place in self._columns.places.items()}
        roles, remarks = decide_roles(frame, names)
        self._account.columns = {roles.get(role, role): name for role, name in names.items()}
        self._account.notes += remarks
        decided = frame.rename(roles)
        self._floats = [role for role in IDS if role in decided.columns and _are_floats(decided[role])]
        self._playlists_are_titles = "title" not in decided.columns and (
            "playlist" in decided.columns and hold_names(decided["playlist"])
        )
        if "track" not in decided.columns and "track_name" in decided.columns:
            artists = {"artist", "artist_name"} & set(decided.columns)
            self._account.notes.append(f"tracks have no ids: {'ARTIST - NAME' if artists else 'the name'} is the id")
        if {"track", "playlist"} <= set(decided.columns):
            self._later = set(DESCRIPTIONS).difference(self._floats, roles.values())
        return roles

    def _whole(self, ids: pl.Series) -> pl.Series:
        floats = ids.str.extract(f"({WHOLE_FLOAT})").cast(pl.Float64, strict=False)
        return ids.zip_with(floats.is_null(), whole_texts(floats, self._name))

    def _with_playlists(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Complete the playlists: a listener and a title, either alone, or the file."""
        missing = [role for role in ("title", "artist", "artist_name") if role not in frame.columns]
        frame = frame.with_columns(pl.lit("").alias(role) for role in missing)
        if self._columns.one_playlist:
            title = pl.lit(stem_of(self._name)).alias("title")
            return frame.with_columns(pl.lit(playlist_id(self._name)).alias("playlist"), title)
        if self._playlists_are_titles:
            frame = frame.with_columns(pl.col("playlist").alias("title"))
        named = "playlist" if "playlist" in frame.columns else "title"
        if "user" not in frame.columns:
            return frame.with_columns(pl.col(named).alias("playlist"))
        if named == "title" and "title" not in self._columns.places:  # no listener has several
            return frame.with_columns(pl.col("user").alias("playlist"))
        pair = pl.when(pl.col(named) == "").then("user").otherwise(pl.format("{} - {}", "user", named))
        return frame.with_columns(pl.when(pl.col("user") == "").then(pl.lit("")).otherwise(pair).alias("playlist"))

    def _sound(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Pass over the odd rows."""
        item = "track" if "track" in frame.columns else "artist"
        faults = {f"no {role} id": pl.col(role) == "" for role in ("playlist", item)}
        for role in ("count", *PLAYED):
            if role in frame.columns:
                faults[f"{role} is no number from 0 up"] = ~(pl.col(role).is_finite() & (pl.col(role) >= 0))
        odd = frame.select(pl.any_horizontal(faults.values())).to_series()
        if not odd.any():
            return frame
        if "row" not in frame.columns:
            frame = frame.with_row_index("row", self._first)
        fault = pl.coalesce(*(pl.when(is_odd).then(pl.lit(reason)) for reason, is_odd in faults.items()))
        for (reason,), rows in frame.filter(odd).group_by(fault.alias("fault"), maintain_order=True):
            *first, last = [f"data row {number:,}" for number in rows["row"].head(MOST_PLACES)]
            for place in first:
                self._account.pass_over(str(reason), place)
            self._account.pass_over(str(reason), last, rows.height - len(first))
        return frame.filter(~odd)

    def _heard(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave out rows with a count of 0 and listens that are too short; count each listen once."""
        seconds, percent = self._options.min_played_s, self._options.min_played_pct
        rules = {
            "count": ("a count of 0", pl.col("count") > 0),
            "played_ms": (f"listens of less than {seconds:g} s", pl.col("played_ms") >= 1000 * seconds),
            "played_pct": (f"listens of less than {percent:g} % of the track", pl.col("played_pct") >= percent),
        }
        for reason, rule in (rules[role] for role in rules if role in frame.columns):
            before, frame = frame.height, frame.filter(rule)
            self._account.skip(reason, before - frame.height)
        return frame.with_columns(pl.lit(1.0).alias("count")) if self._columns.listens else frame


def whole_texts(floats: pl.Series, name: str) -> pl.Series:
    """
    Return *floats* as text, whole numbers without a decimal point.

    Raises:
        BadInput: some are so large that they lost digits.
    """
    most = LARGEST_WHOLE_32 if floats.dtype == pl.Float32 else LARGEST_WHOLE
    lossy = floats.filter(floats.abs() > most)
    if len(lossy):
        role = ROLE_SHOWN.get(floats.name, floats.name)
        raise BadInput(
            f"cannot read {name}: its {role} ids became floats and lost digits, such as {lossy[0]!r}. "
            f"Write them as whole numbers or as text."
        )
    whole = floats.cast(pl.Int64, strict=False)
    return whole.cast(pl.String).zip_with(whole == floats, floats.cast(pl.String))


def bare(column: pl.Series) -> pl.Series:
    """
    Return *column* as text without blanks around it; ids also without quotes and texts for missing values.

    Args:
        column: text or whole numbers; its name is its role.
    """
    if column.dtype != pl.String:
        return column.cast(pl.String).fill_null("")
    is_id = column.name in IDS
    if not _has_plain_ends(column):
        column = column.str.strip_chars()
        if is_id and column.str.starts_with('"').any():
            column = column.map_elements(bare_id, pl.String)
    missing = column.is_in(MISSING if is_id else [NULL])
    return column.set(missing, "") if missing.any() else column


def _has_plain_ends(texts: pl.Series) -> bool:
    """Return True if all *texts* begin and end in ASCII characters other than blanks and quotes; quick, as most do."""
    last = texts.str.tail(1)
    plain = (texts >= "#") & (texts < "\x7f") & (last > " ") & (last < "\x7f")
    return bool((plain | (texts == "")).all())


def _are_floats(ids: pl.Series) -> bool:
    filled = ids.unique()
    filled = filled.filter(filled != "")
    floats = filled.str.extract(f"({WHOLE_FLOAT})").cast(pl.Float64, strict=False)
    return len(filled) > 0 and bool((floats == floats.floor()).fill_null(False).all())


def _with_tracks(frame: pl.DataFrame) -> pl.DataFrame:
    """Complete the ids: the artist and name of a track, or its name alone; without tracks, the name of an artist."""
    if "track_name" not in frame.columns:
        missing = pl.lit("").alias("track_name") if "track" in frame.columns else first_of("artist", "artist_name")
        return frame.with_columns(missing)
    nameless = frame["track"] == "" if "track" in frame.columns else pl.repeat(True, frame.height, eager=True)
    if not nameless.any():
        return frame
    said = frame.select(bare(frame[role]) for role in ("artist_name", "artist", "track_name"))
    said = said.select(first_of("artist_name", "artist"), "track_name")
    pairs = said.filter(nameless).unique()
    ids = [(track_id(artist, track) if artist else track) if track else "" for artist, track in pairs.iter_rows()]
    pairs = pairs.with_columns(pl.Series("id", ids, dtype=pl.String))
    named = said.join(pairs, on=pairs.columns[:2], how="left", maintain_order="left")["id"]
    kept = frame["track"] if "track" in frame.columns else named
    return frame.with_columns(named.zip_with(nameless, kept).alias("track"))


def first_of(role: str, other: str) -> pl.Expr:
    """Return the text in *role*, or that in *other* if it is ''."""
    return pl.when(pl.col(role) == "").then(pl.col(other)).otherwise(pl.col(role)).alias(role)


def _with_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Return *frame* with numbers as float64: NaN for anything else, or, in positions, the end of the playlist."""
    numbers = []
    for role in NUMBERS:
        if role in frame.columns:
            column = frame[role].cast(pl.Float64, strict=False)
            if column.null_count() and frame[role].dtype == pl.String:  # perhaps for the blanks around a number
                column = frame[role].str.strip_chars().cast(pl.Float64, strict=False)
            numbers.append(column.fill_null(float("nan")))
    frame = frame.with_columns(numbers)
    if "position" not in frame.columns:
        return frame
    position = pl.col("position")
    return frame.with_columns(pl.when(position.is_finite()).then(position).otherwise(float("inf")))
