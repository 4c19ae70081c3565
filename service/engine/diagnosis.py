"""A diagnosis of a playlist: the tracks that do not fit the others, and how focused it is, beside other playlists."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.artifacts import Artifacts
from service.engine.errors import PlaylistError
from service.engine.exact import unit
from service.engine.foldin import fold_in
from service.engine.seeds import Playlist, Seeds, Unknown

Floats = NDArray[np.float32]

COMPARED = 100  # kept playlists that others are compared with
LEAST, MOST = 5, 50  # tracks of such a playlist
ODD = 0.05  # a track that fits less than this share of tracks in other playlists does not fit
DECIMALS = 4


@dataclass(frozen=True)
class Measure:
    """
    A measure of a playlist or of one of its tracks.

    Attributes:
        value: a cosine, -1 to 1.
        percentile: the share of other playlists, or of tracks in them, with a lower one; None if none are kept.
    """

    value: float
    percentile: float | None

    @property
    def low(self) -> bool:
        """True if nearly all others are higher."""
        return self.percentile is not None and self.percentile < ODD


@dataclass(frozen=True)
class Diagnosis:
    """
    The diagnosis of one playlist.

    Attributes:
        seeds: the playlist as rows.
        rows: rows of its known tracks, those that fit least first.
        fits: the cosine of each with the vector of the rest of the playlist; None if nothing else is known.
        focus: the mean cosine of its tracks with each other; None for fewer than two.
    """

    seeds: Seeds
    rows: list[int]
    fits: list[Measure | None]
    focus: Measure | None


class Doctor:
    """Diagnoses playlists by one version."""

    def __init__(self, artifacts: Artifacts):
        self._artifacts = artifacts

    def diagnose(self, playlist: Playlist) -> Diagnosis:
        """
        Diagnose *playlist*.

        Raises:
            PlaylistError: none of its tracks is known.
        """
        weights = self._artifacts.space.weights
        seeds = self._artifacts.catalogue.seeds(playlist, weights.track_count, weights.artist_count)
        rows = seeds.tracks
        if not rows:
            raise PlaylistError("no track of the playlist is known, so there is nothing to diagnose")
        values = self._fits(seeds, range(len(rows)))
        focuses, others = self._others
        fits = [None if np.isnan(value) else _measure(value, others) for value in values.tolist()]
        order = np.argsort(values, kind="stable").tolist()
        focus = _measure(self._focus(rows), focuses) if len(rows) > 1 else None
        return Diagnosis(seeds, [rows[place] for place in order], [fits[place] for place in order], focus)

    @cached_property
    def _others(self) -> tuple[Floats, Floats]:
        """The focus of kept playlists, and the fit of one track of each, both ascending; empty if none are kept."""
        stages = self._artifacts.stages
        if stages is None or stages.kind != "tracks":
            return np.empty(0, np.float32), np.empty(0, np.float32)
        kept = stages.pooling.playlists
        lengths = np.diff(kept.item_offsets)
        chosen = np.flatnonzero((lengths >= LEAST) & (lengths <= MOST))[:COMPARED].tolist()
        lists = [kept.items[kept.item_offsets[one] : kept.item_offsets[one + 1]].tolist() for one in chosen]
        bare = [Seeds(rows, [], [], None, Unknown([], [], False)) for rows in lists]
        fits = [self._fits(each, [place % len(each.tracks)])[0] for place, each in enumerate(bare)]
        return np.sort(np.array(list(map(self._focus, lists)), np.float32)), np.sort(np.array(fits, np.float32))

    def _fits(self, seeds: Seeds, places: Sequence[int]) -> Floats:
        """Return the fit of the tracks in *places*, float32, shape (n_places,); NaN where nothing else is known."""
        artifacts = self._artifacts
        features = artifacts.space.weigh([_without(seeds, place) for place in places])
        dislikes, fits = artifacts.space.dislikes(seeds), np.full(len(places), np.nan, np.float32)
        vectors = self._directions([seeds.tracks[place] for place in places])
        for index in range(len(places)):
            columns, strengths = features[index]
            if len(columns):
                confidences = artifacts.space.confidences(strengths)
                x = fold_in(columns, confidences, artifacts.vectors, artifacts.gram, dislikes)
                fits[index] = unit(x) @ vectors[index]
        return fits

    def _focus(self, rows: Sequence[int]) -> float:
        vectors, n = self._directions(rows), len(rows)
        return float((np.square(vectors.sum(axis=0)).sum() - n) / (n * (n - 1)))

    def _directions(self, rows: Sequence[int]) -> Floats:
        return unit(self._artifacts.candidates["tracks"].ranking.take(np.array(rows, np.int64)))


def _without(seeds: Seeds, place: int) -> Seeds:
    """Return *seeds* without the track in *place*."""
    return replace(
        seeds,
        tracks=_dropped(seeds.tracks, place),
        counts=seeds.counts and _dropped(seeds.counts, place),
        weights=seeds.weights and _dropped(seeds.weights, place),
    )


def _dropped(items: list[Any], place: int) -> list[Any]:
    return items[:place] + items[place + 1 :]


def _measure(value: float, others: Floats) -> Measure:
    place = round(float(others.searchsorted(value)) / len(others), DECIMALS) if len(others) else None
    return Measure(round(value, DECIMALS), place)
