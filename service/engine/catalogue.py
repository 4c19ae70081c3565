"""
The catalogue: ids and names to rows and back, popularity, and search by name, in one SQLite file.

Python keeps no copy of it, so a catalogue of millions costs the service no memory beside the cache of the system.
"""

import os
import sqlite3
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from service.engine.errors import CorruptModel
from service.engine.features import normalize_title, title_terms
from service.engine.files import reading
from service.engine.items import ITEMS, Artist, Item, Kind
from service.engine.seeds import Playlist, Plays, Seeds, Unknown

SCHEMA = """
CREATE TABLE tracks (
    row INTEGER PRIMARY KEY,  -- of the arrays and of tracks.ann
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    artist INTEGER REFERENCES artists,
    popularity INTEGER NOT NULL,  -- number of playlists with it
    rank INTEGER NOT NULL  -- place among all tracks by popularity, then id; rowid in track_search
);
CREATE TABLE artists (
    row INTEGER PRIMARY KEY,  -- of the artists' arrays and of artists.ann; in vectors.npy they follow the tracks
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,  -- the name regardless of case
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
    SELECT t.rank, search_text(t.name), search_text(coalesce(a.name, ''))
    FROM tracks t LEFT JOIN artists a ON a.row = t.artist ORDER BY t.rank;
INSERT INTO artist_search (rowid, name) SELECT rank, search_text(name) FROM artists ORDER BY rank;
INSERT INTO track_search (track_search) VALUES ('optimize');
INSERT INTO artist_search (artist_search) VALUES ('optimize');
PRAGMA optimize;
"""

CATALOGUE = "catalogue.sqlite"

# SQLite allows 32,766 variables in one statement; short statements stay in its cache.
CHUNK = 1000
LEAST_PREFIX = 3
SYMBOLS = "\ue000"  # private use: the tokenizer counts it as a letter, and `normalize_title` removes it from texts
MAPPED_BYTES = 1 << 34


def fold_name(name: str) -> str:
    """Return *name* regardless of case."""
    return name.casefold()


def search_text(text: str) -> str:
    """
    Return *text* as the search index holds it and as a query asks for it.

    A text without letters and digits has no words. It becomes one word of its own, between characters that no other
    word has, so that it matches as a whole.
    """
    words = normalize_title(text)
    if any(map(str.isalnum, words)):
        return words
    symbols = unicodedata.normalize("NFKC", text).casefold().strip()
    return symbols and SYMBOLS + symbols.encode("utf-8", "surrogatepass").hex() + SYMBOLS


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
        database.create_function("search_text", 1, search_text, deterministic=True)
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


Record = tuple[Any, ...]  # the fields of an item, its popularity last


def _tracks(found: Iterable[Record]) -> dict[int, Record]:
    return {
        row: (id_, name, None if artist is None else Artist(artist, artist_name), popularity)
        for row, id_, name, artist, artist_name, popularity in found
    }


def _artists(found: Iterable[Record]) -> dict[int, Record]:
    return {row: (id_, name, popularity) for row, id_, name, popularity in found}


# The columns by which a key is looked up, one after another: the form of the key in that column, and an order. Of rows
# with the same key the last one counts, which is then the most popular.
LOOKUPS: Mapping[Kind, Sequence[tuple[str, Callable[[str], str], str]]] = {
    "tracks": [("id", str, "")],
    "artists": [("id", str, ""), ("name", str, "ORDER BY rank DESC"), ("folded", fold_name, "ORDER BY rank DESC")],
}

