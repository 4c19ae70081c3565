"""The matrix of confidences."""

import numpy as np
import pytest

from service.engine import Weights
from trainer.dataset import Dataset, build_dataset
from trainer.dataset.matrix import training_matrix
from trainer.sources import SourcePlaylist, SourceTrack

A1, A2, B1 = (SourceTrack(f"t:{name}", name, f"a:{name[0]}", name[0]) for name in ("a1", "a2", "b1"))
LONE = SourceTrack("t:lone", "lone", "", "")
WEIGHTS = Weights(20, 1, 1, 0.3)


@pytest.fixture
def dataset() -> Dataset:
    playlists = [("1", "Chill", [A1, B1, A1]), ("2", "chill!", [A2, A1]), ("3", "Other", [LONE]), ("1", "Again", [B1])]
    return build_dataset(SourcePlaylist(*playlist) for playlist in playlists)


def test_title_terms_occur_in_at_least_two_playlists(dataset: Dataset):
    matrix = training_matrix(dataset, WEIGHTS)

    assert matrix.words == ["chill"]
    assert matrix.grams == [" chi", "chil", "hill", "ill "]


def test_the_matrix_holds_confidences(dataset: Dataset):
    matrix = training_matrix(dataset, WEIGHTS)

    assert matrix.confidences.shape == (4, 4 + 2 + 1 + 4)
    row = matrix.confidences[0].toarray().ravel()
    columns = {id_: row[i] for i, id_ in enumerate(dataset.vocabulary.track_ids)}
    assert columns == {"t:a1": 21, "t:b1": 21, "t:a2": 0, "t:lone": 0}
    assert row[4:6].tolist() == pytest.approx([1 + 20 * np.log(2)] * 2)
    assert row[6:].tolist() == pytest.approx([21, 7, 7, 7, 7])


def test_a_matrix_made_in_chunks_is_the_same(dataset: Dataset):
    whole, pieces = training_matrix(dataset, WEIGHTS), training_matrix(dataset, WEIGHTS, chunk_playlists=1)

    assert (whole.confidences != pieces.confidences).nnz == 0


@pytest.mark.parametrize("alpha", [20, 0])
def test_a_sample_has_the_items_and_strengths_of_random_playlists(dataset: Dataset, alpha: float):
    weights = Weights(alpha, 1, 1, 0.3)
    sample = training_matrix(dataset, weights).sample(dataset.items, dataset.titles, kept=3, seed=0)

    chosen = np.random.default_rng(0).permutation(4)[:3]
    assert [sample.items[place].tolist() for place in range(3)] == [dataset.items[row].tolist() for row in chosen]
    assert sample.n_playlists == 4
    assert sample.frequencies[:4].tolist() == dataset.popularity().tolist()
    of_tracks = sample.features.strengths[sample.features.columns < 4]
    assert of_tracks.tolist() == pytest.approx([1] * len(sample.items.rows))
    of_artists = sample.features.strengths[(sample.features.columns >= 4) & (sample.features.columns < 6)]
    assert set(of_artists.tolist()) <= ({1.0} if alpha == 0 else set(np.log1p([1, 2]).astype(np.float32).tolist()))
