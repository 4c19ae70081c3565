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
    def of(cls, arrays: Mapping[str, NDArray[Any]], shape: Shape, n_neighbours: int) -> Self:
        """Return the stages of a version with these *arrays*, by the names of their files."""
        kind = shape.kind
        names = ("heads", "tails", "norms", "tail_norms")
        ranking = RankingVectors(*(arrays[f"{kind}_{name}"] for name in names))
        popularity, of_artists = arrays[f"{kind}_popularity"], arrays["artists_popularity"]
        artists = arrays["track_artists"] if kind == "tracks" else np.full(shape.artists, -1, np.int32)
        facts = ItemFacts(arrays["vectors"][shape.rows(kind)], ranking, popularity, artists, of_artists)
        pooling = Pooling(facts, Playlists.open(arrays), n_neighbours)
        return cls(kind, pooling, Ranker.open(arrays) if shape.ranker_units else None)

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
            query = Query(x, seeds.tracks, seeds.artists, len(unknown.tracks), n_terms, titled)
        else:
            query = Query(x, seeds.artists, (), len(unknown.artists), n_terms, titled)
        return self.pooling.pool(query, features, barred, blocked, k)
