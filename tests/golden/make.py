"""
Make the golden version of the current format, once for each format: a tiny planted world and what it answers.

    python tests/golden/make.py
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from service.engine import FORMAT_VERSION, Playlist, Recommender
from trainer.config import TrainingConfig
from trainer.fitting import fit_and_write
from trainer.intake import read_dataset
from trainer.sources import read
from trainer.sources.synthetic import synthesize
from trainer.steps import Steps

HERE = Path(__file__).parent
QUESTIONS = [Playlist(title="late night jazz"), Playlist(title="metal", artists=["golden harbors"]), Playlist()]


def main() -> None:
    directory = HERE / f"v{FORMAT_VERSION}"
    (directory / "model").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        world = Path(temporary, "world")
        synthesize(world, 60, seed=0)
        config = TrainingConfig(factors=8, iterations=5, trees=3)
        fit_and_write(read_dataset(read([world])), directory / "model", "golden", config, {}, None, Steps())
    recommender = Recommender.open(directory / "model")
    seeds = [track.id for track in recommender.popular(3)]
    asked = [*QUESTIONS, Playlist(tracks=seeds)]
    answers = recommender.recommend(asked, 10)
    artists = recommender.recommend_artists(asked, 10)
    similar = recommender.similar_tracks(seeds[:1], 10)
    recommender.close()
    content = {
        "asked": [asdict(playlist) for playlist in asked],
        "answers": [asdict(answer) for answer in answers],
        "artists": [asdict(answer) for answer in artists],
        "similar": {"track": seeds[0], "tracks": [asdict(track) for track in similar]},
    }
    (directory / "answers.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
