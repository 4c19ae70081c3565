"""
The errors of the engine, as one tree.

    EngineError
    ├── PlaylistError           the question cannot be answered
    │   ├── UnknownSeed         the catalogue does not know a seed of a neighbour search
    │   └── BadFilter           a filter is none of this version
    └── ModelError              the files cannot be served
        ├── NoModel             nothing has been published yet
        ├── CorruptModel        a file is missing, cut short or differs from its checksum
        ├── UnsupportedFormat   this release does not read the format or a part of it
        ├── ModelClosed         a version was used after it was closed
        ├── UnusableStore       the store cannot hold versions where it is
        ├── StoreBusy           another run is writing to the same store
        └── StoreChanged        another version is current than the one to be replaced
"""


class EngineError(Exception):
    """The root of all errors that the engine raises on purpose."""


class PlaylistError(EngineError):
    """A fault of the question."""


class UnknownSeed(PlaylistError):
    """A seed of a neighbour search that the catalogue does not know."""


class BadFilter(PlaylistError):
    """A filter with an attribute, a condition or a value that the version does not have."""


class ModelError(EngineError):
    """A fault of the files of a model or of their store."""


class NoModel(ModelError):
    """A store without a published version."""


class CorruptModel(ModelError):
    """A version with a file that is missing, unreadable or different from its checksum."""


class UnsupportedFormat(ModelError):
    """A version in a format, or with a part, that this release does not know."""


class ModelClosed(ModelError):
    """A version that was closed; the caller has to use the version that is served now."""


class UnusableStore(ModelError):
    """A store on a file system without locks, in a path that is not UTF-8, or with a named pipe as one of its files."""


class StoreChanged(ModelError):
    """A store whose current version was changed meanwhile."""


class StoreBusy(ModelError):
    """A store whose writing lock another process holds."""
