"""The names of columns, and their table in the documentation."""

import re
from pathlib import Path

import pytest

from trainer.sources.columns import NAME, NAMES, TITLE, TITLE_OF_EITHER, find_roles

DATA = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


def test_the_roles_and_their_names_are_as_documented():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ((?:`\w+`(?:, )?)+) \|$", DATA, flags=re.MULTILINE)

    assert [(role, tuple(re.findall(r"`(\w+)`", names))) for role, names in rows] == list(NAMES.items())
    assert f"`{NAME}` is the track's" in DATA
    assert f"`{TITLE}` is the title" in DATA


def test_no_name_stands_for_two_roles():
    known = [name for names in NAMES.values() for name in (*names,)] + [NAME, TITLE]

    assert len(known) == len(set(known))


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NAMES.items() for name in names])
def test_every_name_is_recognised(role: str, name: str):
    others = [other for other in ("pid", "song") if other not in NAMES[role]]

    assert find_roles([*others, name], None, "a")[role] == len(others)


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("pid,song,title", TITLE_OF_EITHER),
        ("pid,song,Title,track_name", "title"),
        ("pid,song,title,name", "title"),
        ("pid,song,title,playlist_name", "track_name"),
        ("pid,artist,title", TITLE_OF_EITHER),
        ("pid,song,title,track_name,playlist_name", None),
    ],
)
def test_title_is_the_title_that_is_missing(header: str, role: str | None):
    roles = find_roles(header.split(","), None, "a")

    assert {role for role, place in roles.items() if place == 2} == ({role} if role else set())


def test_a_title_that_is_named_leaves_the_other_to_the_track():
    roles = find_roles(["pid", "song", "title", "mood"], {"title": "mood"}, "a")

    assert roles == {"playlist": 0, "track": 1, "track_name": 2, "title": 3}
