"""
Make the golden version of the current format: a tiny planted world and its answers. Run it once for each format.

    python tests/golden/make.py
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.engine import FORMAT_VERSION, Options, Playlist, Recommendation, Recommender
from trainer.config import TrainingConfig
from trainer.dataset import build_dataset
from trainer.fitting.fit import fit_and_write
from trainer.sources import read
from trainer.synthetic.playlists import synthesize
from trainer.timing import Stopwatch

HERE = Path(__file__).parent
QUESTIONS = [Playlist(title="late night jazz"), Playlist(title="metal", artists=["golden harbors"]), Playlist()]


def main() -> None:
    directory = HERE / f"v{FORMAT_VERSION}"
    (directory / "model").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        world = Path(temporary, "world")
        synthesize(world, 60, seed=0)
        config = TrainingConfig(factors=8, iterations=5, trees=3, ranker_playlists=0)
        fit_and_write(build_dataset(read([world])), directory / "model", "golden", config, {}, None, Stopwatch())
    recommender = Recommender.open(directory / "model")
    seeds = [track.id for track in recommender.popular("tracks", 3)]
    asked = [*QUESTIONS, Playlist(tracks=seeds)]
    answers = recommender.recommend(asked, Options(10))
    artists = recommender.recommend(asked, Options(10, "artists"))
    similar = recommender.similar("tracks", seeds[:1], 10)
    recommender.close()
    content = {
        "asked": [asdict(playlist) for playlist in asked],
        "answers": list(map(content_of, answers)),
        "artists": list(map(content_of, artists)),
        "similar": {"track": seeds[0], "tracks": [asdict(track) for track in similar]},
    }
    (directory / "answers.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def content_of(answer: Recommendation) -> dict[str, Any]:
    """Return the strategy and the items of *answer*."""
    return {"strategy": answer.strategy, "found": [asdict(item) for item in answer.found]}


if __name__ == "__main__":
    main()
