"""Judges a ranker beside its first stage, on playlists that did not teach it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.engine import INPUTS, INPUTS_OF_CANDIDATES, Ranker
from trainer.evaluation import metrics
from trainer.evaluation.answers import ANSWER_ITEMS
from trainer.evaluation.scores import ratio
from trainer.ranking.examples import Examples

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """
    The quality of a ranker on the candidates of tasks that did not teach it.

    Attributes:
        ndcg, first_ndcg: means over the tasks, of the ranker and of the first stage.
        tasks: their number.
        better: False if it is certain that the ranker is not better: the 95 % interval of `ndcg / first_ndcg` ends at 1
            or below.
        importance: by input, the part of `ndcg` that is lost if it is shuffled; the largest first.
    """

    ndcg: float
    first_ndcg: float
    tasks: int
    better: bool
    importance: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"NDCG {self.ndcg:.4f} on {self.tasks:,} tasks, {self.first_ndcg:.4f} by the first stage"


def judge(ranker: Ranker, asked: Examples, seed: int) -> Judgement:
    """
    Judge *ranker* on the tasks of *asked*.

    The importance of an input is that by permutation (Breiman, Random Forests, 2001): its values are shuffled among
    the candidates of each task, or, if it describes the playlist, exchanged between tasks.
    """
    ranked, first = _ndcg(asked, _scores(ranker, asked, asked.inputs)), _ndcg(asked, asked.solve)
    ndcg = float(ranked.mean())
    judged = Judgement(ndcg, float(first.mean()), len(asked), ratio(ranked, first, seed).high > 1)
    if not judged.better:
        return judged
    random = np.random.default_rng(seed)
    lost = {
        name: 1 - mean_ndcg(asked, _scores(ranker, asked, _shuffled(asked, name, random))) / ndcg for name in INPUTS
    }
    return replace(judged, importance=dict(sorted(lost.items(), key=lambda item: -item[1])))


def mean_ndcg(asked: Examples, scores: Floats) -> float:
    """Return the mean NDCG of the candidates in the order of *scores*, relative to the best order of them."""
    return float(_ndcg(asked, scores).mean())


def _ndcg(asked: Examples, scores: Floats) -> NDArray[np.float64]:
    """Return the NDCG of each task, likewise."""
    found = []
    for start, stop in pairwise(asked.offsets):
        order = np.argsort(-scores[start:stop], kind="stable")[:ANSWER_ITEMS]
        hits: NDArray[np.int64] = np.flatnonzero(asked.hits[start:stop])
        found.append(metrics.ndcg([str(place) for place in order], [str(place) for place in hits]) if len(hits) else 0)
    return np.array(found, np.float64)


def _scores(ranker: Ranker, asked: Examples, inputs: Floats) -> Floats:
    """Return the scores of all candidates; task by task, or the units of all of them would be in memory at once."""
    return np.concatenate([ranker.score(inputs[start:stop]) for start, stop in pairwise(asked.offsets)])


def _shuffled(asked: Examples, name: str, random: np.random.Generator) -> Floats:
    """Return the inputs of *asked* with that called *name* shuffled."""
    inputs, column = asked.inputs.copy(), INPUTS.index(name)
    lengths = np.diff(asked.offsets)
    if name in INPUTS_OF_CANDIDATES:
        keys = random.random(len(inputs)) + np.repeat(np.arange(len(asked)), lengths)
        inputs[:, column] = inputs[np.argsort(keys), column]
    else:
        firsts = inputs[np.minimum(asked.offsets[:-1], len(inputs) - 1), column]
        inputs[:, column] = np.repeat(random.permutation(firsts), lengths)
    return inputs
