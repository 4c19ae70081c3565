"""The two stages from a playlist's rows to ranked candidates: the pool and the ranker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.exact import Mask, RankingVectors
from service.engine.features import Features, FeatureSpace
from service.engine.foldin import fold_in
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
    The stages of one version.

    Attributes:
        kind: the kind of the candidates.
        space: the columns and weights of features.
        vectors: float32, shape (n_features, n_factors). Y.
        gram: float32, shape (n_factors, n_factors). Y'Y + lambda I.
        pooling: the choice of candidates.
        ranker: the ranker; None in a version that one learns from.
    """

    kind: Kind
    space: FeatureSpace
    vectors: Floats
    gram: Floats
    pooling: Pooling
    ranker: Ranker | None

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], shape: Shape, space: FeatureSpace, n_neighbours: int) -> Self:
        """Return the stages of a version with these *arrays*, by the names of their files."""
        kind = shape.kind
        names = ("heads", "tails", "norms", "tail_norms")
        ranking = RankingVectors(*(arrays[f"{kind}_{name}"] for name in names))
        popularity, of_artists = arrays[f"{kind}_popularity"], arrays["artists_popularity"]
        artists = arrays["track_artists"] if kind == "tracks" else np.full(shape.artists, -1, np.int32)
        facts = ItemFacts(arrays["vectors"][shape.rows(kind)], ranking, popularity, artists, of_artists)
        pooling = Pooling(facts, Playlists.open(arrays), n_neighbours)
        ranker = Ranker.open(arrays) if shape.ranker_units else None
        return cls(kind, space, arrays["vectors"], arrays["gram"], pooling, ranker)

    def solve(self, features: Features, index: int) -> Floats:
        """
        Return the vector of playlist *index* of a batch: float32, shape (n_factors,).

        Raises:
            PlaylistError: it has no features.
        """
        columns, strengths = features[index]
        return fold_in(columns, self.space.confidences(strengths), self.vectors, self.gram)

    def pool(
        self, features: Features, index: int, seeds: Seeds, barred: Sequence[int], blocked: Mask | None, k: int
    ) -> Pool:
        """
        Return the candidates of playlist *index* of a batch.

        Args:
            features: the features of the batch; those of this playlist are not empty.
            index: its place.
            seeds: the playlist as rows.
            barred, blocked, k: as `Pooling.pool` takes them.
        """
        unknown, titled = seeds.unknown, bool(seeds.terms) or seeds.unknown.title
        x, n_terms = self.solve(features, index), len(seeds.terms)
        if self.kind == "tracks":
            query = Query(x, seeds.tracks, seeds.artists, len(unknown.tracks), n_terms, titled)
        else:
            query = Query(x, seeds.artists, (), len(unknown.artists), n_terms, titled)
        return self.pooling.pool(query, features[index], barred, blocked, k)
