"""
From the rows of tables to batches of interactions, whatever format they are of.

Ids are text in all of them, as they stand in the file: a column of numbers is never taken for numbers, so that 007
stays 007.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.errors import BadInput
from trainer.sources.blocks import Frames
from trainer.sources.records import Artist, Interactions, Slice, Track
from trainer.sources.roles import NAMES, NUMBERS, TITLE_OF_EITHER

LARGEST_COUNT = 1e9

# What is said of titles whose role the rows have told.
TAKEN_FOR = {
    "title": "took titles for those of playlists, as none has several; if they are not, --columns track_name=title",
    "track_name": "took titles for those of tracks, as a playlist has several; if they are not, --columns title=title",
}


@dataclass
class Tally:
    """
    How far a table has been read.

    Attributes:
        name: where the table lies, for a person.
        rows: how many of its rows have been read.
        zeros: how many of them were passed over because their count is 0.
        notes: what is to be said of it when all is read.
    """

    name: str
    rows: int = 0
    zeros: int = 0
    notes: list[str] = field(default_factory=list)


def table_slice(path: Path, frames: Callable[[Tally], Frames]) -> Slice:
    """The table in *path*, of which *frames* gives the rows, columns named after their roles."""
    tally = Tally(str(path))
    return Slice(tally.name, path.stat().st_size, lambda: _batches(frames(tally), tally), tally.notes)


def interactions(frame: pl.DataFrame, size: int, tally: Tally) -> Interactions | None:
    """
    The rows of *frame* as a batch; None where nothing is left of them.

    Args:
        frame: columns named after their roles: text, but for count and position, which may be numbers.
        size: bytes of the input that they took.
        tally: is told of the rows.

    Raises:
        BadInput: a row without an id, or with a count or a position that is none.
    """
    start, tally.rows = tally.rows, tally.rows + frame.height
    of_tracks = "track" in frame.columns
    frame = _with_artists(frame)
    for role in ("playlist", "track" if of_tracks else "artist"):
        _refuse_empty(frame[role], start, tally)
    counts, positions = (_numbers(frame, role, start, tally) for role in NUMBERS)
    if counts is not None:
        played = counts > 0
        tally.zeros += int(frame.height - played.sum())
        frame, counts = frame.filter(pl.Series(played)), np.minimum(counts, LARGEST_COUNT)[played]
        positions = positions[played] if positions is not None else None
    if frame.is_empty():
        return None

    attributes = ("track_name", "artist", "artist_name") if of_tracks else ("artist_name",)
    playlists, owners = _factorise(frame, "playlist", ("title",))
    items, rows = _factorise(frame, "track" if of_tracks else "artist", attributes)
    named = items.with_columns(_or("artist_name", "artist")).rows()
    return Interactions(
        playlist_ids=playlists["playlist"].to_list(),
        titles=playlists["title"].to_list(),
        tracks=[Track(*row) for row in named] if of_tracks else [],
        artists=[] if of_tracks else [Artist(*row) for row in named],
        owners=owners,
        rows=rows,
        counts=None if counts is None else counts.astype(np.float32),
        positions=positions,
        size=size,
    )


def _batches(frames: Frames, tally: Tally) -> Iterator[Interactions]:
    for frame, size in _with_titles(frames, tally):
        batch = interactions(frame, size, tally)
        if batch:
            yield batch
    if tally.zeros:
        tally.notes.append(f"passed over {tally.zeros:,} row{'s' * (tally.zeros > 1)} with a count of 0")


def _with_titles(frames: Frames, tally: Tally) -> Frames:
    """*frames* in which titles that may be either's have their role, by the first that has rows."""
    role = ""
    for frame, size in frames:
        if TITLE_OF_EITHER in frame.columns and frame.height:
            if not role:
                role = _role_of_titles(frame)
                tally.notes.append(TAKEN_FOR[role])
            frame = frame.rename({TITLE_OF_EITHER: role})
        yield frame, size


def _role_of_titles(frame: pl.DataFrame) -> str:
    """Whose the titles are: the playlists' where each has one at most, and the tracks' where one has several."""
    titled = frame.filter(pl.col(TITLE_OF_EITHER) != "").group_by("playlist")
    several = titled.agg(pl.col(TITLE_OF_EITHER).n_unique() > 1)[TITLE_OF_EITHER].any()
    return "track_name" if several else "title"


def _with_artists(frame: pl.DataFrame) -> pl.DataFrame:
    """*frame* with all columns of text; an artist without an id has its name as its id."""
    missing = [role for role in NAMES if role not in (*NUMBERS, "playlist", "track") and role not in frame.columns]
    return frame.with_columns(pl.lit("").alias(role) for role in missing).with_columns(_or("artist", "artist_name"))


def _or(role: str, other: str) -> pl.Expr:
    return pl.when(pl.col(role) == "").then(pl.col(other)).otherwise(pl.col(role)).alias(role)


def _refuse_empty(ids: pl.Series, start: int, tally: Tally) -> None:
    """
    Raises:
        BadInput: any of *ids* is ''; names the first.
    """
    empty = ids == ""
    if empty.any():
        row = start + int(empty.arg_max() or 0) + 1
        raise BadInput(f"{tally.name} has no {ids.name} id in data row {row:,}; give it one or leave the row out")


def _numbers(frame: pl.DataFrame, role: str, start: int, tally: Tally) -> NDArray[np.float64] | None:
    """
    float64 (n_rows,), the column of *role*; None if there is none.

    Raises:
        BadInput: something in it is no finite number, or a count below 0.
    """
    if role not in frame.columns:
        return None
    given = frame[role]
    text = given.str.strip_chars() if given.dtype == pl.String else given
    numbers = text.cast(pl.Float64, strict=False).fill_null(float("nan"))
    good = numbers.is_finite() & ((numbers >= 0) if role == "count" else True)
    if not good.all():
        place = int((~good).arg_max() or 0)
        wanted = "a number from 0 up" if role == "count" else "a number"
        raise BadInput(
            f"{tally.name} has the {role} {given[place]!r} in data row {start + place + 1:,}; {wanted} was expected"
        )
    return numbers.to_numpy()


def _factorise(frame: pl.DataFrame, key: str, attributes: Sequence[str]) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """The distinct *key*s, each with the first of its *attributes* that are not empty, and the place of every row."""
    distinct = frame.select(key, *attributes).unique(maintain_order=True)
    first = pl.col(*attributes)
    distinct = distinct.group_by(key, maintain_order=True).agg(first.filter(first != "").first().fill_null(""))
    places = distinct.select(key, pl.int_range(pl.len(), dtype=pl.Int32).alias("place"))
    joined = frame.select(key).join(places, on=key, how="left", maintain_order="left")
    return distinct, joined["place"].to_numpy()
