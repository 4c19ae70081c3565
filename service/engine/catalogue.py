"""
Ids and names to rows and back, popularity, and search by name: one SQLite file, opened read-only.

Nothing of it is held in Python: a catalogue of millions costs the service no memory but what the system caches.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from service.engine.errors import CorruptModel
from service.engine.features import normalize_title, title_grams, title_words

SCHEMA = """
CREATE TABLE tracks (
    row INTEGER PRIMARY KEY,  -- of the arrays and of tracks.ann
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    artist INTEGER REFERENCES artists,
    popularity INTEGER NOT NULL,  -- playlists that hold it
    rank INTEGER NOT NULL  -- its place among all tracks by popularity, then id; the rowid in track_search
);
CREATE TABLE artists (
    row INTEGER PRIMARY KEY,  -- of the artists' arrays and of artists.ann; in vectors.npy they follow the tracks
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,  -- the name without regard to case
    popularity INTEGER NOT NULL,
    rank INTEGER NOT NULL
);
CREATE TABLE terms (
    gram INTEGER NOT NULL,  -- 0: a whole title or a word; 1: a 4-gram
    term TEXT NOT NULL,
    row INTEGER NOT NULL,  -- in vectors.npy the terms follow the artists
    PRIMARY KEY (gram, term)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE track_search USING fts5(
    name, artist, content='', prefix='3', tokenize='unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE artist_search USING fts5(
    name, content='', prefix='3', tokenize='unicode61 remove_diacritics 2'
);
"""

INDEXES = """
CREATE INDEX artists_name ON artists (name);
CREATE INDEX artists_folded ON artists (folded);
CREATE INDEX tracks_rank ON tracks (rank);
CREATE INDEX artists_rank ON artists (rank);
INSERT INTO track_search (rowid, name, artist)
    SELECT t.rank, t.name, coalesce(a.name, '') FROM tracks t LEFT JOIN artists a ON a.row = t.artist ORDER BY t.rank;
INSERT INTO artist_search (rowid, name) SELECT rank, name FROM artists ORDER BY rank;
INSERT INTO track_search (track_search) VALUES ('optimize');
INSERT INTO artist_search (artist_search) VALUES ('optimize');
PRAGMA optimize;
"""

# SQLite's own default limit on the variables of one statement is 32,766; short statements stay in its cache.
CHUNK = 1000
LEAST_PREFIX = 3
MAPPED_BYTES = 1 << 34


# Plain dataclasses, here and in the recommender: with slots, orjson takes ten times as long over them.
@dataclass
class Artist:
    """An artist as the outside knows it."""

    id: str
    name: str


@dataclass
class CountedArtist(Artist):
    """An artist, and in how many playlists it is."""

    popularity: int


@dataclass
class Track:
    """A track as the outside knows it; *artist* is None where the data named none."""

    id: str
    name: str
    artist: Artist | None
    popularity: int


def fold_name(name: str) -> str:
    """*name* without regard to case."""
    return name.casefold()


def write_catalogue(
    path: Path,
    tracks: Iterable[tuple[str, str, int | None, int, int]],
    artists: Iterable[tuple[str, str, int, int]],
    words: Sequence[str],
    grams: Sequence[str],
) -> None:
    """
    Write a catalogue, each kind in the order of its rows.

    Args:
        path: the file to write; it must not exist.
        tracks: (id, name, the artist's row or None, popularity, rank by popularity) of each track.
        artists: (id, name, popularity, rank by popularity) of each artist.
        words: the title terms of full weight.
        grams: the title terms of lesser weight; their rows follow those of *words*.
    """
    database = sqlite3.connect(path)
    try:
        # A version is written once, to a place nobody reads yet, and synchronised as a whole before it is published.
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO artists VALUES (?, ?, ?, ?, ?, ?)",
            ((row, id_, name, fold_name(name), count, rank) for row, (id_, name, count, rank) in enumerate(artists)),
        )
        database.executemany(
            "INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?)", ((row, *track) for row, track in enumerate(tracks))
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


class Catalogue:
    """A catalogue opened for reading. Not for two threads at once."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Self:
        """
        Open the catalogue in *path*, memory-mapped; the caller closes it.

        Raises:
            CorruptModel: there is no catalogue in *path*.
        """
        database = None
        try:
            uri = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
            database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            database.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
            database.execute("SELECT 1 FROM tracks, artists, terms LIMIT 1")
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            raise CorruptModel(f"{path} cannot be opened as a catalogue: {error}") from error
        return cls(database)

    def close(self) -> None:
        """Unmap and close the file; once more does nothing."""
        self._database.close()

    def rows_of_ids(self, table: Literal["tracks", "artists"], ids: Collection[str]) -> list[int]:
        """The rows of those of the distinct *ids* that *table* holds, in no order: by id alone, never by name."""
        return list(self._rows_by(table, "id", list(ids)).values())

    def track_rows(self, track_ids: Iterable[str]) -> tuple[list[int], list[str]]:
        """The rows of the distinct *track_ids* that are known, and the ids that are not, each in the order given."""
        return _split(track_ids, lambda ids: self._rows_by("tracks", "id", ids))

    def artist_rows(self, names: Iterable[str]) -> tuple[list[int], list[str]]:
        """
        The distinct rows of the artists given by id or name, and those that are not known, each in the order given.

        An id is tried first, then the name as written, then the name without regard to case; of artists that share
        a name the most popular is meant.
        """
        found, unknown = _split(names, self.find_artists)
        return list(dict.fromkeys(found)), unknown

    def find_artists(self, names: Sequence[str]) -> dict[str, int]:
        """The row of each of the distinct *names* that `artist_rows` knows."""
        found: dict[str, int] = {}
        for column, fold in (("id", str), ("name", str), ("folded", fold_name)):
            left = {name: fold(name) for name in names if name not in found}
            # Of several that share a name, the last to come is the most popular.
            rows = self._rows_by("artists", column, list(dict.fromkeys(left.values())), "ORDER BY rank DESC")
            found |= {name: rows[key] for name, key in left.items() if key in rows}
        return found

    def term_rows(self, title: str) -> list[int]:
        """The rows of the known terms of *title*, words before grams, each ascending."""
        normalized = normalize_title(title)
        words = self._rows_by("terms", "gram = 0 AND term", sorted(title_words(normalized)))
        grams = self._rows_by("terms", "gram = 1 AND term", sorted(title_grams(normalized)))
        return sorted(words.values()) + sorted(grams.values())

    def tracks(self, rows: Sequence[int]) -> dict[int, Track]:
        """The track of each of *rows*."""
        sql = (
            "SELECT t.row, t.id, t.name, a.id, a.name, t.popularity "
            "FROM tracks t LEFT JOIN artists a ON a.row = t.artist WHERE t.row IN ({})"
        )
        return {
            row: Track(id_, name, None if artist is None else Artist(artist, artist_name), popularity)
            for row, id_, name, artist, artist_name, popularity in self._select(sql, rows)
        }

    def artists(self, rows: Sequence[int]) -> dict[int, CountedArtist]:
        """The artist of each of *rows*."""
        sql = "SELECT row, id, name, popularity FROM artists WHERE row IN ({})"
        return {row: CountedArtist(*artist) for row, *artist in self._select(sql, rows)}

    def search_tracks(self, text: str) -> Iterator[int]:
        """
        The rows of the tracks with each word of *text* in name or artist, the most popular first.

        The last word may be unfinished where it has three characters or more. Matches are found as they are taken, by
        popularity already, so that the first of a word of many tracks cost no more than those of one of few.
        """
        return self._search("track", text)

    def search_artists(self, text: str) -> Iterator[int]:
        """The rows of the artists with each word of *text* in their name; otherwise as `search_tracks`."""
        return self._search("artist", text)

    def track_ids(self) -> list[str]:
        """The ids of all tracks, by row."""
        return [id_ for (id_,) in self._database.execute("SELECT id FROM tracks ORDER BY row")]

    def artist_ids(self) -> list[str]:
        """The ids of all artists, by row."""
        return [id_ for (id_,) in self._database.execute("SELECT id FROM artists ORDER BY row")]

    def terms(self) -> tuple[list[str], list[str]]:
        """The words and the grams, each by row."""
        words, grams = (
            self._database.execute("SELECT term FROM terms WHERE gram = ? ORDER BY row", (gram,)) for gram in (0, 1)
        )
        return [term for (term,) in words], [term for (term,) in grams]

    def _search(self, kind: str, text: str) -> Iterator[int]:
        words = normalize_title(text).split()
        if not words:
            return
        unfinished = "*" if len(words[-1]) >= LEAST_PREFIX else ""
        sql = (
            f"SELECT found.row FROM {kind}_search JOIN {kind}s found ON found.rank = {kind}_search.rowid "
            f"WHERE {kind}_search MATCH ? ORDER BY {kind}_search.rowid"
        )
        phrases = " ".join(f'"{word}"' for word in words)
        for (row,) in self._database.execute(sql, (phrases + unfinished,)):
            yield row

    def _rows_by(self, table: str, column: str, keys: Sequence[str], order: str = "") -> dict[str, int]:
        name = column.rpartition(" ")[2]
        return dict(self._select(f"SELECT {name}, row FROM {table} WHERE {column} IN ({{}}) {order}", keys))

    def _select(self, sql: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            found += self._database.execute(sql.format(",".join("?" * len(part))), part).fetchall()
        return found


def _split(keys: Iterable[str], find: Callable[[Sequence[str]], dict[str, int]]) -> tuple[list[int], list[str]]:
    distinct = list(dict.fromkeys(keys))
    rows = find(distinct)
    return [rows[key] for key in distinct if key in rows], [key for key in distinct if key not in rows]
