"""
Converts the rows of tables of any format into batches of interactions.

Ids stay text: 007 is not 7.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import FilePath, Frames, size_of
from trainer.sources.columns import NAMES, NUMBERS, TITLE_OF_EITHER
from trainer.sources.source import Interactions, Source, SourceArtist, SourceTrack

LARGEST_COUNT = 1e9

# Notes on titles whose role was decided by the rows.
TAKEN_FOR = {
    "title": "the titles are taken for titles of playlists, as no playlist has several. "
    "If they are titles of tracks, add --columns track_name=title",
    "track_name": "the titles are taken for titles of tracks, as a playlist has several. "
    "If they are titles of playlists, add --columns title=title",
}


def table_source(path: FilePath, frames: Callable[[int], Frames], account: Account) -> Source:
    """
    Return the table in *path* as a source.

    Args:
        path: the file.
        frames: yields the rows in blocks of about the given number of bytes, columns named after their roles.
        account: how it was understood; *frames* may add to it.
    """
    name = str(path)
    return Source(name, size_of(path), lambda size: _batches(frames(size), name, account), account)


def _batches(frames: Frames, name: str, account: Account) -> Iterator[Interactions]:
    for frame, size in _with_titles(frames, account.notes):
        checked = _checked(frame, account.records, name)
        played = checked.filter(pl.col("count") > 0) if "count" in frame.columns else checked
        account.records += frame.height
        account.skip("a count of 0", frame.height - played.height)
        if not played.is_empty():
            yield _interactions(played, size)


def _with_titles(frames: Frames, notes: list[str]) -> Frames:
    """Give titles of unknown role the role that the first rows suggest."""
    role = ""
    for frame, size in frames:
        if TITLE_OF_EITHER in frame.columns and frame.height:
            if not role:
                role = _role_of_titles(frame)
                notes.append(TAKEN_FOR[role])
            frame = frame.rename({TITLE_OF_EITHER: role})
        yield frame, size


def _role_of_titles(frame: pl.DataFrame) -> str:
    titled = frame.filter(pl.col(TITLE_OF_EITHER) != "").group_by("playlist")
    several = titled.agg(pl.col(TITLE_OF_EITHER).n_unique() > 1)[TITLE_OF_EITHER].any()
    return "track_name" if several else "title"


def _checked(frame: pl.DataFrame, start: int, name: str) -> pl.DataFrame:
    """Complete and check *frame*, which *start* rows come before: ids and other text as text, numbers as float64."""
    missing = [role for role in NAMES if role not in (*NUMBERS, "playlist", "track", *frame.columns)]
    frame = frame.with_columns(pl.lit("").alias(role) for role in missing).with_columns(_or("artist", "artist_name"))
    for role in ("playlist", "track" if "track" in frame.columns else "artist"):
        _check_ids(frame[role], start, name)
    return frame.with_columns(_numbers(frame[role], start, name) for role in NUMBERS if role in frame.columns)


def _or(role: str, other: str) -> pl.Expr:
    return pl.when(pl.col(role) == "").then(pl.col(other)).otherwise(pl.col(role)).alias(role)


def _check_ids(ids: pl.Series, start: int, name: str) -> None:
    """Raise BadInput if one of *ids* is ''."""
    empty = ids == ""
    if empty.any():
        row = start + int(empty.arg_max() or 0) + 1
        raise BadInput(f"cannot read {name}: data row {row:,} has no {ids.name} id. Add one or remove the row.")


def _numbers(column: pl.Series, start: int, name: str) -> pl.Series:
    """Return *column* as float64; raise BadInput if a value is not a finite number, or a count is below 0."""
    text = column.str.strip_chars() if column.dtype == pl.String else column
    numbers = text.cast(pl.Float64, strict=False).fill_null(float("nan"))
    good = numbers.is_finite() & ((numbers >= 0) if column.name == "count" else True)
    if not good.all():
        place = int((~good).arg_max() or 0)
        wanted = "Write a number from 0 up." if column.name == "count" else "Write a number."
        raise BadInput(
            f"cannot read {name}: data row {start + place + 1:,} has the {column.name} {column[place]!r}. {wanted}"
        )
    return numbers


def _interactions(frame: pl.DataFrame, size: int) -> Interactions:
    of_tracks = "track" in frame.columns
    attributes = ("track_name", "artist", "artist_name") if of_tracks else ("artist_name",)
    playlists, owners = _factorise(frame, "playlist", ("title",))
    items, rows = _factorise(frame, "track" if of_tracks else "artist", attributes)
    counts, positions = (frame.get_column(role, default=None) for role in NUMBERS)
    named = items.with_columns(_or("artist_name", "artist")).rows()
    return Interactions(
        playlist_ids=playlists["playlist"].to_list(),
        titles=playlists["title"].to_list(),
        tracks=[SourceTrack(*row) for row in named] if of_tracks else [],
        artists=[] if of_tracks else [SourceArtist(*row) for row in named],
        owners=owners,
        rows=rows,
        counts=None if counts is None else counts.clip(upper_bound=LARGEST_COUNT).cast(pl.Float32).to_numpy(),
        positions=None if positions is None else positions.to_numpy(),
        size=size,
    )


def _factorise(frame: pl.DataFrame, key: str, attributes: Sequence[str]) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """Return the distinct *key*s, each with its first *attributes* that are not '', and the index of each row's key."""
    first = pl.col(*attributes)
    distinct = frame.group_by(key, maintain_order=True).agg(first.filter(first != "").first().fill_null(""))
    places = distinct.select(key, pl.int_range(pl.len(), dtype=pl.Int32).alias("place"))
    joined = frame.select(key).join(places, on=key, how="left", maintain_order="left")
    return distinct, joined["place"].to_numpy()
