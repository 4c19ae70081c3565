"""
The measures, each on one playlist: ids recommended, best first, against ids held out.

Those of RecSys Challenge 2018 are as it has them:

Zamani, Schedl, Lamere and Chen, "An Analysis of Approaches Taken in the ACM RecSys Challenge 2018 for Automatic Music
Playlist Continuation", 2019, section 3. Each refuses an empty ground truth with ValueError rather than calling it a
success or a failure.
"""

import math
from collections.abc import Mapping, Sequence

ARTIST_CREDIT = 0.25
TRACKS_PER_CLICK = 10


def r_precision(recommended: Sequence[str], held_out: Sequence[str]) -> float:
    """The share of the held-out tracks G among the first |G| recommended."""
    truth = _truth(held_out)
    return len(truth.intersection(recommended[: len(truth)])) / len(truth)


def r_precision_artist(recommended: Sequence[str], held_out: Sequence[str], artists: Mapping[str, str]) -> float:
    """
    R-precision with credit for artists.

    As `r_precision`, and 0.25 for each artist of G first met among the first |G| on a track that is not in G.

    Args:
        artists: the artist of each track; a track without one earns nothing.
    """
    truth = _truth(held_out)
    wanted = {artists[track] for track in truth if artists.get(track)}
    missed = (artists.get(track) for track in recommended[: len(truth)] if track not in truth)
    credit = ARTIST_CREDIT * len(wanted.intersection(missed))
    return r_precision(recommended, held_out) + credit / len(truth)


def ndcg(recommended: Sequence[str], held_out: Sequence[str]) -> float:
    """Discounted cumulative gain, 1 / log2(rank + 1) for each hit with rank from 1, as a share of the ideal."""
    truth = _truth(held_out)
    gain = sum(1 / math.log2(rank + 1) for rank, track in enumerate(recommended, 1) if track in truth)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(truth), len(recommended)) + 1))
    return gain / ideal if ideal else 0.0


def precision(recommended: Sequence[str], held_out: Sequence[str]) -> float:
    """The share of those *recommended* that were held out."""
    return len(_truth(held_out).intersection(recommended)) / len(recommended) if recommended else 0.0


def clicks(recommended: Sequence[str], held_out: Sequence[str]) -> float:
    """How many pages of ten are leafed past before the first hit; one more than there are where there is none."""
    truth = _truth(held_out)
    ranks = (rank for rank, track in enumerate(recommended) if track in truth)
    return float(next(ranks, len(recommended) + TRACKS_PER_CLICK) // TRACKS_PER_CLICK)


def _truth(held_out: Sequence[str]) -> set[str]:
    if not held_out:
        raise ValueError("nothing was held out, so nothing can be measured; leave this playlist out")
    return set(held_out)
