"""A stream of playlists to arrays: the playlists, their vocabulary, and the matrix of confidences."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.engine import FeatureSpace, Ragged, Weights
from service.engine.features import normalize_title, title_grams, title_words
from trainer.errors import NothingToLearn
from trainer.sources import Playlist

CHUNK_PLAYLISTS = 20_000
MIN_TERM_PLAYLISTS = 2

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Vocabulary:
    """
    The tracks and artists of a dataset; row i of either is its i-th entry.

    Attributes:
        track_ids, track_names: one for each track.
        track_artists: int32, shape (n_tracks,). The artist's row of each track, -1 where it has none.
        artist_ids, artist_names: one for each artist.
    """

    track_ids: Sequence[str]
    track_names: Sequence[str]
    track_artists: Ints
    artist_ids: Sequence[str]
    artist_names: Sequence[str]

    def artist_name(self, track: int) -> str:
        """The name of the artist of the track in row *track*, '' where it has none."""
        artist = int(self.track_artists[track])
        return self.artist_names[artist] if artist >= 0 else ""


@dataclass(frozen=True)
class Dataset:
    """
    Playlists in memory.

    Attributes:
        playlist_ids, titles: one for each playlist.
        tracks: int32 rows of the vocabulary: the distinct tracks of each playlist by position, at least one.
        vocabulary: the tracks and artists.
        fingerprint: of all that was read, in whatever order it came.
        empty_playlists: how many playlists without tracks were passed over.
        repeated_ids: how many playlists have the id of an earlier one.
    """

    playlist_ids: Sequence[str]
    titles: Sequence[str]
    tracks: Ragged
    vocabulary: Vocabulary
    fingerprint: str
    empty_playlists: int = 0
    repeated_ids: int = 0

    def __len__(self) -> int:
        return len(self.playlist_ids)

    def popularity(self) -> Ints:
        """int32, shape (n_tracks,). In how many playlists each track is."""
        return np.bincount(self.tracks.rows, minlength=len(self.vocabulary.track_ids)).astype(np.int32)

    def select(self, chosen: Bools) -> "Dataset":
        """The *chosen* playlists, with a vocabulary of their tracks and artists alone."""
        indexes = np.flatnonzero(chosen)
        tracks = _take(self.tracks, chosen)
        vocabulary, new_rows = _compact(self.vocabulary, tracks.rows)
        return Dataset(
            [self.playlist_ids[index] for index in indexes.tolist()],
            [self.titles[index] for index in indexes.tolist()],
            Ragged(tracks.offsets, new_rows[tracks.rows]),
            vocabulary,
            self.fingerprint,
        )


@dataclass(frozen=True)
class TrainingMatrix:
    """
    What implicit is fitted on.

    Attributes:
        confidences: float32 CSR, shape (n_playlists, n_features).
        space: what its columns stand for.
        words, grams: the title terms of its last columns.
        artist_popularity: int32, shape (n_artists,). In how many playlists each artist is.
    """

    confidences: csr_matrix[np.float32]
    space: FeatureSpace
    words: Sequence[str]
    grams: Sequence[str]
    artist_popularity: Ints


def read_dataset(playlists: Iterable[Playlist]) -> Dataset:
    """
    Gather *playlists*; a track counts once in a playlist, and its name and artist are those it is first met with.

    Raises:
        NothingToLearn: no playlist has a track.
    """
    builder = _Builder()
    for playlist in playlists:
        builder.add(playlist)
    return builder.dataset()


def training_matrix(dataset: Dataset, weights: Weights) -> TrainingMatrix:
    """The matrix of confidences of all playlists of *dataset*."""
    vocabulary = dataset.vocabulary
    titles = [normalize_title(title) for title in dataset.titles]
    words, grams = _common_terms(titles, title_words), _common_terms(titles, title_grams)
    space = FeatureSpace(vocabulary.track_artists, len(vocabulary.artist_ids), len(words), len(grams), weights)
    terms = _term_columns(titles, words, grams, space.first_term)
    bounds = [*range(0, len(dataset), CHUNK_PLAYLISTS), len(dataset)]
    chunks = [space.features(dataset.tracks.slice(*bound), terms.slice(*bound)) for bound in pairwise(bounds)]
    counts = np.concatenate([np.diff(chunk.offsets) for chunk in chunks])
    columns = np.concatenate([chunk.columns for chunk in chunks])
    confidences = np.concatenate([space.confidences(chunk.strengths) for chunk in chunks])
    offsets = np.concatenate(([0], np.cumsum(counts)))
    matrix = csr_matrix((confidences, columns, offsets), shape=(len(dataset), space.n_features))
    return TrainingMatrix(matrix, space, words, grams, _artist_popularity(dataset))


def heldout(playlist_ids: Sequence[str], share: float, least: int, most_share: float) -> Bools:
    """
    Choose playlists by a hash of their ids, so that the same ones are chosen in every run, whatever is added.

    Args:
        playlist_ids: the id of each playlist.
        share: the part of the hash's range that is chosen, 0 to 1.
        least: where *share* gives fewer than so many, the part grows until it does.
        most_share: the part does not grow beyond this.

    Returns:
        bool, shape (n_playlists,).
    """
    places = np.fromiter((hash_share(id_) for id_ in playlist_ids), np.float64, len(playlist_ids))
    if (places < share).sum() < least:
        enough = np.sort(places)[least - 1] if len(places) >= least else 1.0
        share = min(float(np.nextafter(enough, 2)), most_share)
    return np.asarray(places < share)


def hash_share(playlist_id: str) -> float:
    """The place of *playlist_id* in the range of a hash, from 0 up to 1."""
    digest = hashlib.blake2b(_bytes(playlist_id), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class _Builder:
    """Playlists one by one into arrays."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._titles: list[str] = []
        self._lengths: list[int] = []
        self._rows: list[NDArray[np.int32]] = []
        self._track_rows: dict[str, int] = {}
        self._track_names: list[str] = []
        self._track_artists: list[int] = []
        self._artist_rows: dict[str, int] = {}
        self._artist_names: list[str] = []
        self._fingerprint = 0
        self._empty = 0

    def add(self, playlist: Playlist) -> None:
        if not playlist.tracks:
            self._empty += 1
            return
        known = self._track_rows
        for track in playlist.tracks:
            if track.id not in known:
                known[track.id] = len(known)
                self._track_names.append(track.name)
                self._track_artists.append(self._artist_row(track.artist_id, track.artist_name))
        rows = np.array(list(dict.fromkeys(known[track.id] for track in playlist.tracks)), np.int32)
        self._ids.append(playlist.id)
        self._titles.append(playlist.title)
        self._lengths.append(len(rows))
        self._rows.append(rows)
        self._fingerprint = (self._fingerprint + _fingerprint(playlist)) % 2**128

    def dataset(self) -> Dataset:
        if not self._ids:
            passed = f" ({self._empty} without tracks were passed over)" if self._empty else ""
            raise NothingToLearn(f"the data hold no playlist with tracks{passed}")
        vocabulary = Vocabulary(
            list(self._track_rows),
            self._track_names,
            np.array(self._track_artists, np.int32),
            list(self._artist_rows),
            self._artist_names,
        )
        return Dataset(
            self._ids,
            self._titles,
            Ragged(np.concatenate(([0], np.cumsum(self._lengths, dtype=np.int64))), np.concatenate(self._rows)),
            vocabulary,
            f"{self._fingerprint:032x}",
            self._empty,
            len(self._ids) - len(set(self._ids)),
        )

    def _artist_row(self, artist_id: str, name: str) -> int:
        if not artist_id:
            return -1
        row = self._artist_rows.setdefault(artist_id, len(self._artist_rows))
        if row == len(self._artist_names):
            self._artist_names.append(name or artist_id)
        return row


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _fingerprint(playlist: Playlist) -> int:
    return int.from_bytes(hashlib.blake2b(msgspec.json.encode(playlist), digest_size=16).digest(), "big")


