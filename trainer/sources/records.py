"""What every source yields, whatever its format."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Track(NamedTuple):
    """A track of a playlist; an artist without an id of its own has its name as its id, '' where there is none."""

    id: str
    name: str
    artist_id: str
    artist_name: str


class Artist(NamedTuple):
    """An artist that was listened to; one without an id of its own has its name as its id."""

    id: str
    name: str


class Playlist(NamedTuple):
    """A playlist: its id, its title ('' where it has none) and its tracks by position, which may repeat."""

    id: str
    title: str
    tracks: Sequence[Track]


@dataclass(frozen=True)
class Interactions:
    """
    A batch of rows of a table, column by column: of tracks, or of artists, never of both.

    A playlist may have rows in several batches.

    Attributes:
        playlist_ids: the distinct playlists, or listeners, of the batch, in the order of their first rows.
        titles: one for each of *playlist_ids*, '' where there is none.
        tracks: the distinct tracks of the batch; empty where the rows are of artists.
        artists: the distinct artists of the batch; empty where the rows are of tracks.
        owners: int32 (n_rows,), indices into *playlist_ids*.
        rows: int32 (n_rows,), indices into *tracks* or *artists*, whichever there are.
        counts: float32 (n_rows,), plays, above 0; None where the table has none.
        positions: float64 (n_rows,), by which to sort the rows of a playlist; None where the table has none.
        size: about how many bytes of the input the batch took.
    """

    playlist_ids: Sequence[str]
    titles: Sequence[str]
    tracks: Sequence[Track]
    artists: Sequence[Artist]
    owners: NDArray[np.int32]
    rows: NDArray[np.int32]
    counts: NDArray[np.float32] | None
    positions: NDArray[np.float64] | None
    size: int


@dataclass(frozen=True)
class Slice:
    """
    A piece of a source that is read at once, or batch by batch.

    Attributes:
        name: where it lies, for a person.
        size: its size in bytes, as `read` will take them.
        read: reads its playlists, or the rows of its table.
        notes: what is to be said of it once it has been read.
    """

    name: str
    size: int
    read: Callable[[], Iterable[Playlist | Interactions]]
    notes: list[str] = field(default_factory=list)
