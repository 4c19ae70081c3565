"""The roles of the columns of a table, found by their names or given by --columns."""

import csv
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.errors import BadInput
from trainer.sources.headers import BARE, NAME, NAMES, TITLE, Format, known_format, plain
from trainer.sources.source import NotData

# Roles that only the rows can tell: the track or its name, the title or the name of either.
TRACK_OR_NAME, TITLE_OF_EITHER, NAME_OF_EITHER = "track_or_name", "title_of_either", "name_of_either"
ROLE_SHOWN = {TRACK_OR_NAME: "track", TITLE_OF_EITHER: "title", NAME_OF_EITHER: "name"}

WHOSE = {"playlist", "user", "title"}
ITEMS = {"track", "track_name", "artist", "artist_name", TRACK_OR_NAME}
PLAYLIST = "playlist or the user"
OFF = -1

# All roles, in the order in which they are shown.
ROLES = (*NAMES, TRACK_OR_NAME, TITLE_OF_EITHER, NAME_OF_EITHER)

MOST_SHOWN = 40


@dataclass(frozen=True)
class Columns:
    """
    The columns of a table and their roles.

    Attributes:
        format: name of the known format; "" if it is none.
        names: the names of all columns, or their numbers if there is no header.
        places: the place of the column for each role.
        one_playlist: whether the file is one playlist, as no column tells playlists apart.
        remarks: remarks for the user.
    """

    format: str
    names: Sequence[str]
    places: Mapping[str, int]
    one_playlist: bool = False
    remarks: Sequence[str] = ()

    @property
    def read(self) -> dict[str, int]:
        """The places of the columns to read; the times of listens are not needed."""
        return {role: place for role, place in self.places.items() if role != "time"}

    @property
    def roles(self) -> dict[str, str]:
        """The name of the column for each role."""
        return {ROLE_SHOWN.get(role, role): self.names[place] for role, place in self.places.items()}

    @property
    def unused(self) -> list[str]:
        """The names of the columns without a role."""
        return [name for place, name in enumerate(self.names) if place not in self.places.values()]


def parse_columns(text: str) -> dict[str, str]:
    r"""
    Parse the value of --columns: pairs of a role and a column, such as `playlist=user,track=song`.

    A column without a name switches its role off. `\,` stands for a comma, `\\` for a backslash.

    Raises:
        ValueError: a part of *text* is not such a pair.
    """
    try:
        parts = next(csv.reader([text], quoting=csv.QUOTE_NONE, escapechar="\\", strict=True), [])
    except csv.Error:
        parts = []
    pairs = [part.partition("=") for part in parts]
    if not pairs or not all(role.strip() and equals for role, equals, _ in pairs):
        raise ValueError(f"{text!r} is not like playlist=user,track=song")
    return {role.strip(): column.strip() for role, _, column in pairs}


def option(**columns: str) -> str:
    """Return the option --columns that gives *columns* by role, quoted for a shell."""
    parts = [f"{role}={column}".replace("\\", "\\\\").replace(",", "\\,") for role, column in columns.items()]
    return f"--columns {shlex.quote(','.join(parts))}"


def check_roles(columns: Mapping[str, str]) -> None:
    """
    Raises:
        BadInput: *columns* names an unknown role.
    """
    for role in columns:
        if role not in NAMES:
            raise BadInput(f"--columns has no role {role!r}. Use {', '.join(NAMES)}, as in playlist=user,track=song.")


def find_columns(names: Sequence[str], given: Mapping[str, str], file: str) -> Columns:
    """
    Find the columns of use.

    Args:
        names: the names of all columns of a table.
        given: the column for a role, by name or by number from 1 on; these roles are not guessed. "" switches one off.
        file: path of the table, for messages.

    Raises:
        NotData: a column of *given*, or one that every table needs, is missing.
        BadInput: *given* names an unknown role, two columns fit one role, or two have one name.
    """
    check_roles(given)
    names = [name.strip(' \t\r"\ufeff\u200b') for name in names]
    remarks = [_contradiction(role, column, names) for role, column in given.items()]
    given = {role: column for (role, column), remark in zip(given.items(), remarks, strict=True) if not remark}
    format_ = known_format(names)
    try:
        places = _places(names, given, format_)
        one_playlist = not WHOSE & set(places) and (
            given.get("playlist") == "" or bool(format_ and format_.one_playlist)
        )
        _check_complete(names, places, one_playlist)
        _check_repeated(names, {role: place for role, place in places.items() if given.get(role) != str(place + 1)})
    except BadInput as error:
        raise type(error)(f"cannot read {file}: {error}") from None
    return Columns(format_.name if format_ else "", names, places, one_playlist, list(filter(None, remarks)))


