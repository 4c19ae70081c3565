"""
Everything the trainer refuses, as one tree.

    TrainerError
    ├── BadInput        the data that was given cannot be read
    ├── BadConfig       a number that was given is out of its range
    ├── NothingToLearn  the data can be read, but hold no playlist to train on or to ask
    └── Refused         the trained version is worse than the published one
"""


class TrainerError(Exception):
    """Root of all errors that the trainer raises on purpose; its text is one line for a person."""


class BadInput(TrainerError):
    """The data that was given cannot be read."""


class BadConfig(TrainerError):
    """A number that was given is out of its range."""


class NothingToLearn(TrainerError):
    """The data hold no playlist to train on or to ask."""


class Refused(TrainerError):
    """The trained version is worse than the published one, and was not published."""
