"""
The titles of the kept playlists by their meaning, to find those that are like a new one without a word in common.

An encoder gives each title a vector. The leading axes of all vectors are kept (principal components, not centred), so
that an exact search takes a fraction of a millisecond.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.encoder import encode
from service.engine.exact import unit
from service.engine.features import Ragged, spans
from service.engine.order import falling
from service.engine.text import normalize_title

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# The number of playlists that vote because of their titles, at most.
VOTERS = 200


@dataclass(frozen=True)
class Titles:
    """
    The distinct titles of kept playlists.

    Attributes:
        axes: float32, shape (n_dimensions, n_axes). The axes of the encoder's vectors that are kept.
        vectors: float32, shape (n_titles, n_axes). The unit vector of each title.
        offsets: int64, shape (n_titles + 1,). Title i is that of `playlists[offsets[i]:offsets[i + 1]]`.
        playlists: int32. Rows of kept playlists, ascending for each title.
    """

    axes: Floats
    vectors: Floats
    offsets: NDArray[np.int64]
    playlists: NDArray[np.int32]

    @classmethod
    def of(cls, titles: Sequence[str], n_axes: int) -> Self:
        """
        Encode *titles*, one for each kept playlist, '' if it has none; at least one has a title.

        Raises:
            ModuleNotFoundError: the encoder is not installed.
        """
        playlists: dict[str, list[int]] = {}
        for row, title in enumerate(titles):
            playlists.setdefault(normalize_title(title), []).append(row)
        playlists.pop("", None)
        encoded = np.stack([encode(title) for title in playlists])
        axes = np.ascontiguousarray(leading_axes(encoded)[:, : min(n_axes, len(encoded))])
        having = Ragged.of(list(playlists.values()))
        return cls(axes, unit(encoded @ axes), having.offsets, having.rows.astype(np.int32))

    @classmethod
    def open(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the titles in *arrays*, as `arrays` names them."""
        return cls(**{name: arrays[f"titles_{name}"] for name in cls.__dataclass_fields__})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of their files."""
        return {f"titles_{name}": array for name, array in vars(self).items()}

    def nearest(self, title: str) -> tuple[Rows, Floats]:
        """
        Return the playlists whose titles are nearest to a normalised *title*.

        Returns:
            int64, shape (n,): rows of playlists, `VOTERS` at most; of a title, the first ones.
            float32, shape (n,): the cosines of their titles, falling, none below 0.
        """
        cosines = self.vectors @ unit(encode(title) @ self.axes)
        least = np.partition(cosines, -VOTERS)[-VOTERS] if len(cosines) > VOTERS else 0
        near = np.flatnonzero(cosines >= max(least, 0))
        near = near[falling(cosines[near])]
        starts = self.offsets[near]
        lengths = self.offsets[near + 1] - starts
        lengths = np.diff(np.minimum(lengths.cumsum(), VOTERS), prepend=0)
        return self.playlists[spans(starts, lengths)].astype(np.int64), np.repeat(cosines[near], lengths)


def leading_axes(vectors: Floats) -> Floats:
    """
    Return the axes of which the first carry the most of the length of *vectors*, and the last the least.

    Args:
        vectors: float32, shape (n_rows, n_dimensions).

    Returns:
        float32, shape (n_dimensions, n_dimensions), orthonormal. Turn vectors by `vectors @ axes`.
    """
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.ascontiguousarray(axes[:, ::-1], np.float32)
