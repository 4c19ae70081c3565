"""The attributes of the tracks of a dataset, from a catalogue."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from service.engine import Column, Words, fold
from trainer.progress import say


def attribute_columns(catalogue: pl.DataFrame, track_ids: Sequence[str]) -> list[Column]:
    """
    Return a column for each attribute in *catalogue* that a track of the dataset has.

    Args:
        catalogue: from `read_catalogue`.
        track_ids: the ids of the tracks, by row.
    """
    rows = pl.DataFrame({"id": track_ids}, schema={"id": pl.String})
    joined = rows.join(catalogue, on="id", how="left", maintain_order="left")
    columns = [_column(joined[name]) for name in catalogue.columns if name != "id" and joined[name].count()]
    known = len(rows.join(catalogue, on="id", how="semi"))
    named = ", ".join(f"{column.name} ({column.type})" for column in columns) or "none"
    say(f"catalogue: it knows {known:,} of {len(track_ids):,} tracks; attributes: {named}")
    return columns


def _column(values: pl.Series) -> Column:
    name = values.name
    if values.dtype == pl.Float64:
        return Column(name, "number", values.fill_null(float("nan")).to_numpy())
    if values.dtype == pl.Boolean:
        return Column(name, "boolean", values.cast(pl.Int8).fill_null(-1).to_numpy())
    if values.dtype == pl.String:
        words, numbers = _numbered(values)
        return Column(name, "text", numbers, words)
    lengths = values.list.len().fill_null(0).to_numpy().astype(np.int64)
    words, numbers = _numbered(values.filter(pl.Series(lengths > 0)).explode())
    return Column(name, "texts", numbers, words, np.concatenate(([0], np.cumsum(lengths))))


def _numbered(texts: pl.Series) -> tuple[Words, np.typing.NDArray[np.int32]]:
    """Return the distinct *texts*, and the number of each, -1 for a missing one."""
    distinct = sorted(texts.drop_nulls().unique().to_list(), key=lambda text: (fold(text), text))
    numbers = texts.replace_strict(distinct, range(len(distinct)), default=-1, return_dtype=pl.Int32)
    return Words.of(distinct), numbers.fill_null(-1).to_numpy()
