"""
Cleans the rows of tables of any format.

Ids and names become text without blanks around them, numbers become numbers, and odd rows are passed over. Ids stay as
they are, 007 is not 7, except that a column of ids that became floats, such as 1078.0, has whole numbers again.
"""

import polars as pl

from trainer.sources.account import MOST_PLACES, Account
from trainer.sources.columns import Columns, option
from trainer.sources.file_names import playlist_id, stem_of
from trainer.sources.headers import BARE, EXPORTS, IDS, NUMBERS, plain
from trainer.sources.inputs import Inputs
from trainer.sources.names import artist_id, track_id
from trainer.sources.texts import are_floats, bare, without_points

SPOTIFY_ID = "^([0-9A-Za-z]{22})$"

PLAYED = ("played_ms", "played_pct")

# Texts of which a batch needs the first of each track or playlist alone, so that only those are cleaned.
DESCRIPTIONS = ("title", "track_name", "artist", "artist_name")


class Rows:
    """The rows of one table, cleaned block by block."""

    def __init__(self, name: str, columns: Columns, account: Account, inputs: Inputs):
        """Clean the rows of the file *name*, and complete the *account*."""
        self._columns, self._account, self._name = columns, account, name
        self._options, self._place = inputs.options, inputs.place(name)
        self._decision = inputs.alike(columns).decision
        self._floats: list[str] | None = None
        self._first = 1  # the number of the first row of the block
        self._describe()

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
        frame = frame.rename(self._decision.roles)
        frame = self._with_whole_numbers(frame.with_columns(bare(text) for text in frame if self._is_cleaned_now(text)))
        frame = _with_numbers(_with_tracks(self._with_playlists(frame)))
        frame = _with_uris(frame) if self._columns.format in EXPORTS and "track" in frame.columns else frame
        return self._heard(self._sound(frame))

    def _is_cleaned_now(self, column: pl.Series) -> bool:
        return column.name not in (*NUMBERS, "row", *self._later)

    def _with_whole_numbers(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Mend the ids that became floats, of which the first block decides: other files may have whole numbers."""
        if self._floats is None:
            self._floats = [role for role in IDS if role in frame.columns and are_floats(bare(frame[role]))]
            self._later -= set(self._floats)
        return frame.with_columns(without_points(bare(frame[role]), self._name) for role in self._floats)

    def _describe(self) -> None:
        """Complete the account, and find the texts that are cleaned after the rows are grouped."""
        decision, account = self._decision, self._account
        names = {role: self._columns.names[place] for role, place in self._columns.places.items()}
        account.columns = {decision.roles.get(role, role): name for role, name in names.items()}
        account.notes += decision.remarks
        self._roles = roles = set(account.columns)
        if "track" not in roles and "track_name" in roles:
            account.notes.append(
                f"tracks have no ids: {'ARTIST - NAME' if {'artist', 'artist_name'} & roles else 'the name'} is the id"
            )
        self._later = set(DESCRIPTIONS) if {"track", "playlist"} <= roles else set()
        self._listens = {"user", "time"} <= roles and not {"playlist", "title", "count"} & roles
        self._named = "playlist" if "playlist" in roles else "title"
        self._by_file = self._are_told_apart_by_file()

    def _are_told_apart_by_file(self) -> bool:
        """Return True, with a remark, if playlists have titles and neither ids nor listeners."""
        column = self._account.columns.get(self._named, "")
        is_id = plain(column) not in BARE or "playlist" in self._options.columns
        titled = self._named == "title" or (self._decision.titled and not is_id)
        by_file = bool(self._place) and titled and "user" not in self._roles and not self._columns.one_playlist
        if by_file:
            advice = option(playlist=column)
            self._account.notes.append(
                f"playlists have titles and no ids, so each file has its own. "
                f"If a title is one playlist in all files, add {advice}"
            )
        return by_file

    def _with_playlists(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Complete the playlists: a listener and a title, either alone, or the file."""
        missing = [role for role in ("title", "artist", "artist_name") if role not in frame.columns]
        frame = frame.with_columns(pl.lit("").alias(role) for role in missing)
        if self._columns.one_playlist:
            title = pl.lit(stem_of(self._name)).alias("title")
            return frame.with_columns(pl.lit(playlist_id(self._name, self._place)).alias("playlist"), title)
        if self._decision.titled:
            frame = frame.with_columns(pl.col("playlist").alias("title"))
        return frame.with_columns(self._playlist().alias("playlist"))

    def _playlist(self) -> pl.Expr:
        named = pl.col(self._named)
        if self._by_file:
            return pl.when(named == "").then(named).otherwise(pl.lit(f"{self._place}/") + named)
        if "user" not in self._roles:
            return named
        if self._named == "title" and "title" not in self._columns.places:  # no listener has several
            return pl.col("user")
        pair = pl.when(named == "").then("user").otherwise(pl.format("{} - {}", "user", named))
        return pl.when(pl.col("user") == "").then(pl.lit("")).otherwise(pair)

    def _sound(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Pass over the odd rows."""
        item = "track" if "track" in frame.columns else "artist"
        faults = {f"no {self._called(role)}": pl.col(role) == "" for role in ("playlist", item)}
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

    def _called(self, role: str) -> str:
        """Return a word for the text that the ids of *role* are made of."""
        sources = {"playlist": {"playlist id": "playlist", "user id": "user", "playlist title": "title"}}
        names = sources.get(role, {f"{role} id": role, f"{role} name": f"{role}_name"})
        return next((word for word, source in names.items() if source in self._roles), f"{role} id")

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
        return frame.with_columns(pl.lit(1.0).alias("count")) if self._listens else frame


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
    ids = [
        (track_id(artist, track) if artist else artist_id(track)) if track else ""
        for artist, track in pairs.iter_rows()
    ]
    pairs = pairs.with_columns(pl.Series("id", ids, dtype=pl.String))
    named = said.join(pairs, on=pairs.columns[:2], how="left", maintain_order="left")["id"]
    kept = frame["track"] if "track" in frame.columns else named
    return frame.with_columns(named.zip_with(nameless, kept).alias("track"))


def _with_uris(frame: pl.DataFrame) -> pl.DataFrame:
    """Return *frame* with Spotify's URIs in place of its bare ids."""
    return frame.with_columns(pl.col("track").str.replace(SPOTIFY_ID, "spotify:track:$1"))


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
