"""The gate, on versions that are trained already."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.engine import Ragged, Recommender, Store
from trainer.dataset import Dataset, build_dataset
from trainer.evaluation.gate import Outcome, find_start, judge, quality_of
from trainer.evaluation.split import hold_out
from trainer.sources import read
from trainer.timing import Stopwatch


@pytest.fixture(scope="module")
def published(small_models: Path) -> Iterator[Recommender]:
    with closing(Recommender.open(Store(small_models).current())) as recommender:
        yield recommender


@pytest.fixture(scope="module")
def dataset(small_world: Path) -> Dataset:
    return build_dataset(read([small_world]))


def judged(dataset: Dataset, published: Recommender, with_baselines: bool = False) -> Outcome:
    """The outcome for the published version as a candidate for its own place."""
    staged = published.artifacts.directory
    return judge(staged, published, dataset, hold_out(dataset), 42, 0.02, with_baselines, Stopwatch())


def test_a_version_equals_itself(dataset: Dataset, published: Recommender):
    outcome = judged(dataset, published)

    assert outcome.verdict.passed
    assert outcome.verdict.against == published.manifest.version
    assert outcome.verdict.overlap == {10: 1, 50: 1, 100: 1, 500: 1}
    assert outcome.summary() == published.manifest.metrics
    assert list(outcome.scores) == ["segue", "published"]


def test_baselines_are_scored_if_asked_for(dataset: Dataset, published: Recommender):
    outcome = judged(dataset, published, with_baselines=True)

    assert list(outcome.scores)[2:] == ["popularity", "item cosine", "plain ALS", "playlist kNN"]


def test_scrambled_data_are_refused(dataset: Dataset, published: Recommender):
    rows = np.random.default_rng(0).permutation(dataset.tracks.rows)
    scrambled = replace(dataset, tracks=Ragged(dataset.tracks.offsets, rows))

    verdict = judged(scrambled, published).verdict
    assert not verdict.passed
    assert "not like those before" in verdict.reason


def test_without_tasks_only_the_catalogues_are_compared(dataset: Dataset, published: Recommender):
    staged, nobody = published.artifacts.directory, np.zeros(len(dataset), bool)

    outcome = judge(staged, published, dataset, nobody, 42, 0.02, False, Stopwatch())
    assert outcome.verdict.passed
    assert outcome.scores == {}
    assert outcome.summary() == {}


def test_a_warm_start_needs_held_out_playlists_that_the_version_has_not_seen(dataset: Dataset, published: Recommender):
    held_out = hold_out(dataset)

    assert find_start(published, dataset, held_out) is published.artifacts
    assert find_start(published, dataset, ~held_out) is None
    assert find_start(None, dataset, held_out) is None


def test_the_quality_of_a_version_is_in_its_manifest(published: Recommender):
    quality = quality_of(published)

    assert quality is not None
    assert quality.version == published.manifest.version
    assert quality.means["ndcg"] == pytest.approx(published.manifest.metrics["ndcg"])
