"""
Everything the engine refuses, as one tree.

    EngineError
    ├── PlaylistError           the caller asked for something that cannot be answered
    │   └── UnknownSeed         a neighbour was asked of an id that the catalogue does not hold
    └── ModelError              the files cannot be served
        ├── NoModel             nothing has been published yet
        ├── CorruptModel        a file is missing, cut short or differs from its checksum
        ├── UnsupportedFormat   the files were written by a release with another format
        ├── ModelClosed         a version was asked after it had been closed
        ├── StoreBusy           another run is writing to the same store
        └── StoreChanged        another version was published than the one to be replaced
"""


class EngineError(Exception):
    """Root of all errors that the engine raises on purpose."""


class PlaylistError(EngineError):
    """The fault lies in what was asked."""


class UnknownSeed(PlaylistError):
    """A seed of a neighbour search is not in the catalogue."""


class ModelError(EngineError):
    """The fault lies in the files of a model or in the store that holds them."""


class NoModel(ModelError):
    """The store holds no published version."""


class CorruptModel(ModelError):
    """A file of the version is missing, unreadable or differs from its checksum."""


class UnsupportedFormat(ModelError):
    """The version was written in a format that this release does not read."""


class ModelClosed(ModelError):
    """The version was closed; whoever holds it has to ask the one that is served now."""


class StoreChanged(ModelError):
    """Another version is current than the one that was to be replaced."""


class StoreBusy(ModelError):
    """Another process holds the store's writing lock."""
