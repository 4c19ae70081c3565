"""Playlists as callers give them, and the same playlists as rows of one version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plays:
    """
    A track or an artist, and how much it counts.

    Attributes:
        key: its id or name.
        count: the number of its plays; None for the count of one that comes without.
        weight: a factor of its strength in the playlist, above 0.
    """

    key: str
    count: float | None = None
    weight: float = 1.0


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
        disliked_tracks, disliked_artists: ids or names of what does not belong to it. An answer contains none of them
            and no track of a disliked artist, and items like them come later.
        where: a filter of tracks, as `filters` describes them; None for none.
        among: ids or names of the only items that an answer may contain, of its kind; None for all.
    """

    tracks: Sequence[str | Plays] = ()
    artists: Sequence[str | Plays] = ()
    title: str = ""
    exclude: Sequence[str] = ()
    disliked_tracks: Sequence[str] = ()
    disliked_artists: Sequence[str] = ()
    among: Sequence[str] | None = None
    where: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Unknown:
    """
    The parts of a playlist that the catalogue does not know; *title* is True if none of its terms is known.

    Dislikes are among them, exclusions are not.
    """

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
        weights: the weights of tracks and artists, in this order; None if each is 1.
        disliked_tracks, disliked_artists: rows of the known dislikes.
        unknown_dislikes: the tracks and the artists that are disliked and not known.
    """

    tracks: list[int]
    artists: list[int]
    terms: list[int]
    counts: list[float] | None
    unknown: Unknown
    title: str = ""
    weights: list[float] | None = None
    disliked_tracks: Sequence[int] = ()
    disliked_artists: Sequence[int] = ()
    unknown_dislikes: tuple[Sequence[str], Sequence[str]] = ((), ())
