"""Joins tracks and artists that some files name by their id, and others by their name alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from service.engine import Ragged, fold
from trainer.dataset.dataset import Dataset, Ints, Vocabulary, compact
from trainer.dataset.entries import Entries, ragged
from trainer.sources import track_id


def join_named(dataset: Dataset) -> Dataset:
    """
    Join each track with the id `ARTIST - NAME` to the one of that artist and name that has an id of its own.

    An artist whose id is the name joins the one of that name in the same way. Names are the same if `fold` makes them
    so. The most frequent track or artist is taken if there are several.
    """
    track_targets, artist_targets = _track_targets(dataset), _artist_targets(dataset)
    joined = [int(np.count_nonzero(each != np.arange(len(each)))) for each in (track_targets, artist_targets)]
    if not any(joined):
        return dataset
    tracks, artists = _redirected(dataset.tracks, track_targets), _redirected(dataset.artists, artist_targets)
    artists_of_tracks = np.append(artist_targets, np.int32(-1))[dataset.vocabulary.track_artists]
    vocabulary = replace(dataset.vocabulary, track_artists=artists_of_tracks)
    vocabulary, new_tracks, new_artists = compact(vocabulary, tracks.rows, artists.rows)
    return replace(
        dataset,
        tracks=replace(tracks, rows=new_tracks[tracks.rows]),
        artists=replace(artists, rows=new_artists[artists.rows]),
        vocabulary=vocabulary,
        joined_tracks=joined[0],
        joined_artists=joined[1],
    )


def _track_targets(dataset: Dataset) -> Ints:
    """Return the track that each track is joined to, its own row for most: int32, shape (n_tracks,)."""
    vocabulary = dataset.vocabulary
    ids = vocabulary.track_ids
    made = [row for row, id_ in enumerate(ids) if " - " in id_ and id_ == _made(vocabulary, row)]
    return _targets(len(ids), made, lambda row: fold(_made(vocabulary, row)), dataset.popularity)


def _artist_targets(dataset: Dataset) -> Ints:
    """Return the artist that each artist is joined to, its own row for most: int32, shape (n_artists,)."""
    ids, names = dataset.vocabulary.artist_ids, dataset.vocabulary.artist_names
    made = [row for row, (id_, name) in enumerate(zip(ids, names, strict=True)) if id_ == name]
    return _targets(len(ids), made, lambda row: fold(names[row]), dataset.artist_popularity)


def _made(vocabulary: Vocabulary, row: int) -> str:
    """Return the id that a track has if a file gives none."""
    return track_id(vocabulary.artist_name(row), vocabulary.track_names[row])


def _targets(n: int, made: Sequence[int], key: Callable[[int], str], popularity: Callable[[], Ints]) -> Ints:
    """Return the row that each of *n* rows is joined to; those *made* of names may join others with the same *key*."""
    targets = np.arange(n, dtype=np.int32)
    if not 0 < len(made) < n:
        return targets
    keys = {row: key(row) for row in made}
    wanted, counts, others = set(keys.values()), popularity(), np.delete(targets, made)
    rising = others[np.lexsort((-others, counts[others]))].tolist()  # the most frequent, the first of those, comes last
    found = {found_key: row for row in rising if (found_key := key(row)) in wanted}
    targets[made] = [found.get(keys[row], row) for row in made]
    return targets


def _redirected(items: Ragged, targets: Ints) -> Ragged:
    """Return *items* with their targets; a playlist has each once, at its first place, with its counts added up."""
    if not len(items.rows):
        return items
    entries = Entries(items.owners().astype(np.int32), targets[items.rows], items.counts, None)
    nothing = np.empty(0, np.int32)
    return ragged(len(items), len(targets), (nothing, nothing), [entries])
