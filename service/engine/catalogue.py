"""
The catalogue: ids and names to rows and back, popularity, and search by name, in one SQLite file.

Python keeps no copy of it, so a catalogue of millions costs the service no memory beside the cache of the system.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from errno import EIO, ENOSPC
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from service.engine.errors import CorruptModel
from service.engine.files import reading
from service.engine.items import Fields, Kind, item_fields
from service.engine.seeds import Playlist, Plays, Seeds, Unknown
from service.engine.text import fold, indexed_text, normalize_title, search_expression, title_terms

# All characters but spaces make words: the text that is indexed has been divided and folded already.
WORDS = """tokenize="unicode61 remove_diacritics 0 categories 'L* M* N* P* S* C*'\""""

SCHEMA = f"""
CREATE TABLE tracks (
    row INTEGER PRIMARY KEY,  -- of the arrays and of tracks.ann
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,  -- the name in normal form
    artist INTEGER REFERENCES artists,
    popularity INTEGER NOT NULL,  -- number of playlists with it
    rank INTEGER NOT NULL  -- place among all tracks by popularity, then id; rowid in track_search
);
CREATE TABLE artists (
    row INTEGER PRIMARY KEY,  -- of the artists' arrays and of artists.ann; in vectors.npy they follow the tracks
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,  -- the name in normal form
    popularity INTEGER NOT NULL,
    rank INTEGER NOT NULL
);
CREATE TABLE terms (
    gram INTEGER NOT NULL,  -- 0: a whole title or a word; 1: a 4-gram
    term TEXT NOT NULL,
    row INTEGER NOT NULL,  -- in vectors.npy the terms follow the artists
    PRIMARY KEY (gram, term)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE track_search USING fts5(name, artist, content='', prefix='3', {WORDS});
CREATE VIRTUAL TABLE artist_search USING fts5(name, content='', prefix='3', {WORDS});
"""

INDEXES = """
CREATE INDEX artists_name ON artists (name);
CREATE INDEX artists_folded ON artists (folded, rank);
CREATE INDEX tracks_folded ON tracks (folded, artist, rank);
CREATE INDEX tracks_rank ON tracks (rank);
CREATE INDEX artists_rank ON artists (rank);
INSERT INTO track_search (rowid, name, artist)
    SELECT t.rank, indexed_text(t.name), indexed_text(coalesce(a.name, ''))
    FROM tracks t LEFT JOIN artists a ON a.row = t.artist ORDER BY t.rank;
INSERT INTO artist_search (rowid, name) SELECT rank, indexed_text(name) FROM artists ORDER BY rank;
INSERT INTO track_search (track_search) VALUES ('optimize');
INSERT INTO artist_search (artist_search) VALUES ('optimize');
PRAGMA optimize;
"""

CATALOGUE = "catalogue.sqlite"

# Variables of one statement, an even number. SQLite allows 32,766; short statements stay in its cache.
CHUNK = 1000
BY_NAME = "name:"  # begins a key that is a name, where an id would be found first
DASH = " - "  # between artist and name, where a track is known by both
MAX_DASHES = 3  # the longest search for the dash after the artist
MAPPED_BYTES = 1 << 34


def write_catalogue(
    path: Path,
    tracks: Iterable[tuple[str, str, int | None, int, int]],
    artists: Iterable[tuple[str, str, int, int]],
    words: Sequence[str],
    grams: Sequence[str],
) -> None:
    """
    Write a catalogue.

    Args:
        path: the file to write; it must not exist.
        tracks: (id, name, the artist's row or None, popularity, rank by popularity) of each track, by row.
        artists: (id, name, popularity, rank by popularity) of each artist, by row.
        words: the title terms of full weight.
        grams: the title terms of lesser weight; their rows follow those of *words*.
    """
    # Without locks, which some file systems lack: nobody else opens the file.
    database = sqlite3.connect(f"file:{quote(bytes(path.resolve()))}?nolock=1", uri=True)
    try:
        # Nobody reads the file yet, and it is synchronised before it is published.
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        database.create_function("indexed_text", 1, indexed_text, deterministic=True)
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO artists VALUES (?, ?, ?, ?, ?, ?)",
            ((row, id_, name, fold(name), count, rank) for row, (id_, name, count, rank) in enumerate(artists)),
        )
        database.executemany(
            "INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((row, id_, name, fold(name), *others) for row, (id_, name, *others) in enumerate(tracks)),
        )
        terms = [(0, term, row) for row, term in enumerate(words)]
        terms += [(1, term, row) for row, term in enumerate(grams, len(words))]
        database.executemany("INSERT INTO terms VALUES (?, ?, ?)", sorted(terms))
        database.executescript(INDEXES)
        database.commit()
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        reason = (ENOSPC, os.strerror(ENOSPC)) if full else (EIO, f"SQLite could not write it: {error}")
        raise OSError(*reason, str(path)) from error
    finally:
        database.close()


