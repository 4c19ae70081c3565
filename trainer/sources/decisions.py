"""Roles that the rows tell where the header does not: a column `title` may hold titles of playlists or of tracks."""

from collections.abc import Mapping

import polars as pl

from trainer.sources.columns import NAME_OF_EITHER, TITLE_OF_EITHER, TRACK_OR_NAME, option

# A column like `track` holds names if so many of its values have a blank, or letters that ids do not have.
SHARE_OF_NAMES = 0.05
LIKE_A_NAME = r"\S\s+\S|[^\x00-\x7f]"

# The remark on each decision, and the role that would change it.
REMARKS = {
    (TITLE_OF_EITHER, "title"): (
        "the titles are taken for titles of playlists, as no playlist has several. If they are titles of tracks, add",
        "track_name",
    ),
    (TITLE_OF_EITHER, "track_name"): (
        "the titles are taken for titles of tracks, as a playlist has several. If they are titles of playlists, add",
        "title",
    ),
    (NAME_OF_EITHER, "artist_name"): (
        "the names are taken for names of artists, as no artist has several. If they are names of tracks, add",
        "track_name",
    ),
    (NAME_OF_EITHER, "track_name"): (
        "the names are taken for names of tracks, as an artist has several. If they are names of artists, add",
        "artist_name",
    ),
    (TRACK_OR_NAME, "track_name"): ("the tracks are taken for names of tracks. If they are ids, add", "track"),
}


def decide_roles(frame: pl.DataFrame, names: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """
    Decide on the unclear roles of a table.

    Args:
        frame: the first rows, as text.
        names: the name of the column for each role.

    Returns:
        The role for each unclear one, and remarks for the user.
    """
    roles: dict[str, str] = {}
    if TITLE_OF_EITHER in frame.columns:
        roles[TITLE_OF_EITHER] = "track_name" if _has_several(frame, _owner(frame), TITLE_OF_EITHER) else "title"
    if NAME_OF_EITHER in frame.columns and "artist" in frame.columns:
        several = _has_several(frame, "artist", NAME_OF_EITHER) and "track_name" not in roles.values()
        roles[NAME_OF_EITHER] = "track_name" if several else "artist_name"
    if TRACK_OR_NAME in frame.columns:
        named = "track_name" not in roles.values() and _holds_names(frame)
        roles[TRACK_OR_NAME] = "track_name" if named else "track"
    remarks = {REMARKS[decision]: names[decision[0]] for decision in roles.items() if decision in REMARKS}
    return roles, [f"{text} {option(**{other: name})}" for (text, other), name in remarks.items()]


def hold_names(texts: pl.Series) -> bool:
    """Return True if some of *texts* have a blank, or letters that ids do not have."""
    distinct = texts.unique()
    return distinct.str.contains(LIKE_A_NAME).sum() > SHARE_OF_NAMES * len(distinct)


def _owner(frame: pl.DataFrame) -> str:
    return next((role for role in ("playlist", "user") if role in frame.columns), "")


def _has_several(frame: pl.DataFrame, owner: str, role: str) -> bool:
    """Return True if an owner has several values of *role*; "" owns all."""
    filled = frame.filter(pl.col(role) != "")
    if not owner:
        return filled[role].n_unique() > 1
    return bool(filled.group_by(owner).agg(pl.col(role).n_unique() > 1)[role].any())


def _holds_names(frame: pl.DataFrame) -> bool:
    """Return True if the tracks are names: many have a blank, or few a digit where the artists are known."""
    tracks = frame[TRACK_OR_NAME]
    if hold_names(tracks):
        return True
    artists = next((role for role in ("artist_name", "artist") if role in frame.columns), "")
    return bool(artists) and not tracks.str.contains(r"\d").any() and _has_several(frame, TRACK_OR_NAME, artists)
