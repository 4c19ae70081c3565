"""
The inputs of the ranker: for each candidate of a playlist, what the stages before it and the data know of it.

The trainer and the service compute them here, so that the ranker is asked as it was taught. An input must mean the
same in every fit, because the ranker learns from other fits than the one that it serves: so there are ranks, ratios
and cosines here, and no coordinates of vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.exact import RankingVectors, unit
from service.engine.order import falling

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.int64]

# The rank whose score stands for 1 in ratios of scores.
REFERENCE = 50

# The cosines are those with so many seeds, those of the lowest rows.
COMPARED_SEEDS = 100

LEAST_DIVISOR = np.float32(1e-9)  # so that nothing is divided by 0

# The strongest seeds, those with the most plays: a cosine with one of them tells more than one with any other.
STRONGEST_SEEDS = 5

INPUTS_OF_CANDIDATES = (
    "solve_ratio",  # score of the solve, relative to the 50th of the candidates
    "solve_rank",  # log of the place by that score
    "solve_cosine",
    "votes_ratio",  # sum of the votes, relative to the 50th
    "votes_rank",
    "votes_lift",  # sum of the votes by the square root of the popularity
    "titles_ratio",  # sum of the votes by like titles, relative to the 50th
    "titles_rank",
    "popularity",  # log of the number of playlists
    "popularity_gap",  # the same, less the mean of the seeds
    "length",  # of the ranking vector
    "cosine_mean",  # mean over the seeds
    "cosine_most",
    "cosine_strongest",  # the highest over the strongest seeds
    "artist_popularity",
    "share_of_artist",  # popularity, relative to the artist's
    "artist_seeds",  # log of the number of seeds by the artist
    "artist_share",  # share of seeds by the artist
    "artist_named",  # 1 if the playlist names the artist
    "artist_votes",  # percent of all votes that are for the artist
)
INPUTS_OF_PLAYLISTS = (
    "seeds",  # log of the number of known seeds
    "known_share",  # share of seeds that are known
    "titled",  # 1 if it has a title
    "terms",  # log of the number of known terms of its title
    "distinct_artists",  # relative to the number of seeds
    "playlist_length",  # of the vector
    "seeds_popularity",  # mean of the logs
    "solve_first",  # first score of the solve, relative to the 50th
    "solve_50th",
    "nearest",  # similarity of the first neighbour
    "nearest_title",  # similarity of the most similar title
)
INPUTS = INPUTS_OF_CANDIDATES + INPUTS_OF_PLAYLISTS


@dataclass(frozen=True)
class ItemFacts:
    """
    Facts on all items of the kind that is ranked.

    Attributes:
        ranking: the vectors that rank them.
        popularity: int32, shape (n_items,). The number of playlists with each.
        artists: int32, shape (n_items,). The artist's row of each track, -1 if it has none, as artists themselves.
        artist_popularity: int32, shape (n_artists,).
    """

    ranking: RankingVectors
    popularity: Ints
    artists: Ints
    artist_popularity: Ints


@dataclass(frozen=True)
class Query:
    """
    A playlist to rank candidates for.

    Attributes:
        x: float32, shape (n_factors,). Its vector.
        seeds: rows of its known items.
        strengths: float32, shape (n_seeds,). Their strengths.
        artists: rows of the artists that it names beside them.
        n_unknown: number of seeds that are not known.
        n_terms: number of the known terms of its title.
        titled: whether it has a title.
        title: the title, normalised.
    """

    x: Floats
    seeds: Sequence[int]
    strengths: Floats
    artists: Sequence[int]
    n_unknown: int
    n_terms: int
    titled: bool
    title: str = ""


@dataclass(frozen=True)
class Candidates:
    """
    The candidates of a playlist, before the ranker.

    Attributes:
        rows: int64, shape (n,), ascending.
        vectors: float32, shape (n, n_factors). Those that rank them.
        solve: float32, shape (n,). Their scores by the solve.
        votes, by_title: float32, shape (n,). The sums of the votes for each by its neighbours, and by playlists with
            like titles.
    """

    rows: Rows
    vectors: Floats
    solve: Floats
    votes: Floats
    by_title: Floats


def describe(query: Query, candidates: Candidates, nearest: float, nearest_title: float, facts: ItemFacts) -> Floats:
    """
    Return the inputs of the ranker.

    Args:
        query: the playlist.
        candidates: its candidates, at least one.
        nearest, nearest_title: the similarity of its first neighbour and of the most similar title, 0 without one.
        facts: facts on all items.

    Returns:
        float32, shape (n, n_inputs), in the order of `INPUTS`.
    """
    rows, solve, sums, by_title = candidates.rows, candidates.solve, candidates.votes, candidates.by_title
    described = np.empty((len(INPUTS), len(rows)), np.float32)
    popularity = _at_least_1(facts.popularity.take(rows))
    logs = np.log(popularity)
    lengths = facts.ranking.norms.take(rows)
    order = np.argsort(query.seeds)
    seeds, strengths = np.asarray(query.seeds, np.int64)[order], query.strengths[order]
    of_seeds = np.log(_at_least_1(facts.popularity[seeds])).mean() if len(seeds) else np.float32(0)
    reference, length = reference_of(solve), np.linalg.norm(query.x)
    n_seeds, n_artists = len(seeds), len(np.unique(facts.artists[seeds]))
    values = (
        relative(solve),
        _log_ranks(solve),
        solve / np.maximum(lengths * length, LEAST_DIVISOR),
        relative(sums),
        _log_ranks(sums),
        sums / np.sqrt(popularity),
        relative(by_title),
        _log_ranks(by_title) if by_title.any() else 0.0,
        logs,
        logs - of_seeds if n_seeds else 0.0,
        lengths,
        *_cosines(candidates, lengths, facts.ranking, seeds, strengths),
        *_of_artists(query, seeds, rows, sums, facts),
        np.log1p(n_seeds),
        n_seeds / max(n_seeds + query.n_unknown, 1),
        query.titled,
        np.log1p(query.n_terms),
        n_artists / max(n_seeds, 1),
        length,
        of_seeds,
        solve.max() / max(reference, 1e-6),
        reference,
        nearest,
        nearest_title,
    )
    for row, value in zip(described, values, strict=True):
        row[:] = value
    return described.T


def reference_of(scores: Floats) -> float:
    """Return the score at the reference place among *scores*, float32, shape (n,), n at least 1."""
    place = max(len(scores) - REFERENCE, 0)
    return float(np.partition(scores, place)[place])


def relative(scores: Floats) -> Floats:
    """Return *scores*, float32, shape (n,), relative to the one at the reference place, 0 if that is 0 or less."""
    reference = reference_of(scores) if len(scores) else 0.0
    return scores / np.float32(reference) if reference > 0 else np.zeros_like(scores)


def _at_least_1(counts: Ints) -> Floats:
    return np.maximum(counts, 1, dtype=np.float32)


def _log_ranks(scores: Floats) -> Floats:
    ranks = np.empty(len(scores), np.float32)
    ranks[falling(scores)] = np.arange(len(scores), dtype=np.float32)
    return np.log1p(ranks)


def _cosines(
    candidates: Candidates, lengths: Floats, ranking: RankingVectors, seeds: Rows, strengths: Floats
) -> Sequence[Floats | float]:
    """Return the mean and the highest cosine of each of *candidates* with the *seeds*, and that with the strongest."""
    if not len(seeds):
        return 0.0, 0.0, 0.0
    # One product for each seed: the mean and the highest of columns take a tenth of the time of those of rows.
    cosines = unit(ranking.take(seeds[:COMPARED_SEEDS])) @ candidates.vectors.T
    cosines /= np.maximum(lengths, LEAST_DIVISOR)
    strongest = np.argsort(-strengths[:COMPARED_SEEDS], kind="stable")[:STRONGEST_SEEDS]
    return cosines.mean(axis=0), cosines.max(axis=0), cosines[strongest].max(axis=0)


def _of_artists(query: Query, seeds: Rows, rows: Rows, sums: Floats, facts: ItemFacts) -> tuple[NDArray[Any], ...]:
    artists, shares = facts.artists.take(rows), np.float32(100) * sums / max(sums.sum(), LEAST_DIVISOR)
    known = artists >= 0
    if not known.any():
        none = np.zeros(len(rows), np.float32)
        return none, none + 1, none, none, none, shares
    popularity, of_seeds = _at_least_1(facts.artist_popularity.take(artists)), np.sort(facts.artists[seeds])
    n_seeds = known * (of_seeds.searchsorted(artists, "right") - of_seeds.searchsorted(artists)).astype(np.float32)
    _, places = np.unique(artists, return_inverse=True)
    return (
        known * np.log1p(popularity),
        np.where(known, facts.popularity.take(rows) / popularity, np.float32(1)),
        np.log1p(n_seeds),
        n_seeds / np.float32(max(len(seeds), 1)),
        known * np.isin(artists, query.artists).astype(np.float32),
        np.where(known, np.bincount(places, weights=shares)[places].astype(np.float32), shares),
    )