# A step of a look-up: the form in which it looks for a key, None if it does not, and the rows of such forms.
Form = Callable[[str], str | None]
Step = tuple[Form, Callable[[list[str]], dict[str, int]]]

# The statements that read items by their rows.
FIELDS: Mapping[Kind, str] = {
    "tracks": "SELECT t.row, t.popularity, t.id, t.name, a.id, a.name "
    "FROM tracks t LEFT JOIN artists a ON a.row = t.artist WHERE t.row IN ({})",
    "artists": "SELECT row, popularity, id, name FROM artists WHERE row IN ({})",
}


class Catalogue:
    """A catalogue opened for reading. Two threads must not use it at the same time."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Self:
        """
        Open the catalogue in *path*, memory-mapped. The caller closes it.

        Raises:
            CorruptModel: there is no catalogue in *path*.
        """
        database = None
        try:
            uri = f"file:{quote(bytes(path.resolve()))}?mode=ro&immutable=1"
            database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            database.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
            database.execute("SELECT 1 FROM tracks, artists, terms LIMIT 1")
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            with reading(path):
                if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
                    raise OSError(EIO, str(error), str(path)) from error
            raise CorruptModel(f"{path} cannot be opened as a catalogue: {error}; train or publish again") from error
        return cls(database)

    def close(self) -> None:
        """Unmap and close the file. A second call does nothing."""
        self._database.close()

    def find(self, kind: Kind, keys: Sequence[str]) -> dict[str, int]:
        """
        Return the row of each of the distinct *keys* that is known.

        A track is found by its id, then by its artist and name, `ARTIST - NAME`, folded. An artist is found by its id,
        then by its name as written, then by its name folded. A key that begins with `name:` is also looked up without
        this prefix, as a name and not as an id; a track then needs no artist. Of items with the same name the most
        popular is found.
        """
        found: dict[str, int] = {}
        left = keys
        for form, find_rows in self._steps(kind):
            if not left:  # most keys are ids
                break
            forms = {key: folded for key in left if (folded := form(key)) is not None}
            rows = find_rows(list(dict.fromkeys(forms.values())))
            found |= {key: rows[folded] for key, folded in forms.items() if folded in rows}
            left = [key for key in left if key not in found]
        return found

    def rows(self, kind: Kind, keys: Iterable[str]) -> tuple[list[int], list[str]]:
        """Return the distinct rows of the known *keys*, as in `find`, and the unknown keys, both in the given order."""
        distinct = list(dict.fromkeys(keys))
        found = self.find(kind, distinct)
        rows: dict[int, None] = {}
        unknown = []
        for key in distinct:
            if key in found:
                rows[found[key]] = None
            else:
                unknown.append(key)
        return list(rows), unknown

    def seeds(self, playlist: Playlist, track_count: float, artist_count: float) -> Seeds:
        """
        Look up *playlist*.

        Args:
            playlist: the playlist.
            track_count: the count of a track that comes without one.
            artist_count: the count of an artist that it names without one.
        """
        tracks, unknown_tracks = self._counted("tracks", playlist.tracks, track_count)
        artists, unknown_artists = self._counted("artists", playlist.artists, artist_count)
        disliked_tracks, more_tracks = self.rows("tracks", playlist.disliked_tracks)
        disliked_artists, more_artists = self.rows("artists", playlist.disliked_artists)
        terms = self.term_rows(playlist.title)
        counts = [count for count, _ in (*tracks.values(), *artists.values())] + [1.0] * len(terms)
        weights = [weight for _, weight in (*tracks.values(), *artists.values())]
        unknown = Unknown(unknown_tracks, unknown_artists, bool(playlist.title) and not terms)
        return Seeds(
            list(tracks),
            list(artists),
            terms,
            _unless_all_1(counts),
            unknown,
            normalize_title(playlist.title),
            _unless_all_1(weights),
            disliked_tracks,
            disliked_artists,
            (more_tracks, more_artists),
        )

    def rows_of_ids(self, kind: Kind, ids: Collection[str]) -> list[int]:
        """
        Return the distinct rows of the *ids* that are known, in no order.

        Names do not count. But an id that is made of names, as `ARTIST - NAME`, counts in each form that folds alike.
        """
        exact = set(self._rows_by(kind, "id", list(ids)).values())
        folded = {fold(id_) for id_ in ids} - {""}
        named = list(self._rows_named(kind, list(folded)) - exact)
        alike = self._select(f"SELECT row, id FROM {kind} WHERE row IN ({{}})", named)
        return [*exact, *(row for row, id_ in alike if fold(id_) in folded)]

    def terms_of(self, title: str) -> tuple[set[str], set[str]]:
        """Return the words and the grams of *title*, known or not."""
        return title_terms(title)

    def term_rows(self, title: str) -> list[int]:
        """Return the rows of the known terms of *title*, words before grams, each ascending."""
        words, grams = self.known_terms(title)
        return sorted(words.values()) + sorted(grams.values())

    def known_terms(self, title: str) -> tuple[dict[str, int], dict[str, int]]:
        """Return the row of each known word of *title*, and that of each known gram."""
        words, grams = self.terms_of(title)
        return (
            self._rows_by("terms", "gram = 0 AND term", sorted(words)),
            self._rows_by("terms", "gram = 1 AND term", sorted(grams)),
        )

    def fields(self, kind: Kind, rows: Sequence[int]) -> dict[int, tuple[Fields, int]]:
        """Return the fields and the popularity of the track or artist of each of *rows*."""
        return {
            row: (item_fields(kind, *fields), popularity)
            for row, popularity, *fields in self._select(FIELDS[kind], rows)
        }

    def search(self, kind: Kind, text: str) -> Iterator[int]:
        """
        Yield the rows of the items with the name *text*, then of those that contain each of its words.

        Names as written come before names that only fold to the same; all come the most popular first. A track is
        searched by its name and artist, an artist by its name; `search_expression` describes the words. Matches of
        words are found while they are taken, already by popularity, so the first matches of a frequent word cost no
        more than those of a rare one.
        """
        named = dict.fromkeys(self._named(kind, text))
        yield from named
        yield from (row for row in self._matching(kind, search_expression(text)) if row not in named)

    def ids(self, kind: Kind) -> list[str]:
        """Return all ids, by row."""
        return [id_ for (id_,) in self._database.execute(f"SELECT id FROM {kind} ORDER BY row")]

    def terms(self) -> tuple[list[str], list[str]]:
        """Return the words and the grams, each by row."""
        words, grams = (
            self._database.execute("SELECT term FROM terms WHERE gram = ? ORDER BY row", (gram,)) for gram in (0, 1)
        )
        return [term for (term,) in words], [term for (term,) in grams]

    def _counted(
        self, kind: Kind, mentions: Sequence[str | Plays], default: float
    ) -> tuple[dict[int, tuple[float, float]], list[str]]:
        """Return count and weight of each known one of *mentions* by its row, and the keys of the unknown ones."""
        named: dict[str, tuple[float, float]] = {}
        for mention in mentions:
            key, counted = (mention, (default, 1.0)) if isinstance(mention, str) else _weighed(mention, default)
            named[key] = max(counted, named.get(key, counted))
        rows = self.find(kind, list(named))
        found: dict[int, tuple[float, float]] = {}
        for key in filter(rows.__contains__, named):
            row = rows[key]
            found[row] = max(named[key], found.get(row, named[key]))  # by id and by name it is still one item
        return found, [key for key in named if key not in rows]

    def _steps(self, kind: Kind) -> list[Step]:
        """Return the steps of a look-up. The first that finds a key decides."""
        ids = (str, partial(self._rows_by, kind, "id"))
        if kind == "tracks":
            return [ids, (_artist_and_name, self._rows_by_artist_and_name), (_folded_name, self._by("folded", kind))]
        return [ids, (without_prefix, self._by("name", kind)), (_folded, self._by("folded", kind))]

    def _by(self, column: str, kind: Kind) -> Callable[[list[str]], dict[str, int]]:
        return partial(self._rows_by, kind, column, order="ORDER BY rank DESC")

    def _rows_by(self, table: str, column: str, keys: Sequence[str], order: str = "") -> dict[str, int]:
        """Return the row of each known key in *column*; of rows with the same key the last one counts."""
        name = column.rpartition(" ")[2]
        return dict(self._select(f"SELECT {name}, row FROM {table} WHERE {column} IN ({{}}) {order}", keys))

    def _rows_by_artist_and_name(self, labels: Iterable[str]) -> dict[str, int]:
        return {label: row for _, label, row in sorted(self._labelled(labels), reverse=True)}

    def _labelled(self, labels: Iterable[str]) -> list[tuple[int, str, int]]:
        """Return rank, label and row of the tracks whose artist and name, folded, are one of *labels*."""
        splits = dict.fromkeys(chain.from_iterable(map(_splits, labels)))
        # In this order of the joins, each key costs two look-ups, however many tracks have its name.
        sql = (
            "WITH wanted (artist, name) AS (VALUES {}) SELECT t.rank, a.folded || ' - ' || t.folded, t.row "
            "FROM wanted CROSS JOIN artists a ON a.folded = wanted.artist "
            "CROSS JOIN tracks t ON t.folded = wanted.name AND t.artist = a.row"
        )
        return self._select(sql, list(chain.from_iterable(splits)), "(?, ?)")

    def _rows_named(self, kind: Kind, folded: Sequence[str]) -> set[int]:
        """Return the rows of the items whose name, or artist and name, is one of *folded*."""
        rows = {row for (row,) in self._select(f"SELECT row FROM {kind} WHERE folded IN ({{}})", folded)}
        return rows.union(row for _, _, row in self._labelled(folded)) if kind == "tracks" else rows

    def _named(self, kind: Kind, name: str) -> list[int]:
        sql = f"SELECT row FROM {kind} WHERE folded = ? ORDER BY name <> ?, rank"
        folded = fold(name)
        return [row for (row,) in self._database.execute(sql, (folded, name))] if folded else []

    def _matching(self, kind: Kind, expression: str) -> Iterator[int]:
        index = f"{kind.removesuffix('s')}_search"
        sql = (
            f"SELECT found.row FROM {index} JOIN {kind} found ON found.rank = {index}.rowid "
            f"WHERE {index} MATCH ? ORDER BY {index}.rowid"
        )
        if expression:
            yield from (row for (row,) in self._database.execute(sql, (expression,)))

    def _select(self, sql: str, keys: Sequence[Any], slot: str = "?") -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            slots = ",".join([slot] * (len(part) // slot.count("?")))
            found += self._database.execute(sql.format(slots), part).fetchall()
        return found


def _weighed(mention: Plays, default: float) -> tuple[str, tuple[float, float]]:
    return mention.key, (default if mention.count is None else mention.count, mention.weight)


def _unless_all_1(numbers: list[float]) -> list[float] | None:
    return None if numbers.count(1) == len(numbers) else numbers


def without_prefix(key: str) -> str:
    """Return the name in *key*."""
    return key.removeprefix(BY_NAME)


def _folded(key: str) -> str | None:
    return fold(without_prefix(key)) or None  # blank is no name


def _folded_name(key: str) -> str | None:
    """Return the folded name of a track that is asked by name."""
    return _folded(key) if key.startswith(BY_NAME) else None


def _artist_and_name(key: str) -> str | None:
    folded = fold(without_prefix(key))
    return folded if DASH in folded else None


def _splits(label: str) -> list[tuple[str, str]]:
    """Return the sides of each of the first dashes of *label*: either side may have dashes of its own."""
    parts = label.split(DASH, MAX_DASHES)
    return [(DASH.join(parts[:at]), DASH.join(parts[at:])) for at in range(1, len(parts))]
