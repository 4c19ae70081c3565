"""The matrix of confidences that ALS is fitted on."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix

from service.engine import Features, FeatureSpace, Ragged, Sample, Weights, normalize_title, title_grams, title_words
from trainer.dataset.dataset import CHUNK_PLAYLISTS, Dataset, chunks

MIN_TERM_PLAYLISTS = 2


@dataclass(frozen=True)
class TrainingMatrix:
    """
    The input of the fit.

    Attributes:
        confidences: float32 CSR, shape (n_playlists, n_features).
        space: the meaning of its columns.
        words, grams: the title terms of its last columns.
    """

    confidences: csr_matrix[np.float32]
    space: FeatureSpace
    words: Sequence[str]
    grams: Sequence[str]

    def sample(self, items: Ragged, titles: Sequence[str], kept: int, seed: int) -> Sample:
        """
        Return random playlists.

        Args:
            items: the items of each playlist.
            titles: the title of each playlist, as written; none if they are not to be kept.
            kept: number of playlists; all if there are fewer.
            seed: seed of the choice.
        """
        n_playlists, n_features = self.confidences.shape
        chosen = np.random.default_rng(seed).permutation(n_playlists)[:kept]
        part, alpha = self.confidences[chosen], np.float32(self.space.weights.alpha)
        strengths = (part.data - 1) / alpha if alpha else np.ones_like(part.data)
        features = Features(part.indptr.astype(np.int64), part.indices, strengths)
        frequencies = np.bincount(self.confidences.indices, minlength=n_features)
        kept_titles = [titles[index] for index in chosen.tolist()] if titles else ()
        return Sample(items.take(chosen), features, frequencies, n_playlists, kept_titles)


def training_matrix(dataset: Dataset, weights: Weights, chunk_playlists: int = CHUNK_PLAYLISTS) -> TrainingMatrix:
    """Build the matrix of confidences for all playlists of *dataset*."""
    vocabulary = dataset.vocabulary
    titles = [normalize_title(title) for title in dataset.titles]
    words, grams = _common_terms(titles, title_words), _common_terms(titles, title_grams)
    space = FeatureSpace(vocabulary.track_artists, len(vocabulary.artist_ids), len(words), len(grams), weights)
    terms = _term_columns(titles, words, grams, space.first_term)
    named = replace(dataset.artists, rows=dataset.artists.rows + np.int32(space.n_tracks))
    parts = [
        space.features(*(said.slice(*bounds) for said in (dataset.tracks, named, terms)))
        for bounds in chunks(len(dataset), chunk_playlists)
    ]
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    columns = np.concatenate([part.columns for part in parts])
    confidences = np.concatenate([space.confidences(part.strengths) for part in parts])
    offsets = np.concatenate(([0], np.cumsum(counts)))
    matrix = csr_matrix((confidences, columns, offsets), shape=(len(dataset), space.n_features))
    return TrainingMatrix(matrix, space, words, grams)


def _common_terms(titles: Iterable[str], terms_of: Callable[[str], set[str]]) -> list[str]:
    """Return the terms of normalised *titles* that occur in at least two playlists, sorted."""
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
