"""Playlists in memory: their vocabulary, those that are held out, and the matrix of confidences."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.engine import FeatureSpace, Kind, Ragged, Weights
from service.engine.features import normalize_title, title_grams, title_words
from trainer.sources import Artist, Track

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

    def track(self, row: int) -> Track:
        """The track in row *row*."""
        artist = int(self.track_artists[row])
        artist_id = self.artist_ids[artist] if artist >= 0 else ""
        return Track(self.track_ids[row], self.track_names[row], artist_id, self.artist_name(row))

    def artist(self, row: int) -> Artist:
        """The artist in row *row*."""
        return Artist(self.artist_ids[row], self.artist_names[row])

    def artist_name(self, track: int) -> str:
        """The name of the artist of the track in row *track*, '' where it has none."""
        artist = int(self.track_artists[track])
        return self.artist_names[artist] if artist >= 0 else ""


@dataclass(frozen=True)
class Dataset:
    """
    Playlists in memory; a listener is a playlist whose tracks or artists have counts.

    Attributes:
        playlist_ids, titles: one for each playlist.
        tracks: int32 rows of the vocabulary: the distinct tracks of each playlist by position.
        artists: int32 rows of the vocabulary: the distinct artists that each playlist names beside its tracks.
        vocabulary: the tracks and artists.
        fingerprint: of all that was read, in whatever order it came.
        empty_playlists: how many playlists without tracks were passed over.
        repeated_ids: how many playlists have the id of an earlier one.
    """

    playlist_ids: Sequence[str]
    titles: Sequence[str]
    tracks: Ragged
    artists: Ragged
    vocabulary: Vocabulary
    fingerprint: str
    empty_playlists: int = 0
    repeated_ids: int = 0

    def __len__(self) -> int:
        return len(self.playlist_ids)

    @property
    def kind(self) -> Kind:
        """What is recommended: tracks, where there are any."""
        return "tracks" if self.vocabulary.track_ids else "artists"

    @property
    def items(self) -> Ragged:
        """Those rows of each playlist that are recommended."""
        return self.tracks if self.kind == "tracks" else self.artists

    @property
    def listening(self) -> bool:
        """Whether this is what people listened to, and not playlists: it has counts, or no tracks."""
        return self.tracks.counts is not None or self.artists.counts is not None or self.kind == "artists"

    @property
    def entries(self) -> int:
        """The number of distinct tracks and artists over all playlists."""
        return len(self.tracks.rows) + len(self.artists.rows)

    def popularity(self) -> Ints:
        """int32, shape (n_tracks,). In how many playlists each track is."""
        return np.bincount(self.tracks.rows, minlength=len(self.vocabulary.track_ids)).astype(np.int32)

    def artist_popularity(self) -> Ints:
        """int32, shape (n_artists,). In how many playlists each artist is, named or by one of its tracks."""
        n_artists = len(self.vocabulary.artist_ids)
        popularity = np.zeros(n_artists, np.int64)
        for start, stop in _chunks(len(self)):
            tracks, named = self.tracks.slice(start, stop), self.artists.slice(start, stop)
            owners = np.concatenate((tracks.owners(), named.owners()))
            artists = np.concatenate((self.vocabulary.track_artists[tracks.rows], named.rows))
            pairs = np.unique((owners * n_artists + artists)[artists >= 0])
            popularity += np.bincount(pairs % n_artists, minlength=n_artists) if n_artists else 0
        return popularity.astype(np.int32)

    def counts(self, cap: float) -> dict[str, float]:
        """
        What the manifest says of the counts: the mean length of a playlist, and what an item counts by default.

        Args:
            cap: a count beyond it counts as much as the cap.
        """
        counted = self.tracks if len(self.tracks.rows) else self.artists
        total = len(counted.rows) if counted.counts is None else np.minimum(counted.counts, cap).sum(dtype=np.float64)
        return {
            "mean_length": float(total / len(self)),
            "track_count": _median(self.tracks.counts),
            "artist_count": _median(self.artists.counts if len(self.artists.rows) else self.tracks.counts),
        }

    def select(self, chosen: Bools) -> "Dataset":
        """The *chosen* playlists, with a vocabulary of their tracks and artists alone."""
        indexes = np.flatnonzero(chosen).tolist()
        tracks, artists = self.tracks.select(chosen), self.artists.select(chosen)
        vocabulary, new_tracks, new_artists = _compact(self.vocabulary, tracks.rows, artists.rows)
        return Dataset(
            [self.playlist_ids[index] for index in indexes],
            [self.titles[index] for index in indexes],
            replace(tracks, rows=new_tracks[tracks.rows]),
            replace(artists, rows=new_artists[artists.rows]),
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
    """

    confidences: csr_matrix[np.float32]
    space: FeatureSpace
    words: Sequence[str]
    grams: Sequence[str]


