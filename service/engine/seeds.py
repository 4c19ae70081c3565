"""Playlists as callers give them, and the same playlists as rows of one version."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plays:
    """An artist, by id or name, and the number of its plays."""

    artist: str
    count: float


@dataclass(frozen=True)
class Playlist:
    """
    A playlist to continue, or a listener. Each field may be empty. `Catalogue.find` describes ids and names.

    Attributes:
        tracks: ids of its tracks, or their names.
        artists: ids or names of artists beside its tracks. An artist without plays counts 1 if the training data are
            playlists, and the median of the plays if they are listeners.
        title: its title.
        exclude: ids or names of items that an answer must not contain, of the kind of the answer.
    """

    tracks: Sequence[str] = ()
    artists: Sequence[str | Plays] = ()
    title: str = ""
    exclude: Sequence[str] = ()


@dataclass(frozen=True)
class Unknown:
    """The parts of a playlist that the catalogue does not know; *title* is True if none of its terms is known."""

    tracks: list[str]
    artists: list[str]
    title: bool


@dataclass
class Seeds:
    """
    A playlist as rows.

    Attributes:
        tracks: rows of its known tracks.
        artists: rows of the known artists that it names; those of its tracks are not among them.
        terms: rows of the known terms of its title.
        counts: the counts of tracks, artists and terms, in this order; None if each counts 1.
        unknown: the rest.
        title: its title, normalised.
    """

    tracks: list[int]
    artists: list[int]
    terms: list[int]
    counts: list[float] | None
    unknown: Unknown
    title: str = ""
