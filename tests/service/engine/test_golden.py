"""A version of a format that this release reads opens and answers as it did; an older one is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.engine import FORMAT_VERSION, Options, Playlist, Recommender, UnsupportedFormat
from service.engine.manifest import OLDEST_FORMAT

GOLDEN = Path(__file__).parents[2] / "golden"


def matches(found: list[Any], expected: list[dict[str, Any]]) -> bool:
    """The same tracks by the same scores, up to the rounding of another processor."""
    scores = {track["id"]: track["score"] for track in expected}
    return {track.id for track in found} == set(scores) and all(
        track.score == pytest.approx(scores[track.id], abs=1e-4) for track in found
    )


@pytest.mark.parametrize("number", range(1, OLDEST_FORMAT))
def test_an_older_format_is_refused_with_the_remedy(number: int):
    with pytest.raises(
        UnsupportedFormat,
        match=rf"format {number}; .* reads formats {OLDEST_FORMAT} to {FORMAT_VERSION}: .* train again",
    ):
        Recommender.open(GOLDEN / f"v{number}" / "model")


@pytest.mark.parametrize("number", range(OLDEST_FORMAT, FORMAT_VERSION + 1))
def test_it_opens_and_answers_as_it_did(number: int):
    expected = json.loads((GOLDEN / f"v{number}" / "answers.json").read_text())
    recommender = Recommender.open(GOLDEN / f"v{number}" / "model")

    assert recommender.manifest.format_version == number

    answers = recommender.recommend([Playlist(**playlist) for playlist in expected["asked"]], Options(10))

    for answer, before in zip(answers, expected["answers"], strict=True):
        assert answer.strategy == before["strategy"]
        assert matches(answer.found, before["found"])
    more = recommender.recommend([Playlist(**playlist) for playlist in expected["asked"]], Options(10, "artists"))
    for answer, artists in zip(more, expected["artists"], strict=True):
        assert matches(answer.found, artists["found"])
    similar = expected["similar"]
    assert matches(recommender.similar("tracks", [similar["track"]], 10), similar["tracks"])
    recommender.close()


@pytest.mark.parametrize("number", range(OLDEST_FORMAT, FORMAT_VERSION + 1))
def test_a_blocklist_holds_in_it(number: int):
    recommender = Recommender.open(GOLDEN / f"v{number}" / "model")
    blocked, *others = recommender.popular("tracks", 10)

    assert recommender.block([blocked.id, "nobody - nothing"]) == 1
    assert recommender.popular("tracks", 9) == others
    recommender.close()


def test_format_2_is_searched_and_looked_up_as_before():
    recommender = Recommender.open(GOLDEN / "v2" / "model")
    track, artist = recommender.popular("tracks", 1)[0], recommender.popular("artists", 1)[0]

    assert artist in recommender.search("artists", artist.name.upper(), 5)
    assert track in recommender.search("tracks", track.name[:-1], 100)
    assert recommender.search("tracks", "!!!", 5) == []
    assert recommender.look_up("artists", [artist.name.lower()]) == [artist]
    assert recommender.look_up("tracks", [track.id, f"name:{track.name}"]) == [track]
    recommender.close()
