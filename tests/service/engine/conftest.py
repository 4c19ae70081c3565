"""Small versions of random vectors, written without a trainer."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.engine import ItemTable, Model, Store, write_version

NUMBERS = {
    "alpha": 20.0, "artist_weight": 1.0, "title_weight": 1.0, "gram_weight": 0.3, "weighting": "log",
    "count_cap": 1e9, "mean_length": 10.0, "track_count": 1.0, "artist_count": 1.0,
    "beta": 0.2, "regularization": 0.1, "seed": 1, "trees": 3, "neighbour_recall": 0.9, "neighbours": 10,
}  # fmt: skip

WriteWorld = Callable[..., Path]

# Functions that make something else than a regular file. The directory comes first, as it makes nobody wait.
IRREGULAR: dict[str, Callable[[Path], None]] = {
    "directory": lambda path: path.mkdir(),
    "named pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture
def version(models: Path, tmp_path: Path) -> Path:
    """A copy of a published version that a test may damage."""
    return Path(shutil.copytree(Store(models).current(), tmp_path / "version"))


@pytest.fixture(scope="session")
def write_world(tmp_path_factory: pytest.TempPathFactory) -> WriteWorld:
    """
    Write a version of so many tracks and artists and return its directory.

    Tracks of an artist lie near to it, every tenth track has none, and many share a popularity. Names are of a few
    words, so that each of them finds many.
    """

    def write_one(n_tracks: int, n_artists: int, seed: int = 0, factors: int = 8) -> Path:
        random = np.random.default_rng(seed)
        artists = random.standard_normal((n_artists, factors))
        track_artists = random.integers(n_artists, size=n_tracks) if n_artists else np.full(n_tracks, -1)
        track_artists[::10] = -1
        tracks = np.vstack((artists, np.zeros(factors)))[track_artists] + random.standard_normal((n_tracks, factors))
        tracks *= random.random((n_tracks, 1)) + 0.05
        words = random.standard_normal((2, factors))
        directory = tmp_path_factory.mktemp("world")
        model = Model(
            vectors=np.vstack((tracks, artists, words)).astype(np.float32),
            items={
                "tracks": ItemTable(
                    [f"t:{row}" for row in range(n_tracks)],
                    [f"{'red' if row % 2 else 'blue'} song {row}" for row in range(n_tracks)],
                    random.integers(1, 30, size=n_tracks).astype(np.int32),
                ),
                "artists": ItemTable(
                    [f"a:{row}" for row in range(n_artists)],
                    [f"{'old' if row % 2 else 'new'} band {row}" for row in range(n_artists)],
                    random.integers(1, 30, size=n_artists).astype(np.int32),
                ),
            },
            track_artists=track_artists.astype(np.int32),
            words=["jazz", "rock"],
            grams=[],
            numbers=NUMBERS,
            data={},
            training={},
            libraries={},
        )
        write_version(directory, directory.name, "2026-01-01T00:00:00Z", model)
        return directory

    return write_one
