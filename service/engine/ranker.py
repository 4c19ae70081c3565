"""The ranker: small networks that score the candidates of a playlist by their inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.inputs import INPUTS

Floats = NDArray[np.float32]

# Standardised inputs beyond this many deviations count as much: the ranker has seen next to none.
MOST_DEVIATIONS = 5.0


@dataclass(frozen=True)
class Ranker:
    """
    Networks of layers with rectified linear units, and one output each. Their mean errs less than any of them.

    Attributes:
        mean, deviation: float32, shape (n_inputs,). Of the inputs by `damp`, over the playlists that it learned from.
        layers: weights, float32, shape (n_networks, n_in, n_out), and biases, shape (n_networks, 1, n_out), of each
            layer.
    """

    mean: Floats
    deviation: Floats
    layers: Sequence[tuple[Floats, Floats]]

    @classmethod
    def open(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the ranker in *arrays*, as `arrays` names them."""
        # Copies: a memory-mapped array of a few kilobytes would only cost page faults.
        own = {name: np.array(array) for name, array in arrays.items() if name.startswith("ranker_")}
        layers = [(own[f"ranker_weights_{n}"], own[f"ranker_biases_{n}"]) for n in range(len(own) // 2 - 1)]
        return cls(own["ranker_mean"], own["ranker_deviation"], layers)

    @property
    def units(self) -> list[int]:
        """The units of each hidden layer."""
        return [biases.shape[2] for _, biases in self.layers[:-1]]

    @property
    def networks(self) -> int:
        """The number of networks."""
        return len(self.layers[0][0])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of their files."""
        named = {"ranker_mean": self.mean, "ranker_deviation": self.deviation}
        for place, (weights, biases) in enumerate(self.layers):
            named |= {f"ranker_weights_{place}": weights, f"ranker_biases_{place}": biases}
        return named

    def score(self, inputs: Floats) -> Floats:
        """
        Return the log-odds that each candidate belongs to its playlist.

        Args:
            inputs: float32, shape (n, n_inputs), from `describe`.

        Returns:
            float32, shape (n,). They rank the candidates of one playlist; other playlists have other odds.
        """
        values = standardize(inputs, self.mean, self.deviation)
        *hidden, (weights, biases) = self.layers
        for hidden_weights, hidden_biases in hidden:
            values = values @ hidden_weights
            values += hidden_biases  # in place: new arrays of this size take longer than the arithmetic
            np.maximum(values, 0, out=values)
        return np.asarray((values @ weights + biases)[..., 0].mean(axis=0), np.float32)


def ranker_shapes(networks: int, units: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each array of a ranker of so many *networks* with hidden layers of *units*."""
    sizes = [len(INPUTS), *units, 1]
    shapes: dict[str, tuple[int, ...]] = {name: (len(INPUTS),) for name in ("ranker_mean", "ranker_deviation")}
    for place in range(len(sizes) - 1):
        shapes |= {f"ranker_weights_{place}": (networks, sizes[place], sizes[place + 1])}
        shapes |= {f"ranker_biases_{place}": (networks, 1, sizes[place + 1])}
    return shapes


def damp(inputs: Floats) -> Floats:
    """Return the signed logarithms of *inputs*: sign(v) log(1 + |v|), float32, of the same shape."""
    damped = np.abs(inputs)
    np.log1p(damped, out=damped)  # in place: a trainer damps millions of rows
    return np.copysign(damped, inputs, out=damped)


def standardize(inputs: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return damped *inputs* of mean 0 and deviation 1, within `MOST_DEVIATIONS`."""
    values = damp(inputs)
    values -= mean
    values /= deviation
    return np.clip(values, -MOST_DEVIATIONS, MOST_DEVIATIONS, out=values)