def _take(ragged: Ragged, chosen: Bools) -> Ragged:
    lengths = np.diff(ragged.offsets)
    offsets = np.concatenate(([0], np.cumsum(lengths[chosen])))
    return Ragged(offsets, ragged.rows[np.repeat(chosen, lengths)])


def _compact(vocabulary: Vocabulary, rows: NDArray[np.integer[Any]]) -> tuple[Vocabulary, Ints]:
    """The part of *vocabulary* that *rows* mention, and the new row of each old track."""
    tracks = np.unique(rows)
    artists = np.unique(vocabulary.track_artists[tracks])
    artists = artists[artists >= 0]
    new_tracks, new_artists = (
        np.full(len(vocabulary.track_ids), -1, np.int32),
        np.full(len(vocabulary.artist_ids) + 1, -1, np.int32),
    )
    new_tracks[tracks] = np.arange(len(tracks), dtype=np.int32)
    new_artists[artists] = np.arange(len(artists), dtype=np.int32)
    compacted = Vocabulary(
        [vocabulary.track_ids[row] for row in tracks],
        [vocabulary.track_names[row] for row in tracks],
        new_artists[vocabulary.track_artists[tracks]],
        [vocabulary.artist_ids[row] for row in artists],
        [vocabulary.artist_names[row] for row in artists],
    )
    return compacted, new_tracks


def _common_terms(titles: Iterable[str], terms_of: Callable[[str], set[str]]) -> list[str]:
    """The terms of normalised *titles* that occur in two playlists or more, sorted."""
    counts: Counter[str] = Counter()
    for title, playlists in Counter(titles).items():
        for term in terms_of(title):
            counts[term] += playlists
    return sorted(term for term, playlists in counts.items() if playlists >= MIN_TERM_PLAYLISTS)


def _term_columns(titles: Sequence[str], words: Sequence[str], grams: Sequence[str], first: int) -> Ragged:
    word_rows = {word: row for row, word in enumerate(words, first)}
    gram_rows = {gram: row for row, gram in enumerate(grams, first + len(words))}
    rows_of: dict[str, list[int]] = {}
    for title in titles:
        if title not in rows_of:
            known = [word_rows[word] for word in title_words(title) if word in word_rows]
            rows_of[title] = known + [gram_rows[gram] for gram in title_grams(title) if gram in gram_rows]
    return Ragged.of([rows_of[title] for title in titles])


def _artist_popularity(dataset: Dataset) -> Ints:
    n_artists = len(dataset.vocabulary.artist_ids)
    popularity = np.zeros(n_artists, np.int64)
    for tracks in _chunks(dataset.tracks):
        artists = dataset.vocabulary.track_artists[tracks.rows]
        pairs = np.unique((tracks.owners() * n_artists + artists)[artists >= 0])
        popularity += np.bincount(pairs % n_artists, minlength=n_artists) if n_artists else 0
    return popularity.astype(np.int32)


def _chunks(ragged: Ragged) -> Iterator[Ragged]:
    bounds = [*range(0, len(ragged), CHUNK_PLAYLISTS), len(ragged)]
    return (ragged.slice(start, stop) for start, stop in pairwise(bounds))