def _places(names: Sequence[str], given: Mapping[str, str], format_: Format | None) -> dict[str, int]:
    places = {role: _place(role, column, names) for role, column in given.items()}
    for role, column in format_.roles if format_ else ():
        _add(places, role, [column], names)
    for role, usual in NAMES.items():
        _add(places, role, [name for name in usual if name not in BARE], names)
    if any(plain(name) in NAME for name in names):
        _add(places, "artist_name", ["artists"], names)
    for role, other in (("playlist", "title"), ("user", ""), ("track", "track_name"), ("artist", "artist_name")):
        bare = [name for name in NAMES[role] if name in BARE]
        _add(places, other if other and role in places else role, bare, names)
    _add(places, _role_of_name(places), NAME, names)
    if {"artist", "artist_name"} & set(places) and {"track_name", NAME_OF_EITHER} & set(places):
        _add(places, "track", ["id"], names)
    _add(places, _role_of_title(places), TITLE, names)
    settled = _settled({role: place for role, place in places.items() if place != OFF}, names, given)
    return {role: settled[role] for role in ROLES if role in settled}


def _place(role: str, column: str, names: Sequence[str]) -> int:
    if not column:
        return OFF
    if column in names:
        return names.index(column)
    if column.isdecimal() and 0 < int(column) <= len(names):
        return int(column) - 1
    raise NotData(f"it has no column {column!r} for the {role}. {listed(names)} Correct --columns {role}=...")


def _contradiction(role: str, column: str, names: Sequence[str]) -> str:
    """Return a remark if the number *column* is that of a column with the name of another role; "" if it is not."""
    if column in names or not column.isdecimal() or not 0 < int(column) <= len(names):
        return ""
    name = names[int(column) - 1]
    if plain(name) not in {known for other, usual in NAMES.items() if other != role for known in usual}:
        return ""
    return f"{role}={column} is not used, as column {column} is {name!r}. If that is the {role}, give its name"


def _add(places: dict[str, int], role: str, known: Sequence[str], names: Sequence[str]) -> None:
    """Give *role*, if it is free, to the column that has one of the *known* names and no role yet."""
    taken = {names[place] for place in places.values() if place != OFF}
    fitting = [place for place, name in enumerate(names) if name not in taken and plain(name) in known]
    if role in places or not fitting:
        return
    if len(fitting) > 1 and role != "user":
        several = " and ".join(repr(names[place]) for place in fitting)
        raise BadInput(f"it has {len(fitting)} columns for the {role}, {several}. {_options(role, fitting, names)}")
    places[role] = fitting[0]


def _options(role: str, places: Sequence[int], names: Sequence[str]) -> str:
    """Return a sentence with the options that choose one of *places*, by number where a name is there twice."""
    columns = [names[place] if names.count(names[place]) == 1 else str(place + 1) for place in places]
    return f"Choose one: {' or '.join(option(**{role: column}) for column in columns)}."


def _role_of_name(places: Mapping[str, int]) -> str:
    """Return the role of a column named `name`: the name that no other column has, of the track if that is clear."""
    of_playlist = "playlist" in places and "title" not in places
    if of_playlist and "track_name" in places:
        return "title"
    return "track_name" if {"track", "artist_name"} & set(places) and not of_playlist else NAME_OF_EITHER


def _role_of_title(places: Mapping[str, int]) -> str:
    """Return the role of a column named `title`: the title that no other column has."""
    if "title" in places:
        return "track_name"
    return "title" if "track_name" in places else TITLE_OF_EITHER


def _settled(places: dict[str, int], names: Sequence[str], given: Mapping[str, str]) -> dict[str, int]:
    """Leave to the rows what they alone can tell, and drop a listener where playlists have ids."""
    if "track" in places and not {"track", "track_name"} & set(given) and "track_name" not in places:
        bare = plain(names[places["track"]]) in BARE
        places = {TRACK_OR_NAME if bare and role == "track" else role: place for role, place in places.items()}
    is_id = "playlist" in places and ("playlist" in given or plain(names[places["playlist"]]) not in BARE)
    return {role: place for role, place in places.items() if role != "user" or "user" in given or not is_id}


def _check_complete(names: Sequence[str], places: Mapping[str, int], one_playlist: bool) -> None:
    """Raise NotData if there is no playlist, or neither track nor artist."""
    missing = [] if WHOSE & set(places) or one_playlist else [PLAYLIST]
    missing += [] if ITEMS & set(places) else ["track or the artist"]
    if missing:
        what = " and none for the ".join(missing)
        alone = " If each such file is one playlist, add --columns playlist=" if missing == [PLAYLIST] else ""
        raise NotData(
            f"it has no column for the {what}. {listed(names)} "
            f"Name the columns, as in --columns playlist=...,track=...{alone}"
        )


def _check_repeated(names: Sequence[str], places: Mapping[str, int]) -> None:
    for role, place in places.items():
        several = [other for other, name in enumerate(names) if name == names[place]]
        if len(several) > 1:
            options = _options(ROLE_SHOWN.get(role, role), several, names)
            raise BadInput(f"it has more than one column {names[place]!r}. {options} {listed(names)}")


def listed(names: Sequence[str]) -> str:
    """Return a sentence that lists *names*."""
    shown = [repr(name) if "," in name else " ".join(name.split()) or "(no name)" for name in names[:MOST_SHOWN]]
    return f"The columns are {', '.join(shown)}{', ...' if len(names) > MOST_SHOWN else ''}."
