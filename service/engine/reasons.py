"""
Reasons: the shares of a playlist in the scores of the solve, and the strongest inputs of the ranker in words.

With the left side A of the solve held still, a score z'x = z' inv(A) F'c is a sum over the features of the playlist, so
its shares are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from service.engine.artifacts import Artifacts
from service.engine.foldin import system
from service.engine.inputs import INPUTS
from service.engine.items import KINDS, Kind, Reasons, Share
from service.engine.question import Question
from service.engine.ranker import Ranker
from service.engine.records import fields_of
from service.engine.text import GRAM_LENGTH, normalize_title

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Seed = tuple[str, str]  # `track`, `artist` or `title`, and an id or a word

DECIMALS = 6
MOST_SHARES = 20
MOST_NAMED = 2  # seeds or words in one sentence
LEAST_SHARE = 0.05  # of a score, for a sentence about the seeds or the title
LEAST = 1e-9  # so that nothing is divided by 0

# The inputs that each kind of reason rests on. Its strength is the fall of the log-odds if they are those of an average
# candidate.
GROUPS: Mapping[str, Sequence[str]] = {
    "neighbours": ("votes_ratio", "votes_rank", "votes_lift"),
    "seeds": ("solve_ratio", "solve_rank", "solve_cosine", "cosine_mean", "cosine_most", "cosine_strongest"),
    "artist": ("artist_seeds", "artist_share", "artist_named", "artist_votes"),
    "title": ("titles_ratio", "titles_rank"),
    "popularity": ("popularity", "popularity_gap", "length", "artist_popularity", "share_of_artist"),
}


@dataclass(frozen=True)
class Explained:
    """
    The items of an answer to explain.

    Attributes:
        rows: int64, shape (n,).
        inputs: float32, shape (n, n_inputs). Their inputs of the ranker; None if it did not order them.
    """

    rows: Rows
    inputs: Floats | None

    @classmethod
    def of(cls, chosen: Sequence[int], lists: Sequence[tuple[Rows, Floats, Floats | None]]) -> "Explained":
        """Return the *chosen* rows with their inputs in one of *lists* of rows, scores and inputs."""
        places: dict[int, Floats] = {}
        for rows, _, inputs in lists:
            if inputs is not None:
                here = np.flatnonzero(np.isin(rows, chosen))
                places |= dict(zip(rows[here].tolist(), inputs[here], strict=True))
        return cls(np.array(chosen, np.int64), np.array([places[row] for row in chosen]) if places else None)


def explain(question: Question, title: str, explained: Explained, artifacts: Artifacts) -> list[Reasons]:
    """
    Return the reasons of each item of an answer.

    Args:
        question: the playlist.
        title: its title as written.
        explained: the items.
        artifacts: the version that answered.
    """
    shares = _Shares.of(question, title, explained.rows, artifacts)
    sentences = _Sentences(question, explained, shares, artifacts)
    return [
        Reasons(round(float(total), DECIMALS), *shares.listed(place), sentences.of(place))
        for place, total in enumerate(shares.of_seeds.sum(axis=0))
    ]


@dataclass(frozen=True)
class _Shares:
    """
    The shares of seeds in scores.

    Attributes:
        seeds: the field of each seed, `track`, `artist` or `title`, and its id or word.
        of_seeds: float64, shape (n_seeds, n_items).
        names: the names of the tracks and artists among the seeds.
    """

    seeds: Sequence[Seed]
    of_seeds: NDArray[np.float64]
    names: Mapping[Seed, str]

    @classmethod
    def of(cls, question: Question, title: str, rows: Rows, artifacts: Artifacts) -> "_Shares":
        columns, strengths = question.features
        space = artifacts.space
        confidences, dislikes = space.confidences(strengths), space.dislikes(question.seeds)
        left = system(columns, confidences, artifacts.vectors, artifacts.gram, dislikes).astype(np.float64)
        vectors = artifacts.candidates[question.kind].ranking.take(rows).astype(np.float64)
        solved = cho_solve(cho_factor(left), vectors.T)
        of_columns = confidences[:, None] * (artifacts.vectors[columns].astype(np.float64) @ solved)
        names = _names(columns, artifacts)
        said = [[seed] for seed in names] + _terms(columns[len(names) :] - space.first_term, title, artifacts)
        seeds = list(dict.fromkeys(chain.from_iterable(said)))
        numbers = {seed: number for number, seed in enumerate(seeds)}
        of_seeds = np.zeros((len(seeds), len(rows)))
        for each, row in zip(said, of_columns, strict=True):
            for seed in each:
                of_seeds[numbers[seed]] += row / len(each)
        return cls(seeds, of_seeds, names)

    def listed(self, place: int) -> tuple[list[Share], float]:
        """Return the largest shares in the score of the item at *place*, the largest first, and the sum of the rest."""
        shares = self.of_seeds[:, place]
        listed = np.argsort(-np.abs(shares), kind="stable")[:MOST_SHARES]
        listed = listed[np.argsort(-shares[listed], kind="stable")].tolist()
        named = [(*self.seeds[seed], round(float(shares[seed]), DECIMALS)) for seed in listed]
        found = [Share(share, **{field: key}) for field, key, share in named]
        rest = float(shares.sum()) - sum(share.share for share in found)
        return found, round(rest, DECIMALS) if len(self.seeds) > MOST_SHARES else 0.0


def _names(columns: NDArray[np.int32], artifacts: Artifacts) -> dict[Seed, str]:
    """Return the tracks and artists among *columns*, in this order, and their names."""
    space = artifacts.space
    rows = columns[columns < space.first_term]
    tracks, artists = rows[rows < space.n_tracks], rows[rows >= space.n_tracks] - space.n_tracks
    return {
        (kind.removesuffix("s"), fields["id"]): fields["name"]
        for kind, of_kind in zip(KINDS, (tracks, artists), strict=True)
        for fields in _fields(artifacts, kind, of_kind.tolist())
    }


def _terms(rows: NDArray[np.int32], title: str, artifacts: Artifacts) -> list[list[Seed]]:
    """Return the words that each of the terms *rows* stands for: one, or for letters all words that have them."""
    words, grams = artifacts.catalogue.known_terms(title)
    normalized = normalize_title(title)
    said = {row: [word if word in normalized.split() else normalized] for word, row in words.items()}
    said |= {row: _words_with(gram, normalized) for gram, row in grams.items()}
    return [[("title", word) for word in said[row]] for row in rows.tolist()]


def _words_with(gram: str, title: str) -> list[str]:
    """Return the words of a normalised *title* that have letters of *gram* where it occurs."""
    padded, start = f" {title} ", 0
    found: dict[str, None] = {}
    while (start := padded.find(gram, start)) >= 0:
        first, last = padded.rfind(" ", 0, start + 1), padded.find(" ", start + GRAM_LENGTH - 1)
        found |= dict.fromkeys(padded[max(first, 0) : last].split() or [title])
        start += 1
    return list(found) or [title]


class _Sentences:
    """The reasons of an answer in words."""

    def __init__(self, question: Question, explained: Explained, shares: _Shares, artifacts: Artifacts):
        self._question, self._rows, self._shares, self._artifacts = question, explained.rows, shares, artifacts
        self._strengths = _strengths(explained.inputs, artifacts)
        self._of_title = [number for number, (field, _) in enumerate(shares.seeds) if field == "title"]
        self._neighbours, self._holders, self._shared = self._hold()
        self._items = _fields(artifacts, question.kind, explained.rows.tolist())
        self._popularity = artifacts.records[question.kind].read(explained.rows.tolist())[1]

    def of(self, place: int) -> list[str]:
        """Return the reasons of the item at *place*, the strongest first."""
        strengths = self._strengths_of(place)
        said = {name: getattr(self, f"_say_{name}")(place) for name in GROUPS}
        names = sorted(GROUPS, key=lambda name: -strengths.get(name, 0.0))
        strong = [said[name] for name in names if said[name] and strengths.get(name, 1.0) > 0]
        return strong or [f"in {self._popularity[place]:,} playlists"]

    def _strengths_of(self, place: int) -> dict[str, float]:
        """Return the strength of each kind of reason; the title has its share in the strength of the solve."""
        strengths = {name: float(of_name[place]) for name, of_name in self._strengths.items()}
        if strengths:
            shares = self._shares.of_seeds[:, place].clip(0)
            of_title = shares[self._of_title].sum() / max(shares.sum(), LEAST)
            strengths["title"] += of_title * strengths["seeds"]
            strengths["seeds"] *= 1 - of_title
        return strengths

    def _say_neighbours(self, place: int) -> str:
        n, shared = self._holders[place], self._shared[place]
        if not n:
            return ""
        which = f", which hold {shared} of your {self._question.kind}" if shared else ""
        return f"in {n} of the {self._neighbours} playlists that are most like yours{which}"

    def _say_seeds(self, place: int) -> str:
        artist = self._items[place].get("artist") or {}
        seeds = [seed for seed in self._strongest(place, ("track", "artist")) if seed[1] != artist.get("id")]
        names = [self._shares.names[seed] for seed in seeds]
        return f"goes with {_listed(names)}" if names else ""

    def _say_title(self, place: int) -> str:
        words = [word for _, word in self._strongest(place, ("title",))]
        return f"your title says {_listed(words)}" if words else ""

    def _say_artist(self, place: int) -> str:
        artist, space = self._items[place].get("artist"), self._artifacts.space
        if artist is None:
            return ""
        row, seeds = int(space.track_artists[self._rows[place]]), self._question.seeds
        n = int((space.track_artists[seeds.tracks] == row).sum())
        if n:
            return f"by {artist['name']}, as {n if n > 1 else 'one'} of your tracks"
        return f"by {artist['name']}, an artist that you name" if row in seeds.artists else ""

    def _say_popularity(self, place: int) -> str:
        return f"well known: in {self._popularity[place]:,} playlists" if self._strengths else ""

    def _strongest(self, place: int, fields: Sequence[str]) -> list[Seed]:
        shares = self._shares.of_seeds[:, place]
        large = np.flatnonzero(shares >= LEAST_SHARE * shares[shares > 0].sum())
        order = large[np.argsort(-shares[large], kind="stable")].tolist() if shares.any() else []
        return [self._shares.seeds[seed] for seed in order if self._shares.seeds[seed][0] in fields][:MOST_NAMED]

    def _hold(self) -> tuple[int, list[int], list[int]]:
        """Return the number of neighbours, those with each item, and the median number of seeds in these."""
        stages, seeds = self._artifacts.stages, self._question.seeds
        if stages is None or stages.kind != self._question.kind:
            return 0, [0] * len(self._rows), [0] * len(self._rows)
        rows = seeds.tracks if stages.kind == "tracks" else seeds.artists
        pooling = stages.pooling
        return pooling.playlists.holders(*self._question.features, pooling.n_neighbours, self._rows, rows)


def _strengths(inputs: Floats | None, artifacts: Artifacts) -> dict[str, Floats]:
    """Return the fall of the log-odds of each item without each group of inputs."""
    ranker: Ranker | None = artifacts.stages.ranker if artifacts.stages is not None else None
    if inputs is None or ranker is None:
        return {}
    average = np.copysign(np.expm1(np.abs(ranker.mean)), ranker.mean)
    whole, strengths = ranker.score(inputs), {}
    for name, group in GROUPS.items():
        without, places = inputs.copy(), [INPUTS.index(each) for each in group]
        without[:, places] = average[places]
        strengths[name] = whole - ranker.score(without)
    return strengths


def _fields(artifacts: Artifacts, kind: Kind, rows: Sequence[int]) -> list[dict[str, Any]]:
    return [fields_of(record) for record in artifacts.records[kind].read(rows)[0]]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"“{name}”" for name in names)
