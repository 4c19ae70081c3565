"""The two stages from a playlist's vector to ranked candidates: the pool and the ranker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.exact import Mask, RankingVectors
from service.engine.inputs import Floats, ItemFacts, Query
from service.engine.items import Kind
from service.engine.manifest import Shape
from service.engine.playlists import Playlists
from service.engine.pool import Pool, Pooling
from service.engine.ranker import Ranker
from service.engine.seeds import Seeds
from service.engine.titles import Titles


@dataclass(frozen=True)
class Stages:
    """
    The stages of one version after the solve.

    Attributes:
        kind: the kind of the candidates.
        pooling: the choice of candidates.
        ranker: the ranker; None in a version that one learns from.
    """

    kind: Kind
    pooling: Pooling
    ranker: Ranker | None

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        shape: Shape,
        ranking: RankingVectors,
        n_neighbours: int,
        titles: Titles | None,
    ) -> Self:
        """
        Return the stages of a version.

        Args:
            arrays: its arrays by the names of their files.
            shape: their sizes.
            ranking: the vectors that rank the items of its kind.
            n_neighbours, titles: as `Pooling` has them.
        """
        kind = shape.kind
        popularity, of_artists = arrays[f"{kind}_popularity"], arrays["artists_popularity"]
        artists = arrays["track_artists"] if kind == "tracks" else np.full(shape.artists, -1, np.int32)
        facts = ItemFacts(ranking, popularity, artists, of_artists)
        pooling = Pooling(facts, Playlists.open(arrays), n_neighbours, titles)
        return cls(kind, pooling, Ranker.open(arrays) if shape.ranker_networks else None)

    def understands(self, seeds: Seeds) -> bool:
        """Return whether they know something of a playlist of which no feature is known."""
        return self.pooling.titles is not None and bool(seeds.title)

    def pool(
        self,
        x: Floats,
        features: tuple[NDArray[np.int32], Floats],
        seeds: Seeds,
        barred: Sequence[int],
        blocked: Mask | None,
        k: int,
    ) -> Pool:
        """
        Return the candidates of a playlist.

        Args:
            x: float32, shape (n_factors,). Its vector.
            features: its features and their strengths.
            seeds: the playlist as rows.
            barred, blocked, k: as `Pooling.pool` takes them.
        """
        unknown, titled, n_terms = seeds.unknown, bool(seeds.terms) or seeds.unknown.title, len(seeds.terms)
        if self.kind == "tracks":
            rows, artists, n_unknown = seeds.tracks, seeds.artists, len(unknown.tracks)
        else:
            rows, artists, n_unknown = seeds.artists, [], len(unknown.artists)
        strengths = _strengths(rows, features)
        query = Query(x, rows, strengths, artists, n_unknown, n_terms, titled, seeds.title)
        return self.pooling.pool(query, features, barred, blocked, k)


def _strengths(rows: Sequence[int], features: tuple[NDArray[np.int32], Floats]) -> Floats:
    """
    Return the strength of each item of *rows* among *features*, whose columns ascend; 0 for a missing one.

    The candidates are tracks, or artists of a version without tracks, so their rows are their columns.
    """
    columns, strengths = np.append(features[0], -1), np.append(features[1], np.float32(0))
    places = features[0].searchsorted(rows)
    return np.where(columns[places] == rows, strengths[places], np.float32(0))
