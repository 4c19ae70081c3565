"""
The halves of each agreement agree: training and serving, one and many, index and brute force, HTTP and engine.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from service.engine import Artifacts, Options, Playlist, Recommender, Store
from trainer.cli import main
from trainer.dataset import Dataset, build_dataset
from trainer.dataset.matrix import training_matrix
from trainer.evaluation.answers import Segue, seed_playlists
from trainer.evaluation.split import hold_out
from trainer.evaluation.tasks import assign_categories, playlist_tasks
from trainer.sources import read

SCORER = Path(__file__).parents[2] / "shared" / "tools" / "score_challenge.py"


@pytest.fixture(scope="module")
def artifacts(models: Path):
    opened = Artifacts.open(Store(models).current())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def learned(world: Path) -> Dataset:
    """The playlists that the published model was trained on."""
    dataset = build_dataset(read([world]))
    return dataset.select(~hold_out(dataset))


def known_playlists(dataset: Dataset, count: int) -> list[Playlist]:
    ids = dataset.vocabulary.track_ids
    return [Playlist([ids[row] for row in dataset.tracks[i]], title=dataset.titles[i]) for i in range(count)]


def test_fold_in_equals_implicits_own_recalculation(recommender: Recommender, artifacts: Artifacts, learned: Dataset):
    asked = known_playlists(learned, 60)
    features = recommender.features(asked)
    confidences = artifacts.space.confidences(features.strengths)
    matrix = csr_matrix((confidences, features.columns, features.offsets), shape=(60, artifacts.space.n_features))
    numbers = artifacts.manifest.numbers
    model = AlternatingLeastSquares(factors=16, regularization=numbers["regularization"], alpha=1.0)
    model.item_factors = np.array(artifacts.vectors)
    model.user_factors = np.zeros((60, 16), np.float32)

    np.testing.assert_allclose(recommender.fold_in(asked), model.recalculate_user(np.arange(60), matrix), atol=2e-5)


def test_the_trained_row_of_a_playlist_equals_what_the_service_derives(
    recommender: Recommender, artifacts: Artifacts, learned: Dataset
):
    """By the names of the features, because training and files order them differently."""
    matrix = training_matrix(learned, artifacts.space.weights)
    vocabulary, catalogue, space = learned.vocabulary, artifacts.catalogue, artifacts.space
    trained_names = [
        *vocabulary.track_ids,
        *(f"artist {id_}" for id_ in vocabulary.artist_ids),
        *(f"term {row}" for row in range(len(matrix.words) + len(matrix.grams))),
    ]
    served_names = [
        *catalogue.ids("tracks"),
        *(f"artist {id_}" for id_ in catalogue.ids("artists")),
        *(f"term {row}" for row in range(space.n_words + space.n_grams)),
    ]
    served = recommender.features(known_playlists(learned, 200))

    assert sorted(trained_names) == sorted(served_names)
    for index in range(200):
        row = matrix.confidences[index]
        columns, strengths = served[index]
        trained = {trained_names[column]: value for column, value in zip(row.indices, row.data, strict=True)}
        derived = {
            served_names[column]: value for column, value in zip(columns, space.confidences(strengths), strict=True)
        }
        assert trained == derived


def test_exact_retrieval_equals_brute_force(recommender: Recommender, artifacts: Artifacts, learned: Dataset):
    asked = known_playlists(learned, 50)
    tracks = artifacts.candidates["tracks"].ranking
    ranking = np.hstack(tracks.parts).astype(np.float64)

    for playlist, query, answer in zip(
        asked, recommender.fold_in(asked), recommender.recommend(asked, Options(100, rank=False)), strict=True
    ):
        scores = ranking @ query.astype(np.float64)
        scores[artifacts.catalogue.rows("tracks", playlist.tracks)[0]] = -np.inf
        best = recommender.items("tracks", np.argsort(-scores)[:100].tolist())
        found = {track.id: track.score for track in answer.found}
        missed = {track.id for track in best} - set(found)
        kth = np.sort(scores)[-100]
        rows = artifacts.catalogue.rows("tracks", sorted(missed))[0]
        assert all(abs(scores[row] - kth) < 1e-6 for row in rows)  # tied up to rounding
        assert len(found) == 100


def test_one_playlist_alone_gets_the_same_list_as_within_a_batch_of_64(recommender: Recommender, learned: Dataset):
    asked = known_playlists(learned, 64)

    together = recommender.recommend(asked, Options(100))

    assert [recommender.recommend([playlist], Options(100))[0] for playlist in asked] == together


def test_the_http_answer_equals_what_the_evaluator_scored(client: TestClient, recommender: Recommender, world: Path):
    dataset = build_dataset(read([world]))
    held_out = np.flatnonzero(hold_out(dataset))
    tasks = playlist_tasks(dataset, assign_categories(dataset, held_out, 3), seed=42)
    scored = Segue(recommender).recommend(tasks, 500)

    for playlist, expected in zip(seed_playlists(recommender, tasks), scored, strict=True):
        body = {"tracks": playlist.tracks, "artists": playlist.artists, "title": playlist.title, "k": 500}
        answer = client.post("/recommend", json={**body, "tracks": list(playlist.tracks)}).json()
        assert [track["id"] for track in answer["tracks"]] == expected


TINY = ["--factors", "8", "--iterations", "2", "--trees", "4", "--ranker-playlists", "150"]
TINY += ["--ranker-networks", "1", "--title-axes", "0"]


def test_an_independent_judge_agrees_with_our_metrics(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if not SCORER.exists():
        pytest.skip(f"needs {SCORER}, which is not here")
    assert main(["evaluate", str(world), "--out", str(tmp_path), *TINY]) == 0
    ours = capsys.readouterr().out.splitlines()
    files = [str(tmp_path / name) for name in ("challenge_set.json", "answers.json", "submission.csv")]

    judged = json.loads(subprocess.check_output([sys.executable, str(SCORER), *files, "--json"]))

    for line in ours[1:12]:
        name, *cells = line.split()
        theirs = judged[name]
        assert [f"{theirs[m]:.4f}" for m in ("r_precision", "r_precision_artist", "ndcg")] == cells[:3]
        assert f"{theirs['clicks']:.2f}" == cells[3]
