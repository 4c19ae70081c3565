"""
The recommender: playlists in, ranked tracks or artists out.

It knows neither HTTP nor training. The trainer writes and evaluates versions through it, the service answers with it.
"""

from service.engine.artifacts import Artifacts
from service.engine.attributes import Column, Words
from service.engine.catalogue import Catalogue
from service.engine.controls import Controls
from service.engine.diagnosis import Diagnosis, Measure
from service.engine.encoder import installed_encoder
from service.engine.errors import (
    BadFilter,
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
    UnusableStore,
)
from service.engine.exact import search_neighbours_exactly, unit
from service.engine.features import (
    WEIGHTINGS,
    Features,
    FeatureSpace,
    Ragged,
    Weighting,
    Weights,
)
from service.engine.files import write_array, write_text
from service.engine.foldin import fold_in, gram_matrix
from service.engine.ids import bare_id
from service.engine.inputs import INPUTS, INPUTS_OF_CANDIDATES
from service.engine.items import (
    KINDS,
    Artist,
    CountedArtist,
    Item,
    Items,
    Kind,
    ScoredArtist,
    ScoredItem,
    ScoredTrack,
    Track,
)
from service.engine.manifest import FORMAT_VERSION, Manifest, Shape
from service.engine.playlists import Sample
from service.engine.pool import Pool
from service.engine.question import Options, Recommendation
from service.engine.ranker import Ranker, damp, standardize
from service.engine.recommender import Recommender
from service.engine.seeds import Playlist, Plays, Unknown
from service.engine.store import Store
from service.engine.text import fold, normalize_title, title_grams, title_words
from service.engine.writing import ItemTable, Model, amend_version, write_version

__all__ = [
    "FORMAT_VERSION",
    "INPUTS",
    "INPUTS_OF_CANDIDATES",
    "KINDS",
    "WEIGHTINGS",
    "Artifacts",
    "Artist",
    "BadFilter",
    "Catalogue",
    "Column",
    "Controls",
    "CorruptModel",
    "CountedArtist",
    "Diagnosis",
    "EngineError",
    "FeatureSpace",
    "Features",
    "Item",
    "ItemTable",
    "Items",
    "Kind",
    "Manifest",
    "Measure",
    "Model",
    "ModelClosed",
    "ModelError",
    "NoModel",
    "Options",
    "Playlist",
    "PlaylistError",
    "Plays",
    "Pool",
    "Ragged",
    "Ranker",
    "Recommendation",
    "Recommender",
    "Sample",
    "ScoredArtist",
    "ScoredItem",
    "ScoredTrack",
    "Shape",
    "Store",
    "StoreBusy",
    "StoreChanged",
    "Track",
    "Unknown",
    "UnknownSeed",
    "UnsupportedFormat",
    "UnusableStore",
    "Weighting",
    "Weights",
    "Words",
    "amend_version",
    "bare_id",
    "damp",
    "fold",
    "fold_in",
    "gram_matrix",
    "installed_encoder",
    "normalize_title",
    "search_neighbours_exactly",
    "standardize",
    "title_grams",
    "title_words",
    "unit",
    "write_array",
    "write_text",
    "write_version",
]
