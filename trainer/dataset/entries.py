"""Entries of tables: rows of playlists and items, which become the items of each playlist."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Ragged
from trainer.dataset.dataset import Ints


@dataclass
class Entries:
    """
    Entries of tables, either tracks or artists, in the order of reading.

    Attributes:
        owners, rows: int32, shape (n_entries,). The playlist and the track or artist of each entry.
        counts: float32, shape (n_entries,). None if the table has no counts.
        positions: float64, shape (n_entries,). None if the table has no positions.
    """

    owners: Ints
    rows: Ints
    counts: NDArray[np.float32] | None
    positions: NDArray[np.float64] | None


def ragged(n_playlists: int, n_items: int, held: tuple[Ints, Ints], tables: Sequence[Entries]) -> Ragged:
    """Join the rows *held* by whole playlists with those of *tables*, by playlist."""
    owners, rows = held
    counts = None
    if tables:
        merged = _merge(n_items, tables)
        if merged.counts is not None:
            counts = np.concatenate((np.ones(len(rows), np.float32), merged.counts))
        owners, rows = np.concatenate((owners, merged.owners)), np.concatenate((rows, merged.rows))
        order = np.argsort(owners, kind="stable")
        owners, rows, counts = owners[order], rows[order], None if counts is None else counts[order]
    lengths = np.bincount(owners, minlength=n_playlists)
    return Ragged(np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))), rows, counts)


def _merge(n_items: int, tables: Sequence[Entries]) -> Entries:
    """Join *tables* so that each playlist has each item once: at its first position, with its counts added up."""
    lengths = [len(table.rows) for table in tables]
    owners, rows = (
        np.concatenate(parts) for parts in zip(*((table.owners, table.rows) for table in tables), strict=True)
    )
    counts = _optional([table.counts for table in tables], lengths, 1)
    positions = _optional([table.positions for table in tables], lengths, np.inf)
    keys = owners.astype(np.int64) * n_items + rows
    order = np.argsort(keys, kind="stable") if positions is None else np.lexsort((positions, keys))
    keys = keys[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    del keys  # there may be tens of millions of rows
    summed = None if counts is None else np.add.reduceat(counts[order], firsts, dtype=np.float64)
    kept = order[firsts]
    del order
    by_place = np.argsort(kept) if positions is None else np.lexsort((kept, positions[kept]))
    found = None if summed is None else summed[by_place].astype(np.float32)
    return Entries(owners[kept[by_place]], rows[kept[by_place]], found, None)


def _optional(
    columns: Sequence[NDArray[np.floating] | None], lengths: Sequence[int], default: float
) -> NDArray[np.floating] | None:
    """Concatenate the *columns* of several tables; a missing one is filled with *default*, None if all are missing."""
    if all(column is None for column in columns):
        return None
    filled = zip(columns, lengths, strict=True)
    return np.concatenate([np.full(n, default) if column is None else column for column, n in filled])
