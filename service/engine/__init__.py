"""
The recommender itself: playlist in, ranked tracks out.

It knows neither HTTP nor training. The trainer writes and evaluates through it, and the service answers through it.
"""

from service.engine.artifacts import FORMAT_VERSION, KINDS, Artifacts, Kind, Manifest, Model, Shape
from service.engine.catalogue import Artist, Catalogue, CountedArtist, Track
from service.engine.errors import (
    CorruptModel,
    EngineError,
    ModelClosed,
    ModelError,
    NoModel,
    PlaylistError,
    StoreBusy,
    StoreChanged,
    UnknownSeed,
    UnsupportedFormat,
)
from service.engine.features import WEIGHTINGS, Features, FeatureSpace, Ragged, Weighting, Weights
from service.engine.foldin import fold_in, gram_matrix
from service.engine.recommender import Playlist, Plays, Recommendation, Recommender, ScoredArtist, ScoredTrack, Unknown
from service.engine.steps import Steps, finish
from service.engine.store import Store, new_version

__all__ = [
    "FORMAT_VERSION",
    "KINDS",
    "WEIGHTINGS",
    "Artifacts",
    "Artist",
    "Catalogue",
    "CorruptModel",
    "CountedArtist",
    "EngineError",
    "FeatureSpace",
    "Features",
    "Kind",
    "Manifest",
    "Model",
    "ModelClosed",
    "ModelError",
    "NoModel",
    "Playlist",
    "PlaylistError",
    "Plays",
    "Ragged",
    "Recommendation",
    "Recommender",
    "ScoredArtist",
    "ScoredTrack",
    "Shape",
    "Steps",
    "Store",
    "StoreBusy",
    "StoreChanged",
    "Track",
    "Unknown",
    "UnknownSeed",
    "UnsupportedFormat",
    "Weighting",
    "Weights",
    "finish",
    "fold_in",
    "gram_matrix",
    "new_version",
]
