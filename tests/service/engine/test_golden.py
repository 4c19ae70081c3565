"""A version of each format that was ever released must always open and answer as it did."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.engine import FORMAT_VERSION, Playlist, Recommender

GOLDEN = Path(__file__).parents[2] / "golden"


def matches(found: list[Any], expected: list[dict[str, Any]]) -> bool:
    """The same tracks by the same scores, up to the rounding of another processor."""
    scores = {track["id"]: track["score"] for track in expected}
    return {track.id for track in found} == set(scores) and all(
        track.score == pytest.approx(scores[track.id], abs=1e-4) for track in found
    )


@pytest.mark.parametrize("version", [f"v{number}" for number in range(1, FORMAT_VERSION + 1)])
def test_it_opens_and_answers_as_it_did(version: str):
    expected = json.loads((GOLDEN / version / "answers.json").read_text())
    recommender = Recommender.open(GOLDEN / version / "model")

    answers = recommender.recommend([Playlist(**playlist) for playlist in expected["asked"]], 10)

    for answer, before in zip(answers, expected["answers"], strict=True):
        assert answer.strategy == before["strategy"]
        assert matches(answer.tracks, before["tracks"])
    similar = expected["similar"]
    assert matches(recommender.similar_tracks([similar["track"]], 10), similar["tracks"])
    recommender.close()
