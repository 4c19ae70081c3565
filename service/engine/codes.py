"""
Codes: vectors in one byte an axis. Inner products of codes are sums of integers, the same on every machine.

NumKong multiplies them, with the instructions for that which the processor has. Vectors come by falling length, and
those of about the same length, a shell, share a step: a vector is about its code times the step of its shell. The error
of a shell is known, so that a search by codes can tell which rows it has to look at exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numkong
import numpy as np
from numpy.typing import NDArray

from service.engine.items import Kind

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.int64]

LARGEST = 127
FINER = 2 * LARGEST  # steps of the second code of a query in one of the first
SHELL = 0.87  # length of the last vector of a shell, relative to the first
CHUNK = 1 << 16
MANY = 16  # queries for which it is less work to pack the rows than to transpose the products
FILES = ("codes", "code_shells", "code_steps", "code_errors")
TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Codes:
    """
    The codes of vectors by falling length.

    Attributes:
        values: int8, shape (n, n_factors).
        shells: int64, shape (n_shells + 1,). Shell i has the rows from `shells[i]` up to `shells[i + 1]`.
        steps: float32, shape (n_shells,). A vector is about the step of its shell times its code.
        errors: float32, shape (n_shells,). The length of the difference, at most.
    """

    values: NDArray[np.int8]
    shells: Rows
    steps: Floats
    errors: Floats

    @classmethod
    def of(cls, parts: Sequence[Floats], lengths: Floats) -> Self:
        """
        Return the codes of vectors.

        Args:
            parts: float32, shape (n, n_axes) each. Their axes.
            lengths: float32, shape (n,), falling.
        """
        values = np.empty((len(lengths), sum(part.shape[1] for part in parts)), np.int8)
        shells = _shells(lengths)
        steps, errors = np.ones(len(shells) - 1, np.float32), np.zeros(len(shells) - 1, np.float32)
        for shell, (first, last) in enumerate(pairwise(shells.tolist())):
            chunks = [slice(start, min(start + CHUNK, last)) for start in range(first, last, CHUNK)]
            largest = max(float(np.abs(part[chunk]).max(initial=0)) for chunk in chunks for part in parts)
            steps[shell] = largest / LARGEST if largest > TINY else 1
            for chunk in chunks:
                vectors = np.hstack([part[chunk] for part in parts])
                values[chunk] = np.rint(vectors / steps[shell])
                rest = np.linalg.norm(vectors - steps[shell] * values[chunk], axis=1)
                errors[shell] = max(errors[shell], 1.001 * rest.max())
        return cls(values, shells, steps, errors)

    @classmethod
    def open(cls, arrays: Mapping[str, NDArray[Any]], kind: Kind) -> Self:
        """Return the codes of *kind* in *arrays*, as `arrays` names them."""
        return cls(*(arrays[f"{kind}_{name}"] for name in FILES))

    def arrays(self, kind: Kind) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of their files."""
        return {f"{kind}_{name}": array for name, array in zip(FILES, vars(self).values(), strict=True)}

    def products(self, rows: Rows, query: Floats) -> Floats:
        """
        Return the inner products of *rows* with *query*, up to the errors of the rows.

        Args:
            rows: int64, shape (n_rows,), ascending.
            query: float32, shape (n_factors,).

        Returns:
            float32, shape (n_rows,). None depends on the other rows.
        """
        (coarse,), (step,) = encode(query[None])
        fine = np.rint((query - step * coarse) * (FINER / step)).astype(np.int8)
        first, second = _multiply(self.values.take(rows, axis=0), np.stack((coarse, fine))).astype(np.float32)
        products: Floats = (first * FINER + second) * (step / FINER * self._steps_of(rows))
        return products

    def multiply(self, start: int, stop: int, queries: NDArray[np.int8]) -> Ints:
        """
        Return the products of the codes of the rows from *start* up to *stop* with those of *queries*.

        Returns:
            int32, shape (n_queries, n_rows).
        """
        return _multiply(self.values[start:stop], queries)

    def of_each(self, of_shells: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        """Return the element of *of_shells*, shape (n_shells,), for each row from *start* up to *stop*."""
        return np.repeat(of_shells, np.diff(self.shells.clip(start, stop)))

    def _steps_of(self, rows: Rows) -> Floats:
        return np.repeat(self.steps, np.diff(rows.searchsorted(self.shells)))


def _multiply(values: NDArray[np.int8], others: NDArray[np.int8]) -> Ints:
    if len(others) >= MANY:
        return np.asarray(numkong.dots_packed(others, numkong.dots_pack(values)))
    return np.ascontiguousarray(np.asarray(numkong.dots_packed(values, numkong.dots_pack(others))).T)


def _shells(lengths: Floats) -> Rows:
    """Return the first row of each shell, and the number of rows."""
    shells = [0]
    while shells[-1] < len(lengths):
        # The first of a shell belongs to it whatever its length. `searchsorted` wants rising numbers.
        later = len(lengths) - int(lengths[::-1].searchsorted(SHELL * lengths[shells[-1]], "left"))
        shells.append(max(later, shells[-1] + 1))
    return np.array(shells, np.int64)


def even_axes(n_factors: int) -> Floats:
    """
    Return a random rotation, after which no axis carries much more of vectors than another, so that codes err less.

    A rotation changes no inner product, and so no answer.

    Returns:
        float32, shape (n_factors, n_factors), orthonormal; always the same. Rotate vectors by `vectors @ rotation`.
    """
    axes, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((n_factors, n_factors)))
    return axes.astype(np.float32)


def encode(vectors: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return the code of each of *vectors*, float32, shape (n, n_factors), and its step, float32, shape (n,)."""
    largest = np.abs(vectors).max(axis=1)
    steps = np.where(largest > TINY, largest / np.float32(LARGEST), np.float32(1))
    return np.rint(vectors / steps[:, None]).astype(np.int8), steps