def training_matrix(dataset: Dataset, weights: Weights) -> TrainingMatrix:
    """The matrix of confidences of all playlists of *dataset*."""
    vocabulary = dataset.vocabulary
    titles = [normalize_title(title) for title in dataset.titles]
    words, grams = _common_terms(titles, title_words), _common_terms(titles, title_grams)
    space = FeatureSpace(vocabulary.track_artists, len(vocabulary.artist_ids), len(words), len(grams), weights)
    terms = _term_columns(titles, words, grams, space.first_term)
    named = replace(dataset.artists, rows=dataset.artists.rows + np.int32(space.n_tracks))
    chunks = [
        space.features(*(said.slice(*bounds) for said in (dataset.tracks, named, terms)))
        for bounds in _chunks(len(dataset))
    ]
    counts = np.concatenate([np.diff(chunk.offsets) for chunk in chunks])
    columns = np.concatenate([chunk.columns for chunk in chunks])
    confidences = np.concatenate([space.confidences(chunk.strengths) for chunk in chunks])
    offsets = np.concatenate(([0], np.cumsum(counts)))
    matrix = csr_matrix((confidences, columns, offsets), shape=(len(dataset), space.n_features))
    return TrainingMatrix(matrix, space, words, grams)


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
    return playlist_hash(playlist_id) / 2**64


def playlist_hash(playlist_id: str) -> int:
    """A hash of *playlist_id*, 64 bits."""
    return int.from_bytes(hashlib.blake2b(to_bytes(playlist_id), digest_size=8).digest(), "big")


def to_bytes(text: str) -> bytes:
    """*text* as bytes, whatever it holds."""
    return text.encode("utf-8", "surrogatepass")


def _median(counts: NDArray[np.float32] | None) -> float:
    return 1.0 if counts is None or not len(counts) else float(np.median(counts))


def _compact(
    vocabulary: Vocabulary, tracks: NDArray[np.integer[Any]], artists: NDArray[np.integer[Any]]
) -> tuple[Vocabulary, Ints, Ints]:
    """The part of *vocabulary* that the rows of *tracks* and *artists* mention, and the new row of each old one."""
    kept_tracks = np.unique(tracks)
    kept_artists = np.unique(np.concatenate((vocabulary.track_artists[kept_tracks], artists)))
    kept_artists = kept_artists[kept_artists >= 0]
    new_tracks = _renumber(kept_tracks, len(vocabulary.track_ids))
    new_artists = _renumber(kept_artists, len(vocabulary.artist_ids) + 1)  # the last stands for 'no artist', row -1
    compacted = Vocabulary(
        [vocabulary.track_ids[row] for row in kept_tracks],
        [vocabulary.track_names[row] for row in kept_tracks],
        new_artists[vocabulary.track_artists[kept_tracks]],
        [vocabulary.artist_ids[row] for row in kept_artists],
        [vocabulary.artist_names[row] for row in kept_artists],
    )
    return compacted, new_tracks, new_artists


def _renumber(kept: NDArray[np.integer[Any]], n_rows: int) -> Ints:
    """int32, shape (n_rows,). The place of each row among those *kept*, -1 where it is not."""
    rows = np.full(n_rows, -1, np.int32)
    rows[kept] = np.arange(len(kept), dtype=np.int32)
    return rows


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


def _chunks(n_playlists: int) -> list[tuple[int, int]]:
    """Where chunks of playlists begin and end, so that what is made of them by the way stays small."""
    return list(pairwise([*range(0, n_playlists, CHUNK_PLAYLISTS), n_playlists]))
