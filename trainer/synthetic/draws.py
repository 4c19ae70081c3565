"""Random draws that give the same numbers on every machine and in every process."""

import numpy as np
from numpy.typing import NDArray

from trainer.errors import BadConfig
from trainer.synthetic.names import GENRES

LARGEST = 1_000_000  # playlists or listeners
SCENES_PER_GENRE = 8
N_SCENES = len(GENRES) * SCENES_PER_GENRE

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Shares = NDArray[np.float64]


def check_size(name: str, n: int, seed: int) -> None:
    """
    Raises:
        BadConfig: *n*, the number of *name*, or *seed* is out of range.
    """
    if not 1 <= n <= LARGEST:
        raise BadConfig(f"{name} has to be between 1 and {LARGEST:,}; it is {n:,}")
    if seed < 0:
        raise BadConfig(f"seed has to be 0 or more; it is {seed}")


def draw_scenes(random: np.random.Generator, count: int) -> Ints:
    """Draw the home scenes of *count* playlists or listeners; some scenes are more popular."""
    scenes = (random.random(count) ** 1.3 * N_SCENES).astype(np.int64)
    return scenes * 37 % N_SCENES  # the order of genres and scenes does not show their popularity


def zipf(shares: Shares, n: Ints | int, offset: float) -> Ints:
    """Map uniform *shares* to ranks from 0 up to *n* with weights near 1 / (rank + *offset*)."""
    ranks = offset * ((n + offset) / offset) ** shares - offset
    return np.asarray(np.minimum(ranks.astype(np.int64), np.asarray(n) - 1))


def normal(random: np.random.Generator, count: int) -> Shares:
    """Draw about standard normal numbers from uniform ones, whose stream numpy promises to keep."""
    return np.asarray(random.random((count, 12)).sum(axis=1) - 6)


def mix(seed: int, stream: int, numbers: Ints) -> Words:
    """Hash each of *numbers* to 64 bits (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators")."""
    start = (seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9) % 2**64
    words = np.asarray(numbers).astype(np.uint64) * np.uint64(0x94D049BB133111EB) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words


def shares(seed: int, stream: int, numbers: Ints) -> Shares:
    """Hash each of *numbers* to one from 0 to 1."""
    return mix(seed, stream, numbers) / 2.0**64
