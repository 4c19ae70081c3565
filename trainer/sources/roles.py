"""Which column of a table is what: its role, told by its name or by --columns."""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from trainer.errors import BadInput

# What a column may be called, in small letters and without spaces, dashes and underscores.
NAMES: dict[str, tuple[str, ...]] = {
    "playlist": tuple(
        "playlist playlistid playlisturi pid user userid username listener listenerid session sessionid".split()
    ),
    "track": tuple(
        "track trackid trackuri trackmbid song songid songuri item itemid itemuri recording recordingid "
        "recordingmbid".split()
    ),
    "track_name": ("trackname", "tracktitle", "songname", "songtitle", "itemname", "recordingname"),
    "artist": ("artist", "artistid", "artisturi", "artistmbid", "artmbid"),
    "artist_name": ("artistname", "artname"),
    "title": ("playlistname", "playlisttitle"),
    "count": tuple("count counts plays playcount listens listencount scrobbles timesplayed weight".split()),
    "position": ("position", "pos", "trackposition", "trackpos", "trackno", "tracknumber"),
}
NUMBERS = ("count", "position")
ITEMS = {"track", "artist", "artist_name"}

# Names that say what a column is only where no other column is that. Where nothing but its content can say whose title
# `title` is, its role is neither's yet.
NAME, TITLE = "name", "title"
TITLE_OF_EITHER = "title_of_either"

MOST_SHOWN = 40


def check_roles(columns: Mapping[str, str] | None) -> None:
    """
    Raises:
        BadInput: *columns* names a role that there is not.
    """
    for role in columns or ():
        if role not in NAMES:
            raise BadInput(f"--columns knows no {role!r}; it takes {', '.join(NAMES)}, as in playlist=user,track=song")


def find_roles(found: Sequence[str], columns: Mapping[str, str] | None, name: str) -> dict[str, int]:
    """
    The places of the columns of use among those *found*.

    Args:
        found: the names of the columns of a table.
        columns: the names of the columns for some of the roles, which are not guessed then.
        name: where the table lies, for a person.

    Raises:
        BadInput: one of *columns* is not there, two fit one role, or none does that has to be there.
    """
    check_roles(columns)
    names = [column.strip() for column in found]
    try:
        roles = _given(names, columns or {})
        for role, known in NAMES.items():
            _add(roles, role, known, names)
        if "track" in roles:
            _add(roles, "track_name", (NAME,), names)
        _add(roles, _role_of_title(roles), (TITLE,), names)
        _check_complete(names, roles)
    except BadInput as error:
        raise BadInput(f"{name} {error}") from None
    return roles


def _given(names: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    repeated = sorted({column for column in names if column and names.count(column) > 1})
    if repeated:
        raise BadInput(f"has more than one column {repeated[0]!r}; rename one of them ({_listed(names)})")
    for role, column in columns.items():
        if column.strip() not in names:
            raise BadInput(f"has no column {column!r} for the {role}; {_listed(names)}; correct --columns {role}=...")
    return {role: names.index(column.strip()) for role, column in columns.items()}


def _add(roles: dict[str, int], role: str, known: Sequence[str], names: Sequence[str]) -> None:
    """Give *role*, if it is none's, to the column whose name is among the *known* ones, if there is one."""
    taken = set(roles.values())
    fitting = [place for place, column in enumerate(names) if place not in taken and _plain(column) in known]
    if role in roles or not fitting:
        return
    if len(fitting) > 1:
        several = " and ".join(repr(names[place]) for place in fitting)
        raise BadInput(
            f"has {len(fitting)} columns for the {role}, {several}; "
            f"say which, as in --columns {role}={names[fitting[0]]} ({_listed(names)})"
        )
    roles[role] = fitting[0]


def _role_of_title(roles: Mapping[str, int]) -> str:
    """What a column called just `title` is: the title of the playlist or the track that has none otherwise."""
    if "title" in roles:
        return "track_name"
    return "title" if "track_name" in roles else TITLE_OF_EITHER


def _plain(column: str) -> str:
    return re.sub(r"[\s_-]", "", column).lower()


def _check_complete(names: Sequence[str], roles: Mapping[str, int]) -> None:
    """
    Raises:
        BadInput: there is no playlist or nothing in it; proposes a --columns of columns that nothing else is read from.
    """
    wanted = [role for role in ("playlist", "track") if role == "playlist" or not ITEMS & set(roles)]
    missing = [role for role in wanted if role not in roles]
    if not missing:
        return
    free = [column for place, column in enumerate(names) if column and place not in roles.values()]
    fix = ",".join(f"{role}={column}" for role, column in zip_longest(missing, free[: len(missing)], fillvalue="..."))
    what = " and none for the ".join("track or the artist" if role == "track" else role for role in missing)
    raise BadInput(f"has no column for the {what}; {_listed(names)}; say which it is, as in --columns {fix}")


def _listed(names: Sequence[str]) -> str:
    shown = [" ".join(column.split()) or "(no name)" for column in names[:MOST_SHOWN]]
    return f"its columns are {', '.join(shown)}" + (", ..." if len(names) > MOST_SHOWN else "")
