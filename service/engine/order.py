"""The order of scores."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


def falling(scores: Floats, ties: NDArray[np.integer] | None = None) -> Rows:
    """
    Return the places of *scores* from the highest to the lowest.

    Args:
        scores: float32, shape (n,), none of them NaN.
        ties: int, shape (n,), distinct, 0 or more: of equal scores the one with the lower tie comes first; None for
            the lower place.

    Returns:
        int64, shape (n,).
    """
    # The bits of positive floats are in their order, and those of negative ones in the reverse order. To sort integers
    # of a score and its tie takes a third of the time of `np.lexsort`.
    bits = (np.float32(0) - scores).view(np.int32).astype(np.int64)  # 0 - 0 and 0 - -0 are the same 0
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)) << 32
    keys |= np.arange(len(scores)) if ties is None else ties
    return np.argsort(keys)
