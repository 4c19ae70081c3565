"""Teaching the ranker: on playlists that its first stage has not seen, the same by the same seed, or not at all."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest

from service.engine import INPUTS, Pool
from trainer.config import TrainingConfig
from trainer.dataset import Dataset, build_dataset
from trainer.dataset.dataset import Bools
from trainer.evaluation.tasks import Task, random_tasks
from trainer.ranking.examples import Examples, gather
from trainer.ranking.teach import ASKED_OF, MISSES, fit_ranker, set_aside, teach
from trainer.sources import read
from trainer.synthetic.listeners import synthesize_listeners

CONFIG = TrainingConfig(
    factors=8, iterations=4, trees=4, neighbour_recall=0.5, ranker_playlists=100, ranker_networks=1, title_axes=0
)


@pytest.fixture(scope="module")
def dataset(small_world: Path) -> Dataset:
    return build_dataset(read([small_world]))


def asked(dataset: Dataset, config: TrainingConfig) -> list[int]:
    return sorted({task.index for task, _, _ in gather(dataset, config)})


def test_a_first_stage_has_not_seen_what_it_is_asked_for(dataset: Dataset, capsys: pytest.CaptureFixture[str]):
    titles = [title for pair in product(ascii_lowercase, repeat=2) for title in ["".join(pair)] * 2]  # each of one term
    titled = replace(dataset, titles=titles[: len(dataset)])

    found = list(gather(titled, CONFIG))

    terms = INPUTS.index("terms")
    assert {task.title for task, _, _ in found} > {""}
    assert all((pool.inputs[:, terms] == 0).all() for _, pool, _ in found)  # nobody else has such a title
    assert "first stage 1/1" in capsys.readouterr().err


def test_a_playlist_does_not_vote_for_itself_by_its_title(dataset: Dataset):
    titled = replace(dataset, titles=[f"{number} {number % 7} songs" for number in range(len(dataset))])

    found = list(gather(titled, replace(CONFIG, title_axes=64)))

    nearest = [
        pool.inputs[0, INPUTS.index("nearest_title")] for task, pool, _ in found if task.title and not task.seeds
    ]
    assert len(nearest) > 3
    assert 0 < min(nearest) <= max(nearest) < 0.9999  # its own title would be as near as 1


@pytest.mark.parametrize(("playlists", "folds"), [(100, 1), (101, 4)])
def test_the_data_are_folded_where_the_playlists_are_a_large_part(
    dataset: Dataset, playlists: int, folds: int, capsys: pytest.CaptureFixture[str]
):
    indexes = asked(dataset, replace(CONFIG, ranker_playlists=playlists, iterations=1))

    assert len(indexes) == playlists
    assert capsys.readouterr().err.count("ranker, first stage") == folds


def test_hits_are_the_hidden_tracks_that_are_candidates(dataset: Dataset):
    for task, pool, hits in gather(dataset, CONFIG):
        assert len(hits) == len(pool.rows)
        assert hits.sum() <= len(set(task.hidden))


def test_playlists_that_are_asked_do_not_teach(dataset: Dataset):
    asked: list[tuple[Task, Pool, Bools]] = []
    taught = list(set_aside(gather(dataset, CONFIG), asked, np.random.default_rng(0)))

    teaching, answering = {task.index for task, _, _ in taught}, [task.index for task, _, _ in asked]
    assert len(answering) == len(set(answering))
    assert all(index % ASKED_OF == 0 for index in answering)
    assert not teaching & set(answering)
    assert all((~hits).sum() <= MISSES and len(hits) == len(pool.inputs) for _, pool, hits in taught)
    assert max((~hits).sum() for _, _, hits in asked) > MISSES


def test_tasks_are_of_different_categories_that_suit_the_playlist(dataset: Dataset):
    tasks = random_tasks(dataset, range(100), 3, 7)

    assert len(tasks) == len({(task.index, task.category) for task in tasks}) > 250
    assert len({task.category for task in tasks}) > 5
    assert all(task.hidden for task in tasks)
    assert tasks == random_tasks(dataset, range(100), 3, 7) != random_tasks(dataset, range(100), 3, 8)


def test_a_ranker_orders_better_than_the_first_stage_and_is_the_same_by_the_same_seed(dataset: Dataset):
    first, second = teach(dataset, CONFIG), teach(dataset, CONFIG)

    assert first is not None
    assert second is not None
    assert first.judgement.ndcg > first.judgement.first_ndcg > 0
    assert list(first.judgement.importance.values()) == sorted(first.judgement.importance.values(), reverse=True)
    pairs = zip(first.ranker.arrays().values(), second.ranker.arrays().values(), strict=True)
    assert all((mine == yours).all() for mine, yours in pairs)
    assert first.judgement == second.judgement


@pytest.mark.parametrize("n_playlists", [1, 2, 5])
def test_too_few_playlists_teach_nothing(dataset: Dataset, n_playlists: int, capsys: pytest.CaptureFixture[str]):
    few = dataset.select(np.arange(len(dataset)) < n_playlists)

    assert teach(few, CONFIG) is None
    assert "too few playlists to learn from" in capsys.readouterr().err


def test_no_playlists_for_the_ranker_are_no_ranker(dataset: Dataset):
    assert teach(dataset, replace(CONFIG, ranker_playlists=0)) is None


def without(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Return *dataset* without titles, or without artists."""
    if "titles" in names:
        dataset = replace(dataset, titles=[""] * len(dataset))
    if "artists" in names:
        vocabulary = replace(
            dataset.vocabulary, track_artists=np.full_like(dataset.vocabulary.track_artists, -1), artist_ids=[],
            artist_names=[],
        )  # fmt: skip
        dataset = replace(dataset, vocabulary=vocabulary)
    return dataset


@pytest.mark.parametrize("names", [["titles"], ["artists"], ["titles", "artists"]])
def test_data_without_titles_or_artists_teach_too(dataset: Dataset, names: Sequence[str]):
    assert teach(without(dataset, names), CONFIG) is not None


def test_listeners_are_asked_for_other_hidden_parts_by_each_first_stage(tmp_path: Path):
    synthesize_listeners(tmp_path / "plays.tsv", 200, seed=3)
    listeners = build_dataset(read([tmp_path / "plays.tsv"]))

    found = list(gather(listeners, CONFIG))

    assert len(found) == 4 * 100
    assert len({task.index for task, _, _ in found}) == 100
    assert len({(task.index, *task.hidden) for task, _, _ in found}) > 3.9 * 100
    assert {task.kind for task, _, _ in found} == {"artists"}
    assert sum(hits.sum() for _, _, hits in found) > 0.5 * sum(len(task.hidden) for task, _, _ in found)


def test_an_input_that_never_changed_has_no_influence():
    random = np.random.default_rng(0)
    inputs = random.random((400, len(INPUTS)), np.float32)
    inputs[:, INPUTS.index("titled")] = 0
    hits = inputs[:, INPUTS.index("solve_ratio")] > 0.5
    taught = Examples(np.array([0, 400]), inputs, inputs[:, 0], hits, np.array([0]))

    ranker = fit_ranker(taught, CONFIG)

    titled, other = inputs.copy(), inputs.copy()
    titled[:, INPUTS.index("titled")] = 1
    other[:, INPUTS.index("solve_ratio")] = 1
    assert (ranker.score(titled) == ranker.score(inputs)).all()
    assert (ranker.score(other) != ranker.score(inputs)).any()
