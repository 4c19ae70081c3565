"""Warm start: the fit continues from the vectors of the published version."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import Artifacts
from trainer.config import TrainingConfig
from trainer.dataset import Dataset
from trainer.dataset.matrix import TrainingMatrix
from trainer.fitting.factorize import Floats, random_vectors
from trainer.progress import say

LEAST_SHARED = 0.5  # of the entries; below it, a few iterations are not enough for the rest


@dataclass(frozen=True)
class WarmStart:
    """
    The vectors that a fit starts from.

    Attributes:
        version: the version that they come from.
        vectors: float32, shape (n_features, n_factors), for the new matrix; random for features that are new.
        shared: the number of features that are not new.
    """

    version: str
    vectors: Floats
    shared: int


def prepare(start: Artifacts, dataset: Dataset, matrix: TrainingMatrix, config: TrainingConfig) -> WarmStart | None:
    """Map the vectors of *start* to the columns of *matrix*; None if the two have too little in common."""
    shape, version = start.manifest.shape, start.manifest.version
    if shape.factors != config.factors:
        say(f"cold start: {version} has {shape.factors} factors, this run has {config.factors}")
        return None
    words, grams = start.catalogue.terms()
    old = (start.catalogue.ids("tracks"), start.catalogue.ids("artists"), words, grams)
    new = (dataset.vocabulary.track_ids, dataset.vocabulary.artist_ids, matrix.words, matrix.grams)
    rows = _old_rows(old, new)
    vectors = random_vectors(len(rows), config.factors, config.seed)
    known = rows >= 0
    share = float(known[matrix.confidences.indices].mean())
    if share < LEAST_SHARED:
        say(f"cold start: {version} knows only {share:.0%} of these data")
        return None
    vectors[known] = start.vectors[rows[known]]
    return WarmStart(version, vectors, int(known.sum()))


def _old_rows(old: Sequence[Sequence[str]], new: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return the row of each *new* feature among the *old* ones of the same kind, -1 if it is new."""
    rows, first = [], 0
    for old_keys, new_keys in zip(old, new, strict=True):
        places = {key: row for row, key in enumerate(old_keys, first)}
        rows.append(np.fromiter((places.get(key, -1) for key in new_keys), np.int64, len(new_keys)))
        first += len(old_keys)
    return np.concatenate(rows)
