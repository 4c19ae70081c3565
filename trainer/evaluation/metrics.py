"""
The measures, each on one playlist: ids recommended, best first, against the hidden ids.

R-precision, NDCG and clicks follow the definitions of RecSys Challenge 2018: Zamani, Schedl, Lamere and Chen, "An
Analysis of Approaches Taken in the ACM RecSys Challenge 2018 for Automatic Music Playlist Continuation", 2019, section
3. Each raises ValueError if nothing is hidden, because neither success nor failure would be true.
"""

import math
from collections.abc import Mapping, Sequence

ARTIST_CREDIT = 0.25
TRACKS_PER_CLICK = 10


def r_precision(recommended: Sequence[str], hidden: Sequence[str]) -> float:
    """Return the share of the hidden tracks G among the first |G| recommended."""
    truth = _truth(hidden)
    return len(truth.intersection(recommended[: len(truth)])) / len(truth)


def r_precision_artist(recommended: Sequence[str], hidden: Sequence[str], artists: Mapping[str, str]) -> float:
    """
    Return R-precision with credit for artists.

    Each artist of G that is met among the first |G|, on a track that is not in G, adds 0.25 hits, once.

    Args:
        artists: the artist of each track; tracks without one earn no credit.
    """
    truth = _truth(hidden)
    wanted = {artists[track] for track in truth if artists.get(track)}
    missed = (artists.get(track) for track in recommended[: len(truth)] if track not in truth)
    credit = ARTIST_CREDIT * len(wanted.intersection(missed))
    return r_precision(recommended, hidden) + credit / len(truth)


def ndcg(recommended: Sequence[str], hidden: Sequence[str]) -> float:
    """Return the discounted cumulative gain, 1 / log2(rank + 1) for a hit at rank 1, 2, ..., relative to the ideal."""
    truth = _truth(hidden)
    gain = sum(1 / math.log2(rank + 1) for rank, track in enumerate(recommended, 1) if track in truth)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(truth), len(recommended)) + 1))
    return gain / ideal if ideal else 0.0


def precision(recommended: Sequence[str], hidden: Sequence[str]) -> float:
    """Return the share of *recommended* that was hidden."""
    return len(_truth(hidden).intersection(recommended)) / len(recommended) if recommended else 0.0


def clicks(recommended: Sequence[str], hidden: Sequence[str]) -> float:
    """Count the pages of ten before the first hit; without a hit, all pages and one more."""
    truth = _truth(hidden)
    ranks = (rank for rank, track in enumerate(recommended) if track in truth)
    return float(next(ranks, len(recommended) + TRACKS_PER_CLICK) // TRACKS_PER_CLICK)


def _truth(hidden: Sequence[str]) -> set[str]:
    if not hidden:
        raise ValueError("nothing is hidden, so nothing can be measured; leave this playlist out")
    return set(hidden)
