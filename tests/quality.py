"""
Recommendations on real data against the yardsticks, judged independently: a minute or two, no part of `make test`.

    python -m pytest tests/quality.py

It needs the sample of the Million Playlist Dataset, and Last.fm 2K, beside the checkout.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from service.engine import KINDS, Catalogue, ItemTable, Kind, Recommender, Store
from service.engine.catalogue import write_catalogue
from trainer.config import Configs
from trainer.dataset import build_dataset
from trainer.evaluation.answers import FIRST_STAGE
from trainer.evaluation.scores import Evaluation, Scores
from trainer.pipeline import Plan, evaluate, train
from trainer.sources import read

SHARED = Path(__file__).parents[2] / "shared"
SAMPLE, JUDGE = SHARED / "data" / "mpd-sample.zip", SHARED / "tools" / "score_challenge.py"
TWO_LETTERS = re.compile("[\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff]{2}")  # Chinese, Japanese, Korean
LASTFM = SHARED / "data" / "lastfm-2k"

pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason=f"needs {SAMPLE}, which is not here")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("challenge")


@pytest.fixture(scope="module")
def evaluation(out: Path) -> Evaluation:
    found = evaluate([SAMPLE], Configs.of(), out)
    print(found)
    return found


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    """A model of all that the listeners of Last.fm 2K played."""
    models = tmp_path_factory.mktemp("listening")
    train([LASTFM], models, Configs.of(), Plan(hold_out=False))
    recommender = Recommender.open(Store(models).current())
    yield recommender
    recommender.close()


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """The catalogue of the sample, without a model."""
    dataset = build_dataset(read([SAMPLE]))
    names = dataset.vocabulary
    tracks = ItemTable(names.track_ids, names.track_names, dataset.popularity())
    artists = ItemTable(names.artist_ids, names.artist_names, dataset.artist_popularity())
    track_artists = [None if row < 0 else row for row in names.track_artists.tolist()]
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.sqlite"
    write_catalogue(
        path,
        zip(tracks.ids, tracks.names, track_artists, tracks.popularity.tolist(), ranks(tracks), strict=True),
        zip(artists.ids, artists.names, artists.popularity.tolist(), ranks(artists), strict=True),
        [],
        [],
    )
    opened = Catalogue.open(path)
    yield opened
    opened.close()


def ranks(items: ItemTable) -> list[int]:
    return np.argsort(items.by_popularity).tolist()


def mean(scores: Scores, measure: str, category: int | None = None) -> float:
    chosen = np.ones(len(scores.categories), bool) if category is None else scores.categories == category
    return float(scores.values[measure][chosen].mean())


def test_segue_beats_plain_als_and_the_playlist_knn(evaluation: Evaluation):
    ours = mean(evaluation.scores["segue"], "ndcg")

    assert ours >= 1.10 * mean(evaluation.scores["plain ALS"], "ndcg")
    assert ours >= 1.08 * mean(evaluation.scores["playlist kNN"], "ndcg")


def test_a_title_alone_beats_popularity(evaluation: Evaluation):
    ours, theirs = (mean(evaluation.scores[name], "r_precision", 0) for name in ("segue", "popularity"))

    assert ours >= 1.2 * theirs


@pytest.mark.parametrize("name", ["plain ALS", "playlist kNN"])
def test_the_yardsticks_are_built_well(evaluation: Evaluation, name: str):
    assert mean(evaluation.scores[name], "ndcg") >= 3.4 * mean(evaluation.scores["popularity"], "ndcg")


def test_every_category_has_at_least_100_playlists(evaluation: Evaluation):
    counts = np.bincount(evaluation.scores["segue"].categories)

    assert len(counts) == 10
    assert counts.min() >= 100


def test_an_independent_judge_agrees_to_four_decimals(evaluation: Evaluation, out: Path):
    files = [str(out / name) for name in ("challenge_set.json", "answers.json", "submission.csv")]
    judged = json.loads(subprocess.check_output([sys.executable, str(JUDGE), *files, "--json"]))

    for name, row in evaluation.scores["segue"].table().items():
        for measure in ("r_precision", "r_precision_artist", "ndcg", "clicks"):
            assert row[measure] == pytest.approx(judged[name][measure], abs=5e-5)


def test_listeners_are_continued_better_than_by_every_baseline():
    found = evaluate([LASTFM], Configs.of())
    print(found)
    means = {name: mean(scores, "ndcg_at_10") for name, scores in found.scores.items()}
    first = means.pop(FIRST_STAGE)
    ours, *others = means.values()

    assert len(others) == 3
    assert ours >= 1.05 * max(others)
    assert ours >= 1.01 * first


@pytest.mark.parametrize(
    ("artist", "expected"),
    [
        ("Radiohead", "Beck"),
        ("Miles Davis", "John Coltrane"),
        ("Metallica", "Megadeth"),
        ("Lady Gaga", "Katy Perry"),
        ("Bob Marley", "Bob Marley & The Wailers"),
    ],
)
def test_neighbours_of_well_known_artists_are_those_that_one_expects(
    listening: Recommender, artist: str, expected: str
):
    assert expected in {found.name for found in listening.similar("artists", [artist], 20)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_is_found_by_itself_and_by_two_letters_of_scripts_without_spaces(catalogue: Catalogue, kind: Kind):
    rows = range(len(catalogue.ids(kind)))
    names = {row: fields["name"] for row, (fields, _) in catalogue.fields(kind, rows).items()}

    def finds(text: str, name: str, k: int) -> bool:
        return name in {names[row] for row in islice(catalogue.search(kind, text), k)}

    distinct = {name for name in names.values() if name.strip()}
    assert [name for name in distinct if not finds(name, name, 20)] == []
    assert [name for name in distinct if TWO_LETTERS.match(name) and not finds(name[:2], name, 500)] == []
