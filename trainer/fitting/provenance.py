"""The playlists that a version was trained on, kept as hashes in one of its files."""

from pathlib import Path

import numpy as np

from service.engine import Artifacts, write_array
from trainer.dataset.dataset import Bools, Dataset, Hashes

TRAINED = "trained.npy"


def write_trained_hashes(directory: Path, dataset: Dataset, start: Artifacts | None) -> None:
    """Write the hashes of *dataset* and of all playlists that *start*, the version before it, was trained on."""
    own = dataset.hashes
    all_ = own if start is None else np.concatenate((own, trained_hashes(start.directory)))
    write_array(directory / TRAINED, np.unique(all_))


def trained_hashes(directory: Path) -> Hashes:
    """
    Return the playlists that the version in *directory*, or any version it started from, was trained on.

    Returns:
        uint64, sorted: the `playlist_hash` of each.
    """
    hashes: Hashes = np.load(directory / TRAINED, allow_pickle=False)
    return hashes


def unseen(dataset: Dataset, directory: Path) -> Bools:
    """Mark the playlists of *dataset* that the version in *directory* never saw: bool, shape (n_playlists,)."""
    return ~np.isin(dataset.hashes, trained_hashes(directory))
