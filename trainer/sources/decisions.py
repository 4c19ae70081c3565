"""Facts that the rows of tables tell where the header does not: `title` may be that of playlists or of tracks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import polars as pl

from trainer.sources.chunked_files import BLOCK_BYTES
from trainer.sources.columns import NAME_OF_EITHER, TITLE_OF_EITHER, TRACK_OR_NAME, Columns, option
from trainer.sources.headers import NEARLY_ALL

# A column like `track` holds names if so many of its values have a blank, or letters that ids do not have.
SHARE_OF_NAMES = 0.05
LIKE_A_NAME = r"\S\s+\S|[^\x00-\x7f]"
LEAST_SAMPLE_BYTES = 1 << 16

CONTENT = {
    "title": "titles of playlists",
    "track_name": "names of tracks",
    "artist_name": "names of artists",
    "track": "ids",
}

Sample = Callable[[int], pl.DataFrame]


@dataclass(frozen=True)
class Decision:
    """
    The facts about tables of one header.

    Attributes:
        roles: the role for each unclear one.
        remarks: remarks on them for the user.
        titled: whether the column for playlists holds their titles.
    """

    roles: Mapping[str, str]
    remarks: list[str]
    titled: bool


class Alike:
    """The tables of one header, which decide together: the same words are names in all of them, or ids in all."""

    def __init__(self, columns: Columns) -> None:
        self._names = {role: columns.names[place] for role, place in columns.places.items()}
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Add a table; *sample* returns its first rows of about so many bytes, as text."""
        self._samples.append(sample)

    @cached_property
    def decision(self) -> Decision:
        """The decision by the first rows of all tables, 16 MB of them at most."""
        size = max(LEAST_SAMPLE_BYTES, BLOCK_BYTES // len(self._samples))
        return decide(pl.concat([sample(size) for sample in self._samples], how="diagonal"), self._names)


class _Choice(NamedTuple):
    role: str
    other: str
    reason: str = ""


def decide(frame: pl.DataFrame, names: Mapping[str, str]) -> Decision:
    """
    Decide on the unclear roles of tables.

    Args:
        frame: the first rows, as text.
        names: the name of the column for each role.
    """
    choices = _choices(frame)
    roles = {unclear: choice.role for unclear, choice in choices.items()}
    frame = frame.rename(roles)
    return Decision(
        roles,
        [_remark(choice, names[unclear]) for unclear, choice in choices.items() if choice.role != "track"],
        "title" not in frame.columns and "playlist" in frame.columns and _hold_names(frame["playlist"]),
    )


def _choices(frame: pl.DataFrame) -> dict[str, _Choice]:
    choices: dict[str, _Choice] = {}
    for unclear, choose in ((NAME_OF_EITHER, _of_name), (TITLE_OF_EITHER, _of_title), (TRACK_OR_NAME, _of_track)):
        if unclear in frame.columns:
            choices[unclear] = choose(frame, {choice.role for choice in choices.values()} | set(frame.columns))
    return choices


def _of_name(frame: pl.DataFrame, roles: set[str]) -> _Choice:
    if "playlist" in roles and "title" not in roles and _has_one(frame, "playlist", NAME_OF_EITHER):
        return _Choice("title", "track_name", ", as each playlist has one")
    if {"track", TRACK_OR_NAME, "artist_name"} & roles:
        return _Choice("track_name", "title", ", as a playlist has several")
    if _has_several(frame, "artist", NAME_OF_EITHER) or _hold_names(frame["artist"]):
        return _Choice("track_name", "artist_name", ", as an artist has several, or is a name")
    return _Choice("artist_name", "track_name", ", as no artist has several")


def _of_title(frame: pl.DataFrame, roles: set[str]) -> _Choice:
    several = _has_several(frame, _owner(frame), TITLE_OF_EITHER)
    if "title" in roles or ("track_name" not in roles and several):
        return _Choice("track_name", "title", ", as a playlist has several")
    return _Choice("title", "track_name", ", as no playlist has several")


def _of_track(frame: pl.DataFrame, roles: set[str]) -> _Choice:
    named = "track_name" not in roles and _holds_names(frame)
    return _Choice("track_name", "track") if named else _Choice("track", "track_name")


def _remark(choice: _Choice, name: str) -> str:
    return (
        f"the column {name!r} is taken for {CONTENT[choice.role]}{choice.reason}. "
        f"If it holds {CONTENT[choice.other]}, add {option(**{choice.other: name})}"
    )


def _owner(frame: pl.DataFrame) -> str:
    return next((role for role in ("playlist", "user") if role in frame.columns), "")


def _has_several(frame: pl.DataFrame, owner: str, role: str) -> bool:
    """Return True if an owner has several values of *role*; "" owns all."""
    filled = frame.filter(pl.col(role) != "")
    if not owner:
        return filled[role].n_unique() > 1
    return bool(filled.group_by(owner).agg(pl.col(role).n_unique() > 1)[role].any())


def _has_one(frame: pl.DataFrame, owner: str, role: str) -> bool:
    """Return True if nearly all owners of several rows have one value of *role*, and there are such owners."""
    filled = frame.filter(pl.col(role) != "")
    values = filled.group_by(owner).agg(pl.col(role).n_unique(), pl.len().alias("rows")).filter(pl.col("rows") > 1)
    return values.height > 0 and (values[role] == 1).sum() >= NEARLY_ALL * values.height


def _hold_names(texts: pl.Series) -> bool:
    """Return True if some of *texts* have a blank, or letters that ids do not have."""
    distinct = texts.unique()
    return distinct.str.contains(LIKE_A_NAME).sum() > SHARE_OF_NAMES * len(distinct)


def _holds_names(frame: pl.DataFrame) -> bool:
    """Return True if the tracks are names: many have a blank, or few a digit where the artists are known."""
    tracks = frame[TRACK_OR_NAME]
    if _hold_names(tracks):
        return True
    artists = next((role for role in ("artist_name", "artist") if role in frame.columns), "")
    return bool(artists) and not tracks.str.contains(r"\d").any() and _has_several(frame, TRACK_OR_NAME, artists)
