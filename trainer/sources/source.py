"""Sources and the playlists, tracks, artists and interactions that they yield."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.errors import BadInput
from trainer.sources.account import Account


class NotData(BadInput):
    """The file holds neither playlists nor interactions; in a directory it is passed over."""


class SourceTrack(NamedTuple):
    """A track of a playlist; an artist without an id has its name as the id, and '' if it has no name either."""

    id: str
    name: str
    artist_id: str
    artist_name: str


class SourceArtist(NamedTuple):
    """An artist that somebody listened to; one without an id has its name as the id."""

    id: str
    name: str


class SourcePlaylist(NamedTuple):
    """A whole playlist: id, title ('' if it has none) and tracks by position, which may repeat."""

    id: str
    title: str
    tracks: Sequence[SourceTrack]


@dataclass(frozen=True)
class Interactions:
    """
    A batch of rows of a table, column by column: of tracks or of artists, never of both.

    A playlist may have rows in several batches.

    Attributes:
        playlist_ids: the distinct playlists, or listeners, in the order of their first rows.
        titles: one for each of *playlist_ids*, '' if it has none.
        tracks: the distinct tracks; empty if the rows are of artists.
        artists: the distinct artists; empty if the rows are of tracks.
        owners: int32, shape (n_rows,). Indices into *playlist_ids*.
        rows: int32, shape (n_rows,). Indices into *tracks* or *artists*.
        counts: float32, shape (n_rows,). Plays, above 0. None if the table has none.
        positions: float64, shape (n_rows,). Sort keys of the rows of a playlist. None if the table has none.
        size: about how many bytes of the input the batch took.
    """

    playlist_ids: Sequence[str]
    titles: Sequence[str]
    tracks: Sequence[SourceTrack]
    artists: Sequence[SourceArtist]
    owners: NDArray[np.int32]
    rows: NDArray[np.int32]
    counts: NDArray[np.float32] | None
    positions: NDArray[np.float64] | None
    size: int


@dataclass(frozen=True)
class Source:
    """
    A file, or a member of an archive, that is read in one pass.

    Attributes:
        name: its path, for messages.
        size: its size in bytes, packed as it is.
        read: yields its content in blocks of about the given number of bytes.
        account: how it was understood, complete once it is read.
        is_playlist: whether the file is a playlist, whose title may be the name of the file.
    """

    name: str
    size: int
    read: Callable[[int], Iterable[SourcePlaylist | Interactions]]
    account: Account
    is_playlist: bool = False
