"""A version of the current format must always open and answer as it did; older ones are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.engine import FORMAT_VERSION, Playlist, Recommender, UnsupportedFormat

GOLDEN = Path(__file__).parents[2] / "golden"


def matches(found: list[Any], expected: list[dict[str, Any]]) -> bool:
    """The same tracks by the same scores, up to the rounding of another processor."""
    scores = {track["id"]: track["score"] for track in expected}
    return {track.id for track in found} == set(scores) and all(
        track.score == pytest.approx(scores[track.id], abs=1e-4) for track in found
    )


@pytest.mark.parametrize("number", range(1, FORMAT_VERSION))
def test_an_older_format_is_refused_with_what_to_do(number: int):
    with pytest.raises(UnsupportedFormat, match=rf"format {number}; .* reads format {FORMAT_VERSION}: .* train again"):
        Recommender.open(GOLDEN / f"v{number}" / "model")


def test_it_opens_and_answers_as_it_did():
    expected = json.loads((GOLDEN / f"v{FORMAT_VERSION}" / "answers.json").read_text())
    recommender = Recommender.open(GOLDEN / f"v{FORMAT_VERSION}" / "model")

    answers = recommender.recommend([Playlist(**playlist) for playlist in expected["asked"]], 10)

    for answer, before in zip(answers, expected["answers"], strict=True):
        assert answer.strategy == before["strategy"]
        assert matches(answer.found, before["found"])
    more = recommender.recommend_artists([Playlist(**playlist) for playlist in expected["asked"]], 10)
    for answer, artists in zip(more, expected["artists"], strict=True):
        assert matches(answer.found, artists["found"])
    similar = expected["similar"]
    assert matches(recommender.similar_tracks([similar["track"]], 10), similar["tracks"])
    recommender.close()
