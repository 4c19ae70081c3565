"""The roles of the columns of a table, found by their names or given by --columns."""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from trainer.errors import BadInput
from trainer.sources.source import NotData

# Names of columns by role, in lower case, without spaces, dashes and underscores.
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

# Names whose role depends on the other columns. TITLE_OF_EITHER marks titles whose owner only the rows can tell.
NAME, TITLE = "name", "title"
TITLE_OF_EITHER = "title_of_either"

MOST_SHOWN = 40


def check_roles(columns: Mapping[str, str] | None) -> None:
    """
    Raises:
        BadInput: *columns* names an unknown role.
    """
    for role in columns or ():
        if role not in NAMES:
            raise BadInput(f"--columns has no role {role!r}. Use {', '.join(NAMES)}, as in playlist=user,track=song.")


def find_roles(names: Sequence[str], columns: Mapping[str, str] | None, file: str) -> dict[str, int]:
    """
    Find the columns of use.

    Args:
        names: the names of all columns of a table.
        columns: the column for a role; these roles are not guessed.
        file: path of the table, for messages.

    Returns:
        The place of the column for each role.

    Raises:
        NotData: a column of *columns*, or one that every table needs, is missing.
        BadInput: *columns* names an unknown role, two columns fit one role, or two have one name.
    """
    check_roles(columns)
    names = [name.strip() for name in names]
    try:
        roles = _given(names, columns or {})
        for role, known in NAMES.items():
            _add(roles, role, known, names)
        if "track" in roles:
            _add(roles, "track_name", (NAME,), names)
        _add(roles, _role_of_title(roles), (TITLE,), names)
        _check_complete(names, roles)
    except BadInput as error:
        raise type(error)(f"cannot read {file}: {error}") from None
    return roles


def _given(names: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise BadInput(f"it has more than one column {repeated[0]!r}. Rename one of them. {_listed(names)}")
    for role, column in columns.items():
        if column.strip() not in names:
            raise NotData(f"it has no column {column!r} for the {role}. {_listed(names)} Correct --columns {role}=...")
    return {role: names.index(column.strip()) for role, column in columns.items()}


def _add(roles: dict[str, int], role: str, known: Sequence[str], names: Sequence[str]) -> None:
    """Give *role*, if it is free, to the column that has one of the *known* names and no role yet."""
    taken = set(roles.values())
    fitting = [place for place, name in enumerate(names) if place not in taken and _plain(name) in known]
    if role in roles or not fitting:
        return
    if len(fitting) > 1:
        several = " and ".join(repr(names[place]) for place in fitting)
        raise BadInput(
            f"it has {len(fitting)} columns for the {role}, {several}. "
            f"Choose one, as in --columns {role}={names[fitting[0]]}. {_listed(names)}"
        )
    roles[role] = fitting[0]


def _role_of_title(roles: Mapping[str, int]) -> str:
    """Return the role of a column named `title`: the title that no other column has."""
    if "title" in roles:
        return "track_name"
    return "title" if "track_name" in roles else TITLE_OF_EITHER


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _check_complete(names: Sequence[str], roles: Mapping[str, int]) -> None:
    """Raise NotData if there is no playlist, or neither track nor artist; propose a --columns of unused columns."""
    wanted = [role for role in ("playlist", "track") if role == "playlist" or not ITEMS & set(roles)]
    missing = [role for role in wanted if role not in roles]
    if not missing:
        return
    free = [name for place, name in enumerate(names) if name and place not in roles.values()]
    fix = ",".join(f"{role}={name}" for role, name in zip_longest(missing, free[: len(missing)], fillvalue="..."))
    what = " and none for the ".join("track or the artist" if role == "track" else role for role in missing)
    raise NotData(f"it has no column for the {what}. {_listed(names)} Name the columns, as in --columns {fix}.")


def _listed(names: Sequence[str]) -> str:
    shown = [" ".join(name.split()) or "(no name)" for name in names[:MOST_SHOWN]]
    return f"The columns are {', '.join(shown)}{', ...' if len(names) > MOST_SHOWN else ''}."
