"""Joins tracks that some files name by their id, and others by artist and name alone."""

from dataclasses import replace

import numpy as np

from service.engine import Ragged, fold
from trainer.dataset.dataset import Dataset, Ints, Vocabulary, compact
from trainer.dataset.entries import Entries, ragged
from trainer.sources import track_id


def join_named(dataset: Dataset) -> Dataset:
    """
    Join each track with the id `ARTIST - NAME` to the one of that artist and name that has an id of its own.

    Artists and names are the same if `fold` makes them so. The most frequent track is taken if there are several.
    """
    targets = _targets(dataset)
    joined = np.count_nonzero(targets != np.arange(len(targets)))
    if not joined:
        return dataset
    tracks = _redirected(dataset.tracks, targets)
    vocabulary, new_tracks, new_artists = compact(dataset.vocabulary, tracks.rows, dataset.artists.rows)
    return replace(
        dataset,
        tracks=replace(tracks, rows=new_tracks[tracks.rows]),
        artists=replace(dataset.artists, rows=new_artists[dataset.artists.rows]),
        vocabulary=vocabulary,
        joined_tracks=int(joined),
    )


def _targets(dataset: Dataset) -> Ints:
    """Return the track that each track is joined to, its own row for most: int32, shape (n_tracks,)."""
    vocabulary = dataset.vocabulary
    targets = np.arange(len(vocabulary.track_ids), dtype=np.int32)
    made = [row for row, id_ in enumerate(vocabulary.track_ids) if " - " in id_ and id_ == _made(vocabulary, row)]
    if 0 < len(made) < len(targets):
        keys = [fold(vocabulary.track_ids[row]) for row in made]
        found = _with_ids(dataset, np.delete(targets, made), set(keys))
        targets[made] = [found.get(key, row) for key, row in zip(keys, made, strict=True)]
    return targets


def _with_ids(dataset: Dataset, rows: Ints, wanted: set[str]) -> dict[str, int]:
    """Return the most frequent track among *rows* for each *wanted* artist and name, the first of those as frequent."""
    rising = rows[np.lexsort((-rows, dataset.popularity()[rows]))]
    keys = ((fold(_made(dataset.vocabulary, row)), row) for row in rising.tolist())
    return {key: row for key, row in keys if key in wanted}


def _made(vocabulary: Vocabulary, row: int) -> str:
    """Return the id that a track has if a file gives none."""
    return track_id(vocabulary.artist_name(row), vocabulary.track_names[row])


def _redirected(tracks: Ragged, targets: Ints) -> Ragged:
    """Return *tracks* with their targets; a playlist has each once, at its first place, with its counts added up."""
    entries = Entries(tracks.owners().astype(np.int32), targets[tracks.rows], tracks.counts, None)
    nothing = np.empty(0, np.int32)
    return ragged(len(tracks), len(targets), (nothing, nothing), [entries])
