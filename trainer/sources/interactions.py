"""Converts the rows of tables of any format into batches of interactions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import FilePath, Frames, size_of
from trainer.sources.columns import Columns
from trainer.sources.headers import NUMBERS
from trainer.sources.inputs import Inputs
from trainer.sources.rows import Rows, first_of
from trainer.sources.source import Interactions, Source, SourceArtist, SourceTrack
from trainer.sources.texts import bare

LARGEST_COUNT = 1e9


def table_source(
    path: FilePath, frames: Callable[[int, Account], Frames], columns: Columns, account: Account, inputs: Inputs
) -> Source:
    """
    Return the table in *path* as a source.

    Args:
        path: the file.
        frames: yields the rows in blocks of about the given number of bytes, columns named after their roles; adds to
            an account.
        columns: the columns of the table.
        account: how it was understood.
        inputs: the inputs of the run.
    """

    def sample(size: int) -> pl.DataFrame:
        with suppress(OSError, BadInput):  # reading the file itself will raise them again
            for frame, _ in frames(size, Account("")):
                return frame.select(bare(text) for text in frame if text.name not in (*NUMBERS, "row"))
        return pl.DataFrame(schema={role: pl.String for role in columns.read if role not in NUMBERS})

    def read(size: int) -> Iterator[Interactions]:
        rows = Rows(str(path), columns, account, inputs)
        for frame, taken in frames(size, account):
            cleaned = rows.clean(frame) if frame.height else frame
            if cleaned.height:
                yield _interactions(cleaned, taken)

    inputs.alike(columns).add(sample)
    return Source(str(path), size_of(path), read, account, columns.one_playlist)


def _interactions(frame: pl.DataFrame, size: int) -> Interactions:
    of_tracks = "track" in frame.columns
    attributes = ("track_name", "artist", "artist_name") if of_tracks else ("artist_name",)
    playlists, owners = _factorise(frame, "playlist", ("title",))
    items, rows = _factorise(frame, "track" if of_tracks else "artist", attributes)
    counts, positions = (frame.get_column(role, default=None) for role in ("count", "position"))
    items = items.with_columns(first_of("artist", "artist_name"), first_of("artist_name", "artist"))
    return Interactions(
        playlist_ids=playlists["playlist"].to_list(),
        titles=playlists["title"].to_list(),
        tracks=list(map(SourceTrack._make, items.rows())) if of_tracks else [],
        artists=[] if of_tracks else list(map(SourceArtist._make, items.rows())),
        owners=owners,
        rows=rows,
        counts=None if counts is None else counts.clip(upper_bound=LARGEST_COUNT).cast(pl.Float32).to_numpy(),
        positions=None if positions is None else positions.to_numpy(),
        size=size,
    )


def _factorise(frame: pl.DataFrame, key: str, attributes: Sequence[str]) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """Return the distinct *key*s, each with its first *attributes* that are not '', and the index of each row's key."""
    groups = frame.select(key).with_row_index("rows").group_by(key, maintain_order=True).agg("rows")
    members = groups["rows"]
    places = np.empty(frame.height, np.int32)
    places[members.explode().to_numpy()] = np.repeat(np.arange(groups.height), members.list.len().to_numpy())
    firsts = members.list.first()
    return groups.select(key).with_columns(_filled(frame[role], places, firsts) for role in attributes), places


def _filled(column: pl.Series, places: NDArray[np.int32], firsts: pl.Series) -> pl.Series:
    """Return the first text of each group that is not '', clean; *firsts* are the first rows of the groups."""
    found = bare(column.gather(firsts))
    if not (found == "").any() or not (column != "").any():
        return found
    rows = pl.DataFrame({"place": places, "text": bare(column)}).filter(pl.col("text") != "")
    first = rows.unique("place", keep="first", maintain_order=True)
    return found.scatter(first["place"], first["text"])
