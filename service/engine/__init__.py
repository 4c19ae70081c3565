"""
The recommender itself: playlist in, ranked tracks out.

It knows neither HTTP nor training. The trainer writes and evaluates through it, and the service answers through it.
"""

from service.engine.artifacts import FORMAT_VERSION, Artifacts, Manifest, Model, Shape
from service.engine.catalogue import Artist, Catalogue, Track
from service.engine.errors import (
    CorruptModel,
    EngineError,
    ModelError,
    NoModel,
    PlaylistError,
    StoreBusy,
    UnknownSeed,
    UnsupportedFormat,
)
from service.engine.features import Features, FeatureSpace, Ragged, Weights
from service.engine.foldin import fold_in, gram_matrix
from service.engine.recommender import Playlist, Recommendation, Recommender, ScoredArtist, ScoredTrack, Unknown
from service.engine.store import Store, new_version

__all__ = [
    "FORMAT_VERSION",
    "Artifacts",
    "Artist",
    "Catalogue",
    "CorruptModel",
    "EngineError",
    "FeatureSpace",
    "Features",
    "Manifest",
    "Model",
    "ModelError",
    "NoModel",
    "Playlist",
    "PlaylistError",
    "Ragged",
    "Recommendation",
    "Recommender",
    "ScoredArtist",
    "ScoredTrack",
    "Shape",
    "Store",
    "StoreBusy",
    "Track",
    "Unknown",
    "UnknownSeed",
    "UnsupportedFormat",
    "Weights",
    "fold_in",
    "gram_matrix",
    "new_version",
]