# The statement that reads items by their rows, and the function that makes their records.
RECORDS: Mapping[Kind, tuple[str, Callable[[Iterable[Record]], dict[int, Record]]]] = {
    "tracks": (
        "SELECT t.row, t.id, t.name, a.id, a.name, t.popularity "
        "FROM tracks t LEFT JOIN artists a ON a.row = t.artist WHERE t.row IN ({})",
        _tracks,
    ),
    "artists": ("SELECT row, id, name, popularity FROM artists WHERE row IN ({})", _artists),
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

        A track is found by its id. An artist is found by its id, then by its name as written, then by its name
        regardless of case; of artists with the same name the most popular is found.
        """
        found: dict[str, int] = {}
        for column, fold, order in LOOKUPS[kind]:
            left = {key: fold(key) for key in keys if key not in found}
            if not left:
                break
            rows = self._rows_by(kind, column, list(dict.fromkeys(left.values())), order)
            found |= {key: rows[folded] for key, folded in left.items() if folded in rows}
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
            track_count: the count of each of its tracks.
            artist_count: the count of an artist that it names without one.
        """
        tracks, unknown_tracks = self.rows("tracks", playlist.tracks)
        artists, unknown_artists = self._counted_artists(playlist.artists, artist_count)
        terms = self.term_rows(playlist.title)
        counts = [track_count] * len(tracks) + list(artists.values()) + [1.0] * len(terms)
        unknown = Unknown(unknown_tracks, unknown_artists, bool(playlist.title) and not terms)
        bare = counts.count(1) == len(counts)
        return Seeds(tracks, list(artists), terms, None if bare else counts, unknown)

    def rows_of_ids(self, kind: Kind, ids: Collection[str]) -> list[int]:
        """Return the rows of the distinct *ids* that are known, in no order; names do not count."""
        return list(self._rows_by(kind, "id", list(ids)).values())

    def term_rows(self, title: str) -> list[int]:
        """Return the rows of the known terms of *title*, words before grams, each ascending."""
        words, grams = title_terms(title)
        rows = self._rows_by("terms", "gram = 0 AND term", sorted(words)).values()
        return sorted(rows) + sorted(self._rows_by("terms", "gram = 1 AND term", sorted(grams)).values())

    def records(self, kind: Kind, rows: Sequence[int]) -> dict[int, Record]:
        """Return the fields of the track or artist of each of *rows*, its popularity last."""
        sql, make = RECORDS[kind]
        return make(self._select(sql, rows))

    def items(self, kind: Kind, rows: Sequence[int]) -> dict[int, Item]:
        """Return the track or artist of each of *rows*."""
        return {row: ITEMS[kind](*record) for row, record in self.records(kind, rows).items()}

    def search(self, kind: Kind, text: str) -> Iterator[int]:
        """
        Yield the rows of the items that contain each word of *text*, the most popular first.

        A track is searched by its name and artist, an artist by its name. The last word may be unfinished if it has
        three characters or more. A text without letters and digits matches names that are equal to it. Matches are
        found while they are taken, already by popularity, so the first matches of a frequent word cost no more than
        those of a rare one.
        """
        words = search_text(text).split()
        if not words:
            return
        unfinished = "*" if len(words[-1]) >= LEAST_PREFIX else ""
        index = f"{kind.removesuffix('s')}_search"
        sql = (
            f"SELECT found.row FROM {index} JOIN {kind} found ON found.rank = {index}.rowid "
            f"WHERE {index} MATCH ? ORDER BY {index}.rowid"
        )
        phrases = " ".join(f'"{word}"' for word in words)
        for (row,) in self._database.execute(sql, (phrases + unfinished,)):
            yield row

    def ids(self, kind: Kind) -> list[str]:
        """Return all ids, by row."""
        return [id_ for (id_,) in self._database.execute(f"SELECT id FROM {kind} ORDER BY row")]

    def terms(self) -> tuple[list[str], list[str]]:
        """Return the words and the grams, each by row."""
        words, grams = (
            self._database.execute("SELECT term FROM terms WHERE gram = ? ORDER BY row", (gram,)) for gram in (0, 1)
        )
        return [term for (term,) in words], [term for (term,) in grams]

    def _counted_artists(self, artists: Sequence[str | Plays], default: float) -> tuple[dict[int, float], list[str]]:
        """Return the count of each known artist by its row, and the names of the unknown artists."""
        if not artists:
            return {}, []
        named: dict[str, float] = {}
        for artist in artists:
            name, count = (artist.artist, artist.count) if isinstance(artist, Plays) else (artist, default)
            named[name] = max(count, named.get(name, 0))
        rows = self.find("artists", list(named))
        counts: dict[int, float] = {}
        for name, row in rows.items():
            counts[row] = max(named[name], counts.get(row, 0))  # by id and by name it is still one artist
        return counts, [name for name in named if name not in rows]

    def _rows_by(self, table: str, column: str, keys: Sequence[str], order: str = "") -> dict[str, int]:
        name = column.rpartition(" ")[2]
        return dict(self._select(f"SELECT {name}, row FROM {table} WHERE {column} IN ({{}}) {order}", keys))

    def _select(self, sql: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            found += self._database.execute(sql.format(",".join("?" * len(part))), part).fetchall()
        return found
