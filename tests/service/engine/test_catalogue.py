"""Ids and names to rows and back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.engine import KINDS, Catalogue, CorruptModel, Kind
from service.engine.catalogue import write_catalogue

ODD = ["", "a\0b", "🎵", "'; DROP TABLE tracks; --", "x" * 100_000, " ", "%", "ｉｄ"]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    path = tmp_path_factory.mktemp("catalogue") / "catalogue #1?.sqlite"
    tracks = [
        ("t:creep", "Creep", 0, 9),
        ("t:karma", "Karma Police", 0, 5),
        ("t:joga", "Jóga", 1, 7),
        ("t:none", "", None, 1),
    ]
    tracks += [(id_, "odd", None, 1) for id_ in ODD]
    by_popularity = sorted(range(len(tracks)), key=lambda row: (-tracks[row][3], tracks[row][0]))
    ranked = [(*track, by_popularity.index(row)) for row, track in enumerate(tracks)]
    artists = [
        ("a:radiohead", "Radiohead", 9, 0),
        ("a:bjork", "Björk", 7, 1),
        ("a:other", "RADIOHEAD", 1, 2),
        ("Creep", "x", 1, 3),
    ]
    write_catalogue(path, ranked, artists, ["chill", "jazz"], ["hill", "chil"])
    opened = Catalogue.open(path)
    yield opened
    opened.close()


def test_known_ids_become_rows_and_unknown_ids_are_returned(catalogue: Catalogue):
    assert catalogue.rows("tracks", ["t:joga", "t:nope", "t:creep"]) == ([2, 0], ["t:nope"])


def test_an_id_given_twice_counts_once(catalogue: Catalogue):
    assert catalogue.rows("tracks", ["t:joga", "t:joga", "?", "?"]) == ([2], ["?"])


def test_any_string_is_a_legal_id(catalogue: Catalogue):
    assert catalogue.rows("tracks", ODD) == (list(range(4, 4 + len(ODD))), [])
    assert catalogue.rows("tracks", ["a\0", "\0", "🎶"]) == ([], ["a\0", "\0", "🎶"])


def test_many_ids_are_found_in_order(catalogue: Catalogue):
    ids = [f"no {i}" for i in range(5000)] + ["t:karma"] + [f"nor {i}" for i in range(5000)]

    rows, unknown = catalogue.rows("tracks", ids)

    assert rows == [1]
    assert unknown == ids[:5000] + ids[5001:]


def test_an_artist_is_found_by_id_then_by_name_then_by_folded_name(catalogue: Catalogue):
    assert catalogue.rows("artists", ["a:bjork"]) == ([1], [])
    assert catalogue.rows("artists", ["RADIOHEAD"]) == ([2], [])
    assert catalogue.rows("artists", ["rAdIoHeAd"]) == ([0], [])
    assert catalogue.rows("artists", ["BJÖRK"]) == ([1], [])
    assert catalogue.rows("artists", ["Creep"]) == ([3], [])


def test_an_artist_given_by_id_and_by_name_counts_once(catalogue: Catalogue):
    assert catalogue.rows("artists", ["Radiohead", "a:radiohead", "radiohead"]) == ([0], [])


def test_terms_of_a_title_are_found_words_before_grams(catalogue: Catalogue):
    assert catalogue.term_rows("Chill Jazz!") == [0, 1, 2, 3]
    assert catalogue.term_rows("CHILLS") == [2, 3]
    assert catalogue.term_rows("") == []


def test_a_word_and_a_gram_spelt_alike_are_two_terms(tmp_path: Path):
    write_catalogue(tmp_path / "c.sqlite", [], [], ["rock"], ["rock"])
    catalogue = Catalogue.open(tmp_path / "c.sqlite")

    assert catalogue.term_rows("rock") == [0, 1]
    catalogue.close()


def test_search_finds_words_of_name_and_artist_the_last_unfinished(catalogue: Catalogue):
    assert list(catalogue.search("tracks", "radiohead")) == [0, 1]
    assert list(catalogue.search("tracks", "radiohead kar")) == [1]
    assert list(catalogue.search("tracks", "joga bjork")) == [2]
    assert list(catalogue.search("tracks", '" OR *')) == []
    assert list(catalogue.search("tracks", "")) == []


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """Tracks and artists of names that folding changes, or that are symbols alone."""
    names = [
        "ＦＵＬＬ　ＷＩＤＴＨ",
        "ﬁesta",
        "Ⅻ",
        "½ life",
        "★",
        "！！！",
        "!!!?",
        "🔥",
        "",
        "\ue000212121\ue000",
        "...",
        "+-",
    ]
    path = tmp_path_factory.mktemp("catalogue") / "odd.sqlite"
    tracks = [(f"t:{row}", name, row, 1, row) for row, name in enumerate(names)]
    artists = [(f"a:{row}", name, 1, row) for row, name in enumerate(names)]
    write_catalogue(path, tracks, artists, [], [])
    opened = Catalogue.open(path)
    yield opened
    opened.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("row", "texts"),
    [
        (0, ["ＦＵＬＬ　ＷＩＤＴＨ", "full width", "FULL WID"]),
        (1, ["ﬁesta", "fiesta", "FIES"]),
        (2, ["Ⅻ", "xii", "XII"]),
        (3, ["½ life", "1⁄2 LIFE"]),
        (4, ["★", " ★ "]),
        (5, ["！！！", "!!!"]),
        (6, ["!!!?", "!!!？"]),
        (7, ["🔥"]),
        (10, ["...", "…"]),
        (11, ["+-"]),
    ],
)
def test_every_name_is_found_by_itself_and_by_its_folded_form(
    odd_names: Catalogue, kind: Kind, row: int, texts: list[str]
):
    assert [list(odd_names.search(kind, text)) for text in texts] == [[row]] * len(texts)


@pytest.mark.parametrize("text", ["", " ", "!", "!!", "!!!!", "★★", "☆", "\0", "\ud800", "\ue000", "e29885"])
def test_symbols_match_as_a_whole_and_nothing_else(odd_names: Catalogue, text: str):
    assert list(odd_names.search("tracks", text)) == []


def test_punctuation_among_words_does_not_count(odd_names: Catalogue):
    assert list(odd_names.search("tracks", "+ fiesta!!! ?")) == [1]


TYPED = {
    "Don't Stop": ["dont stop", "dont", "don't sto", "DONT STOP", "don’t stop"],
    "AC/DC": ["acdc", "ac/dc", "ac dc", "acd"],
    "Ke$ha": ["kesha", "ke$ha", "keha", "kes"],
    "P!nk": ["pnk", "pink", "p!nk"],
    "A$AP Rocky": ["asap rocky", "a$ap roc", "aap"],
    "$uicideboy$": ["suicideboys", "suicide", "uicideboy"],
    "M.I.A.": ["mia", "m.i.a", "m i a"],
    "Jay-Z": ["jayz", "jay z", "jay-z"],
    "東京/事変": ["東京事変", "京事"],
    "Outkast": ["out-kast", "o'utkast"],
    "Kaskade": ["k@skade", "ka$kade", "ka$k"],
}


def test_words_with_symbols_are_found_as_people_type_them(tmp_path: Path):
    names = [*TYPED, "stop dont", "Wow! Pop", "100% Fun"]
    artists = [(f"a:{row}", name, 1, row) for row, name in enumerate(names)]
    write_catalogue(tmp_path / "c.sqlite", [], artists, [], [])
    catalogue = Catalogue.open(tmp_path / "c.sqlite")

    for name, texts in TYPED.items():
        for text in texts:
            assert names.index(name) in catalogue.search("artists", text), (name, text)
    for text in ("wowi", "wowpop", "dont stop me", "100fun", "sasap"):  # symbols between words still divide them
        assert list(catalogue.search("artists", text)) == [], text
    catalogue.close()


NAMES = [
    ("Intro", "MØ"),
    ("Intro", "Sigur Rós"),
    ("Intro to Jazz", "東京事変"),
    ("Intro - Live", "A - B"),
    ("Party 🔥🔥🔥", "Ænima"),
    ("한국사람", "!!!"),
    ("กรุงเทพ", "Straße"),
    ("हिन्दी गाने", "ılık su"),
    ("R&amp;B", "Ke$ha"),
    ("311", "Sigur Rós"),
    ("INTRO", "Sigur Rós"),
]


@pytest.fixture(scope="module")
def of_scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """Tracks and artists of many scripts; a track has the row of its artist, and the last ones are the most popular."""
    path = tmp_path_factory.mktemp("catalogue") / "scripts.sqlite"
    tracks = [(f"t:{row}", name, row, row, len(NAMES) - row) for row, (name, _) in enumerate(NAMES)]
    artists = [(f"a:{row}", artist, row, len(NAMES) - row) for row, (_, artist) in enumerate(NAMES)]
    write_catalogue(path, tracks, [*artists, ("311", "Pop Singer", 1, 99), ("a:311", "311", 1, 100)], [], [])
    opened = Catalogue.open(path)
    yield opened
    opened.close()


def test_names_as_written_come_first_then_names_that_fold_alike_then_names_with_the_words(of_scripts: Catalogue):
    assert list(of_scripts.search("tracks", "Intro")) == [1, 0, 10, 3, 2]
    assert list(of_scripts.search("tracks", "intro")) == [10, 1, 0, 3, 2]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("東京", [2]),
        ("京事", [2]),
        ("変", [2]),
        ("京変", []),
        ("한국", [5]),
        ("국사", [5]),
        ("กรุง", [6]),
        ("🔥", [4]),
        ("party 🔥🔥", [4]),
        ("!!!", [5]),
        ("mo", [0]),
        ("aenima", [4]),
        ("strasse", [6]),
        ("ILIK SU", [7]),
        ("हिन्दी", [7]),
        ("हिन्द", [7]),
        ("ह", []),
        ("r&b", [8]),
        ("kesha", [8]),
        ("sigur ros", [10, 9, 1]),
    ],
)
def test_words_of_every_script_are_found(of_scripts: Catalogue, text: str, rows: list[int]):
    assert list(of_scripts.search("tracks", text)) == rows


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("t:1", 1),
        ("Mø - Intro", 0),
        ("SIGUR RO\u0301S – 311", 9),
        ("Sigur Rós - Intro", 10),
        ("name:sigur rós - intro", 10),
        ("a - b - INTRO - live", 3),
        ("name:Intro", 10),
        ("name:r&b", 8),
        ("name:311", 9),
    ],
)
def test_a_track_is_found_by_id_then_by_artist_and_name(of_scripts: Catalogue, key: str, row: int):
    assert of_scripts.find("tracks", [key]) == {key: row}


@pytest.mark.parametrize(
    "key", ["Intro", "T:1", "Nobody - Intro", "name:", "name: - ", " - ", "name:t:1", " - " * 9999]
)
def test_a_track_is_not_found_by_its_name_unless_asked_by_name(of_scripts: Catalogue, key: str):
    assert of_scripts.find("tracks", [key]) == {}


def test_an_artist_named_like_the_id_of_another_is_found_by_name(of_scripts: Catalogue):
    ids, names = len(NAMES), len(NAMES) + 1

    assert of_scripts.find("artists", ["311"]) == {"311": ids}
    assert of_scripts.find("artists", ["name:311", "name:SIGUR RO\u0301S"]) == {
        "name:311": names,
        "name:SIGUR RO\u0301S": 10,
    }
    assert of_scripts.find("artists", ["name:a:1", "name:", ""]) == {}


def test_matches_that_are_not_taken_do_not_keep_the_catalogue_open(catalogue: Catalogue):
    assert next(catalogue.search("tracks", "radio")) == 0
    assert next(catalogue.search("artists", "radio")) == 0
    assert list(catalogue.search("tracks", "radio")) == [0, 1]


@pytest.fixture(scope="module")
def without_ids(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """Items whose ids are their names; the last artist has an id of its own, and so have the last two tracks."""
    path = tmp_path_factory.mktemp("catalogue") / "names.sqlite"
    artists = [("Björk", "Björk", 9, 0), ("A - B", "A - B", 5, 1), ("a:bjork", "BJÖRK", 1, 2)]
    tracks = [
        ("Björk - Jóga", "Jóga", 0, 9, 0),
        ("A - B - It's – Live", "It's – Live", 1, 5, 1),
        ("Intro", "Intro", None, 4, 2),
        ("BJÖRK - JÓGA", "JÓGA", 0, 3, 3),
        ("t:joga", "Jóga", 0, 2, 4),
        ("t:intro", "Intro", None, 1, 5),
    ]
    write_catalogue(path, tracks, artists, [], [])
    opened = Catalogue.open(path)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("id_", "rows"),
    [
        ("Björk - Jóga", [0, 3]),
        ("Bjo\u0308rk - Jo\u0301ga", [0, 3]),
        ("Björk  -\tJóga ", [0, 3]),
        ("björk – jóga", [0, 3]),
        ("Bj&ouml;rk - J&oacute;ga", [0, 3]),
        ("a - b - it’s - live", [1]),
        ("INTRO", [2]),
        ("t:joga", [4]),
        ("T:JOGA", []),
        ("Jóga", []),
        ("name:Intro", []),
        (" - ", []),
        ("\u200b", []),
    ],
)
def test_an_id_that_is_made_of_names_is_known_in_each_form_that_folds_alike(
    without_ids: Catalogue, id_: str, rows: list[int]
):
    assert sorted(without_ids.rows_of_ids("tracks", [id_, "?"])) == rows


def test_the_name_of_an_artist_is_its_id_in_each_form_unless_it_has_an_id(without_ids: Catalogue):
    for id_ in ("Björk", "Bjo\u0308rk", "BJÖRK"):
        assert without_ids.rows_of_ids("artists", [id_]) == [0]
    assert sorted(without_ids.rows_of_ids("artists", ["a:bjork", "a  -  b"])) == [1, 2]


def test_many_artists_and_names_are_found_in_one_look_up(tmp_path: Path):
    """They take several statements of the database, and each label has two places at which it may be divided."""
    n_pairs = 1500
    artists = [(f"a:{row}", f"The - {row}", 1, row) for row in range(n_pairs)]
    tracks = [(f"t:{row}", "Intro", row, 1, row) for row in range(n_pairs)]
    write_catalogue(tmp_path / "c.sqlite", tracks, artists, [], [])
    catalogue = Catalogue.open(tmp_path / "c.sqlite")
    keys = [f"the - {row} - INTRO" for row in range(n_pairs + 1)]

    assert catalogue.find("tracks", keys) == {key: row for row, key in enumerate(keys[:n_pairs])}
    catalogue.close()


def test_an_artist_and_a_name_cost_the_same_however_many_tracks_have_the_name(tmp_path: Path):
    steps = []
    for n_tracks in (10, 3000):
        path = tmp_path / f"{n_tracks}.sqlite"
        artists = [(f"a:{row}", f"Artist {row}", 1, row) for row in range(n_tracks)]
        write_catalogue(path, [(f"t:{row}", "Intro", row, 1, row) for row in range(n_tracks)], artists, [], [])
        with closing(sqlite3.connect(path)) as database:
            begun: list[None] = []
            database.set_progress_handler(lambda begun=begun: begun.append(None), 10)  # every 10 steps of SQLite
            assert Catalogue(database).find("tracks", ["Artist 7 - Intro"]) == {"Artist 7 - Intro": 7}
        steps.append(len(begun))

    assert steps[1] < 2 * steps[0]


def test_of_tracks_with_one_artist_and_name_the_most_popular_is_found_however_the_key_is_divided(tmp_path: Path):
    artists = [("a:0", "A", 1, 0), ("a:1", "A - B", 1, 1)]
    tracks = [("t:0", "C", 1, 1, 2), ("t:1", "B - C", 0, 3, 0), ("t:2", "c", 1, 2, 1)]
    write_catalogue(tmp_path / "c.sqlite", tracks, artists, [], [])
    catalogue = Catalogue.open(tmp_path / "c.sqlite")

    assert catalogue.find("tracks", ["A - B - C"]) == {"A - B - C": 1}
    catalogue.close()


def test_rows_of_ids_are_found_by_id_alone(catalogue: Catalogue):
    assert catalogue.rows_of_ids("artists", ["a:bjork", "Radiohead", "t:joga", "?"]) == [1]
    assert catalogue.rows_of_ids("tracks", ["t:joga", "a:bjork"]) == [2]


def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path):
    (tmp_path / "c.sqlite").write_bytes(b"no" * 999)

    with pytest.raises(CorruptModel):
        Catalogue.open(tmp_path / "c.sqlite")
    with pytest.raises(CorruptModel):
        Catalogue.open(tmp_path / "missing.sqlite")
