"""
The errors of the trainer.

    TrainerError
    ├── BadInput        the data cannot be read
    ├── BadConfig       a number is out of its range
    ├── NothingToLearn  the data contain too few playlists to train or to evaluate
    └── NotPublished    the gate rejected the trained version, or another run published first
"""


class TrainerError(Exception):
    """Root of all errors that the trainer raises on purpose; its text is one line for the user."""


class BadInput(TrainerError):
    """The data cannot be read."""


class BadConfig(TrainerError):
    """A number is out of its range."""


class NothingToLearn(TrainerError):
    """The data contain too few playlists to train or to evaluate."""


class NotPublished(TrainerError):
    """The gate rejected the trained version, or another run published first."""
