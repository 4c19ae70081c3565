"""Tasks as questions to the engine."""

from contextlib import closing
from pathlib import Path

from service.engine import Recommender, Store
from trainer.evaluation.answers import seed_playlists
from trainer.evaluation.tasks import UNKNOWN, Task
from trainer.sources import SourceTrack


def test_artists_of_unknown_seeds_are_asked_for_by_id_where_known_and_else_by_name(small_models: Path):
    recommender = Recommender.open(Store(small_models).current())
    known = recommender.popular("tracks", 1)[0]
    assert known.artist is not None
    seeds = [
        SourceTrack(known.id, known.name, known.artist.id, known.artist.name),
        SourceTrack("new 1", "x", known.artist.id, "Whatever"),
        SourceTrack("new 2", "x", "spotify:artist:unknown", "By Name"),
        SourceTrack("new 3", "x", "", "By Name"),
        SourceTrack("new 4", "", "", ""),
    ]

    with closing(recommender):
        (asked,) = seed_playlists(recommender, [Task(0, UNKNOWN, "title", seeds)])

    assert asked.tracks == [known.id, "new 1", "new 2", "new 3", "new 4"]
    assert asked.artists == [known.artist.id, "By Name"]
    assert asked.title == "title"
