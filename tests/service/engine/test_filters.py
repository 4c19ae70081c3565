"""Filters pass the tracks that fulfil all their conditions, and are refused with what would be right."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine import BadFilter, Column, ModelClosed, Options, Playlist, Recommender, Words, fold
from service.engine.attributes import column_shapes
from service.engine.filters import MOST_CACHED, MOST_VALUES, Filters

N_TRACKS, N_ARTISTS = 300, 12
YEARS = np.array([1990 + row % 30 if row % 7 else np.nan for row in range(N_TRACKS)])
EXPLICIT = np.array([[1, 0, -1][row % 3] for row in range(N_TRACKS)], np.int8)
LABELS = ["blue note", "Blue Note", "ECM", "Émigré"]
GENRES = ["jazz", "Pop", "rock"]
# Track n has n % 4 genres, from another one on than its neighbours.
NUMBERS = [[(row + place) % 3 for place in range(row % 4)] for row in range(N_TRACKS)]


def columns() -> list[Column]:
    labels = sorted(LABELS, key=lambda word: (word.casefold(), word))
    numbers = np.array([row % 5 if row % 5 < 4 else -1 for row in range(N_TRACKS)], np.int32)
    entries, offsets = np.concatenate(NUMBERS).astype(np.int32), np.cumsum([0, *map(len, NUMBERS)])
    return [
        Column("year", "number", YEARS),
        Column("explicit", "boolean", EXPLICIT),
        Column("label", "text", numbers, Words.of(labels)),
        Column("genres", "texts", entries, Words.of(GENRES), offsets),
    ]


@pytest.fixture(scope="module")
def opened(write_world: Callable[..., Path]) -> Iterator[Recommender]:
    plain = Recommender.open(write_world(N_TRACKS, N_ARTISTS))
    order = [int(id_[2:]) for id_ in plain.artifacts.catalogue.ids("tracks")]  # the rows of a version are sorted
    found = {column.name: column.take(np.array(order)) for column in columns()}
    recommender = Recommender(replace(plain.artifacts, attributes=found))
    yield recommender
    recommender.close()


def passing(opened: Recommender, where: dict[str, Any]) -> set[int]:
    """The numbers of the tracks that pass, as every question that takes a filter finds them."""
    (answer,) = opened.recommend([Playlist(where=where)], Options(N_TRACKS))
    found = {track.id for track in answer.found}
    (folded,) = opened.recommend([Playlist(title="jazz", where=where)], Options(N_TRACKS))
    assert {track.id for track in folded.found} == found
    assert {track.id for track in opened.search("tracks", "song", N_TRACKS, where)} == found
    near = {track.id for track in opened.similar("tracks", ["t:0"], N_TRACKS, where)}
    assert near == found - {"t:0"}
    return {int(id_[2:]) for id_ in found}


def where_true(condition: Callable[[int], bool]) -> set[int]:
    return set(filter(condition, range(N_TRACKS)))


CONDITIONS: dict[str, tuple[Any, Callable[[int], bool]]] = {
    "eq": ({"year": 1995}, lambda row: YEARS[row] == 1995),
    "gte and lt": ({"year": {"gte": 2000, "lt": 2003.5}}, lambda row: 2000 <= YEARS[row] < 2003.5),
    "ne": ({"year": {"ne": 1995}}, lambda row: YEARS[row] != 1995),
    "any number": ({"year": {"any": [1991, 1992.0]}}, lambda row: YEARS[row] in (1991, 1992)),
    "no number": ({"year": {"none": [1991]}}, lambda row: YEARS[row] != 1991),
    "exists": ({"year": {"exists": True}}, lambda row: not np.isnan(YEARS[row])),
    "is missing": ({"year": {"exists": False}}, lambda row: np.isnan(YEARS[row])),
    "false": ({"explicit": False}, lambda row: EXPLICIT[row] == 0),
    "not true": ({"explicit": {"ne": True}}, lambda row: EXPLICIT[row] != 1),
    "a boolean is missing": ({"explicit": {"exists": False}}, lambda row: EXPLICIT[row] == -1),
    "text in any spelling": ({"label": "BLUE  note"}, lambda row: row % 5 in (0, 1)),
    "text with an accent": ({"label": {"any": ["E\u0301MIGRE\u0301", "nothing"]}}, lambda row: row % 5 == 3),
    "no text": ({"label": {"none": ["ecm"]}}, lambda row: row % 5 != 2),
    "text is missing": ({"label": {"exists": False}}, lambda row: row % 5 == 4),
    "a list has it": ({"genres": "pop"}, lambda row: 1 in NUMBERS[row]),
    "a list has any": ({"genres": {"any": ["rock", "jazz"]}}, lambda row: bool({0, 2} & {*NUMBERS[row]})),
    "a list has all": ({"genres": {"all": ["ROCK", "jazz"]}}, lambda row: {0, 2} <= {*NUMBERS[row]}),
    "a list has none": ({"genres": {"none": ["pop"]}}, lambda row: 1 not in NUMBERS[row]),
    "a list is empty": ({"genres": {"exists": False}}, lambda row: row % 4 == 0),
    "several attributes": (
        {"genres": "jazz", "explicit": True, "year": {"gt": 2000}},
        lambda row: 0 in NUMBERS[row] and EXPLICIT[row] == 1 and YEARS[row] > 2000,
    ),
    "what contradicts itself": ({"year": {"gt": 2000, "lt": 1990}}, lambda row: False),
    "nothing is asked": ({}, lambda row: True),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_question_finds_the_tracks_that_fulfil_all_conditions(opened: Recommender, name: str):
    where, holds = CONDITIONS[name]

    for _ in range(2):  # the second time, the filter is known
        assert passing(opened, where) == where_true(holds)


def test_a_filter_knows_artists_and_playlists_without_a_catalogue(write_world: Callable[..., Path]):
    plain = Recommender.open(write_world(N_TRACKS, N_ARTISTS))
    tracks = plain.popular("tracks", N_TRACKS)

    by_artist = plain.recommend([Playlist(where={"artist": "NEW band 2"})], Options(N_TRACKS))[0].found
    others = plain.recommend([Playlist(where={"artist": {"none": ["a:2"]}})], Options(N_TRACKS))[0].found
    known = plain.recommend([Playlist(where={"playlists": {"gte": 20}})], Options(N_TRACKS))[0].found

    theirs = {track.id for track in tracks if track.artist and track.artist.id == "a:2"}
    assert {track.id for track in by_artist} == theirs
    assert {track.id for track in others} == {track.id for track in tracks} - theirs
    assert {track.id for track in known} == {track.id for track in tracks if track.popularity >= 20}
    plain.close()


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"colour": "red"}, "no attribute 'colour'; this version has artist, explicit, genres, label, playlists, year"),
        ({"year": {"like": 1}}, "type number, which has no condition 'like'; it has eq, ne, gt, gte, lt, lte, any"),
        ({"year": {}}, "condition on 'year' is empty"),
        ({"year": "1995"}, "'eq' on 'year' takes a number, and '1995' came"),
        ({"year": True}, "takes a number, and 'True' came"),
        ({"year": None}, "takes a number, and 'None' came"),
        ({"year": {"any": []}}, "takes a list of 1 to"),
        ({"year": {"any": 1995}}, "takes a list of 1 to"),
        ({"genres": {"any": "jazz"}}, "takes a list of 1 to"),
        ({"genres": {"any": ["x"] * (MOST_VALUES + 1)}}, "takes a list of 1 to 1,000 values"),
        ({"genres": {"all": ["x"] * 21}}, "takes a list of 1 to 20 values"),
        ({"year": {"lt": 10**400}}, "takes a number, and '1000"),
        ({"year": float("nan")}, "takes a number, and 'nan' came"),
        ({"year": {"lt": float("inf")}}, "takes a number, and 'inf' came"),
        ({"year": {"any": {1, 2}}}, "a filter is a JSON object"),
        ({"genres": {"any": ["x" * 1000] * 200}}, "may have 100,000 characters"),
        ({"year": {"x" * 1000: 1}}, "no condition 'x{100}'"),
        ({"genres": {"any": [1]}}, "'any' on 'genres' takes a text, and '1' came"),
        ({"explicit": "false"}, "takes true or false, and 'false' came"),
        ({"explicit": {"gt": False}}, "type boolean, which has no condition 'gt'"),
        ({"label": {"all": ["a"]}}, "type text, which has no condition 'all'"),
        ({"artist": 7}, "takes a text, and '7' came"),
        ({"artist": {"exists": 1}}, "takes true or false"),
    ],
)
def test_a_filter_that_is_none_is_refused_with_what_was_expected(opened: Recommender, where: Any, reason: str):
    for ask in (
        lambda: opened.recommend([Playlist(where=where)], Options(3)),
        lambda: opened.similar("tracks", ["t:1"], 3, where),
        lambda: opened.search("tracks", "song", 3, where),
    ):
        with pytest.raises(BadFilter, match=reason):
            ask()


def test_a_number_that_no_attribute_reaches_passes_nothing(opened: Recommender):
    assert passing(opened, {"year": {"gte": 10**30}}) == set()


def test_a_filter_that_was_refused_is_refused_again(opened: Recommender):
    for where in ({"year": float("nan")}, {"year": None}, {"year": float("nan")}):
        with pytest.raises(BadFilter):
            opened.recommend([Playlist(where=where)], Options(3))


def test_a_closed_version_is_named_as_closed(write_world: Callable[..., Path]):
    closed = Recommender.open(write_world(10, 2))
    closed.close()

    with pytest.raises(ModelClosed):
        closed.search("tracks", "song", 3, {"playlists": 1})


def test_artists_are_not_filtered(opened: Recommender):
    with pytest.raises(BadFilter, match="about tracks"):
        opened.recommend([Playlist(where={"year": 1990})], Options(3, "artists"))


def test_filters_that_were_asked_for_last_are_kept(opened: Recommender):
    filters = Filters.of(opened.artifacts)
    first = filters.mask("tracks", {"year": 1990, "explicit": True})

    assert filters.mask("tracks", {"explicit": True, "year": 1990}) is first
    for year in range(MOST_CACHED):
        filters.mask("tracks", {"year": year})
        filters.mask("tracks", {"year": 1990, "explicit": True})
    assert filters.mask("tracks", {"year": 1990, "explicit": True}) is first
    assert len(filters.cached) == MOST_CACHED


def test_blocked_and_excluded_tracks_stay_out_of_a_filtered_answer(opened: Recommender):
    wanted = where_true(lambda row: EXPLICIT[row] == 0)
    opened.block(["t:1", "a:3"])
    try:
        (answer,) = opened.recommend([Playlist(["t:4"], exclude=["t:7"], where={"explicit": False})], Options(N_TRACKS))
    finally:
        opened.block([])

    found = {int(track.id[2:]) for track in answer.found}
    assert found < wanted - {1, 4, 7}
    assert not [track for track in answer.found if track.artist and track.artist.id == "a:3"]


def test_attributes_are_shown_as_they_are(opened: Recommender):
    names = ("year", "explicit", "label", "genres", "playlists")

    (answer,) = opened.recommend([Playlist(title="jazz")], Options(N_TRACKS, fields=names))

    labels = sorted(LABELS, key=lambda word: (word.casefold(), word))
    popularity = {track.id: track.popularity for track in opened.popular("tracks", N_TRACKS)}
    for track in answer.found:
        row = int(track.id[2:])
        assert track.attributes == {
            "year": None if np.isnan(YEARS[row]) else YEARS[row],
            "explicit": {1: True, 0: False, -1: None}[int(EXPLICIT[row])],
            "label": labels[row % 5] if row % 5 < 4 else None,
            "genres": [GENRES[number] for number in NUMBERS[row]],
            "playlists": popularity[track.id],
        }
    with pytest.raises(BadFilter, match="no attribute 'color'"):
        opened.recommend([Playlist()], Options(3, fields=("color",)))
    with pytest.raises(BadFilter, match="no attribute 'artist' to show"):
        opened.recommend([Playlist()], Options(3, fields=("artist",)))
    with pytest.raises(BadFilter, match="artists have no attribute 'year'"):
        opened.recommend([Playlist()], Options(3, "artists", fields=("year",)))


@given(st.lists(st.text(max_size=6), unique=True, max_size=40), st.text(max_size=6))
def test_a_word_is_found_in_every_spelling_that_folds_alike(words: list[str], wanted: str):
    words = sorted((word.encode("utf-8", "replace").decode() for word in words), key=lambda word: (fold(word), word))
    listed = Words.of(words)

    assert [listed[number] for number in range(len(listed))] == words
    for text in (*words, wanted):
        assert [words[number] for number in listed.find(text)] == [word for word in words if fold(word) == fold(text)]


def test_a_column_is_the_same_from_its_files():
    for column in columns():
        arrays, described = column.arrays(0), column.describe()
        assert {name: array.shape for name, array in arrays.items()} == column_shapes(N_TRACKS, [described])
        assert Column.open(arrays, 0, described).read(range(N_TRACKS)) == column.read(range(N_TRACKS))
