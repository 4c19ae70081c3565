"""
Make the golden version of the current format, once for each format: a tiny planted world and what it answers.

    python tests/golden/make.py
"""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from service.engine import FORMAT_VERSION, Playlist, Recommender, Store
from trainer.config import TrainingConfig
from trainer.pipeline import train
from trainer.sources.synthetic import synthesize

HERE = Path(__file__).parent
QUESTIONS = [Playlist(title="late night jazz"), Playlist(title="metal", artists=["golden harbors"]), Playlist()]


def main() -> None:
    directory = HERE / f"v{FORMAT_VERSION}"
    with tempfile.TemporaryDirectory() as temporary:
        world, models = Path(temporary, "world"), Path(temporary, "models")
        synthesize(world, 60, seed=0)
        train([world], models, TrainingConfig(factors=8, iterations=5, trees=3))
        shutil.copytree(Store(models).current(), directory / "model")
    recommender = Recommender.open(directory / "model")
    seeds = [track.id for track in recommender.popular(3)]
    asked = [*QUESTIONS, Playlist(tracks=seeds)]
    answers = recommender.recommend(asked, 10)
    similar = recommender.similar_tracks(seeds[:1], 10)
    recommender.close()
    content = {
        "asked": [asdict(playlist) for playlist in asked],
        "answers": [asdict(answer) for answer in answers],
        "similar": {"track": seeds[0], "tracks": [asdict(track) for track in similar]},
    }
    (directory / "answers.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
