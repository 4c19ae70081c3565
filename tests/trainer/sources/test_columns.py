"""The names and roles of columns, their table in the documentation, and the option --columns."""

import re
import shlex
from pathlib import Path

import pytest

from trainer.errors import BadInput
from trainer.sources.columns import (
    NAME_OF_EITHER,
    TITLE_OF_EITHER,
    TRACK_OR_NAME,
    find_columns,
    option,
    parse_columns,
)
from trainer.sources.headers import BARE, EXPORTIFY, NAME, NAMES, TITLE, plain
from trainer.sources.source import NotData

DATA = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


def places(*header: str, **given: str) -> dict[str, int]:
    return dict(find_columns(header, given, "a").places)


def test_the_roles_and_their_names_are_as_documented():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ((?:`\w+`(?:, )?)+) \|$", DATA, flags=re.MULTILINE)

    assert [(role, tuple(re.findall(r"`(\w+)`", names))) for role, names in rows] == list(NAMES.items())
    assert all(f"`{name}`" in DATA for name in (*NAME, *TITLE))


def test_no_name_stands_for_two_roles_and_each_is_plain():
    known = [name for names in NAMES.values() for name in names] + [*NAME, *TITLE]

    assert len(known) == len(set(known))
    assert [plain(name) for name in known] == known
    assert [plain(name) for names in EXPORTIFY for name in names.split()] == " ".join(EXPORTIFY).split()


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NAMES.items() for name in names])
def test_every_name_is_recognised(role: str, name: str):
    others = [other for other in ("pid", "songid") if other not in NAMES[role]]
    if role == "user":
        others = ["songid"]
    expected = TRACK_OR_NAME if role == "track" and name in BARE else role

    assert places(*others, name)[expected] == len(others)


@pytest.mark.parametrize(
    "header",
    [
        "Playlist ID,Track ID,Artist Name(s)",
        ' "pid" ,TRACK-URI,artist_name',
        "list.id,track.uri,artistname",
        "\ufeffPlaylist,Spotify - id,Künstlername(n)",
        "プレイリスト,トラックURI,アーティスト名",
        "playlist,URI du titre,Nom(s) de l'artiste",
        "playlist,رابط الأغنية (URI),أسماء الفنانين",
    ],
)
def test_case_blanks_and_punctuation_of_names_do_not_matter(header: str):
    assert {"playlist", "track", "artist_name"} <= set(places(*header.split(",")))


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("pid,song,title", TITLE_OF_EITHER),
        ("pid,song,Title,track_name", "title"),
        ("pid,song,title,name", TITLE_OF_EITHER),
        ("pid,song,title,playlist_name", "track_name"),
        ("pid,artist,title", TITLE_OF_EITHER),
        ("pid,song,title,track_name,playlist_name", None),
        ("pid,song,Titel,playlist_name", "track_name"),
    ],
)
def test_title_is_the_title_that_is_missing(header: str, role: str | None):
    assert {role for role, place in places(*header.split(",")).items() if place == 2} == ({role} if role else set())


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("user,artist_id,artist,track_id,track", ["user", "artist", "artist_name", "track", "track_name"]),
        ("user,artist,artist_name,track,track_name", ["user", "artist", "artist_name", "track", "track_name"]),
        ("user,artist,track", ["user", "artist", TRACK_OR_NAME]),
        ("user,artist,name", ["user", "artist", NAME_OF_EITHER]),
        ("user,artist_name,name", ["user", "artist_name", "track_name"]),
        ("playlist_id,playlist,song_id", ["playlist", "title", "track"]),
    ],
)
def test_names_like_track_are_ids_or_names_by_the_other_columns(header: str, roles: list[str]):
    assert places(*header.split(",")) == {role: place for place, role in enumerate(roles)}


def test_a_listener_counts_beside_names_of_playlists_but_not_beside_their_ids():
    assert "user" in places("user_id", "playlistname", "song_id")
    assert "user" in places("user_id", "playlist", "song_id")
    assert "user" not in places("user_id", "playlist_id", "song_id")
    assert "user" not in places("user_id", "session_id", "song_id")
    assert "user" not in places("who", "user_id", "playlistname", "song_id", playlist="who")


def test_of_several_columns_for_the_listener_the_first_is_taken():
    assert places("user_id", "user_uuid", "song_id") == {"user": 0, "track": 2}
    assert places("song_id", "username", "user", "playlist") == {"track": 0, "user": 1, "playlist": 3}


def test_a_title_that_is_named_leaves_the_other_to_the_track():
    assert places("pid", "song", "title", "mood", title="mood") == {
        "playlist": 0,
        "track": 1,
        "track_name": 2,
        "title": 3,
    }


def test_a_column_may_be_given_by_its_number():
    assert places("who", "song", playlist="1", track="2") == {"playlist": 0, "track": 1}
    assert places("2", "1", playlist="1", track="2") == {"playlist": 1, "track": 0}


def test_a_role_can_be_switched_off():
    assert "position" not in places("pid", "song", "position", position="")
    assert places("pid", "track", "artist", track="") == {"playlist": 0, "track_name": 1, "artist": 2}


def test_a_file_is_one_playlist_where_the_role_of_playlists_is_off():
    assert find_columns(["pid", "song"], {"playlist": ""}, "a").one_playlist
    with pytest.raises(NotData):
        find_columns(["song"], {}, "a")


def test_a_column_that_is_used_may_not_be_there_twice_but_others_may():
    assert places("pid", "song", "album", "album") == {"playlist": 0, TRACK_OR_NAME: 1}
    with pytest.raises(
        BadInput, match=r"more than one column 'x'\. Choose one: --columns track=2 or --columns track=3\."
    ):
        find_columns(["pid", "x", "x"], {"track": "x"}, "a")


@pytest.mark.parametrize("name", ["song", "track_id", "song name"])
def test_of_two_columns_of_one_name_the_number_that_is_advised_chooses(name: str):
    with pytest.raises(BadInput, match=r"Choose one: --columns ([a-z_]+)=2 or") as refused:
        places("pid", name, name)
    role = str(refused.value).partition("--columns ")[2].partition("=")[0]

    assert places("pid", name, name, **{role: "3"})[role] == 2


def test_a_number_takes_no_column_that_has_the_name_of_another_role():
    found = find_columns(["track_id", "user_id", "n"], {"user": "1", "track": "2", "count": "3"}, "a")

    assert found.places == {"user": 1, "track": 0, "count": 2}
    assert found.remarks[0] == "user=1 is not used, as column 1 is 'track_id'. If that is the user, give its name"


@pytest.mark.parametrize(
    "columns",
    [
        {"playlist": "list, id", "track": "song=id"},
        {"playlist": "a\\b", "track": 'it\'s "so"'},
        {"playlist": "$HOME", "track": "a\\,b"},
        {"playlist": "", "track": "two words"},
    ],
)
def test_the_option_that_is_advised_says_the_same_in_a_shell(columns: dict[str, str]):
    _, value = shlex.split(option(**columns))

    assert parse_columns(value) == columns


@pytest.mark.parametrize("text", ["", "playlist", "=a", "playlist=a,", "a=b\\"])
def test_text_that_is_no_pairs_is_refused(text: str):
    with pytest.raises(ValueError, match="is not like playlist=user,track=song"):
        parse_columns(text)
