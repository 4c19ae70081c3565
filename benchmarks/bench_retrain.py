"""
Retraining on real data: the time that a warm start saves, the verdicts of the gate, and the time of a rollback.

    python benchmarks/bench_retrain.py DATA [--part warm|gate] [--before 0.909]

DATA: the Million Playlist Dataset, or a part of it, as a zip or a directory of slices. Ten minutes or so on the sample.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
from machine import describe_machine

from service.engine import Artifacts, Ranker, Recommender, Store
from trainer.cli import main as trainer
from trainer.config import FULL
from trainer.dataset import Dataset, build_dataset, playlist_hash
from trainer.evaluation.answers import Segue, ask
from trainer.evaluation.scores import score
from trainer.evaluation.split import HELD_OUT_MOST_SHARE, split
from trainer.evaluation.tasks import Task
from trainer.fitting.fit import fit_and_write
from trainer.progress import quiet
from trainer.ranking.teach import teach
from trainer.sources import SourcePlaylist, read
from trainer.timing import Stopwatch

SEEDS = 10
PORT = 18123


def warm_start(data: Path, root: Path, share: float) -> None:
    """Train on a *share* of the playlists, then on all: from nothing or the first, with its ranker or a new one."""
    learned, tasks = split(build_dataset(read([data])), FULL.seed)
    places = np.array([playlist_hash(f"{id_} again") / 2**64 for id_ in learned.playlist_ids])
    before = learned.select(places < share)
    print(f"{len(before):,} playlists, then {len(learned):,}; {len(tasks):,} others to continue")
    kept, _ = taught(before)
    new, seconds = taught(learned)
    print(f"  teaching a ranker on all: {seconds:.0f} s", flush=True)
    fit(before, root / "before", None, None)
    found = {}
    for name, begin, ranker in (
        ("cold, ranker taught", None, new),
        ("warm, ranker taught", root / "before", new),
        ("warm, ranker kept", root / "before", kept),
    ):
        seconds = fit(learned, root / name, begin, ranker)
        measured = [ndcg(root / name, learned, tasks, rank) for rank in (True, False)]
        found[name] = (measured[0], seconds)
        print(f"  {name}: NDCG {measured[0]:.4f}, first stage {measured[1]:.4f}, fitting {seconds:.1f} s", flush=True)
    (cold, cold_s), (warm, warm_s), (old, _) = found.values()
    print(f"  warm by cold: NDCG {warm / cold:.4f}, fitting time {warm_s / cold_s:.3f}")
    print(f"  kept by taught: NDCG {old / warm:.4f}")


def taught(dataset: Dataset) -> tuple[Ranker, float]:
    """Return a ranker that was taught on *dataset*, and the seconds that this took."""
    started = time.monotonic()
    with quiet():
        found = teach(dataset, FULL)
    assert found is not None
    return found.ranker, time.monotonic() - started


def fit(dataset: Dataset, directory: Path, begin: Path | None, ranker: Ranker | None) -> float:
    """Fit and write a version, and return the seconds of the fit."""
    directory.mkdir()
    steps, opened = Stopwatch(), None if begin is None else Artifacts.open(begin)
    with quiet():
        fit_and_write(dataset, directory, directory.name, replace(FULL, trees=1), {}, opened, steps, ranker)
    if opened is not None:
        opened.close()
    return next(step.seconds for step in steps.done if step.name == "fitting")


def ndcg(directory: Path, learned: Dataset, tasks: list[Task], rank: bool) -> float:
    recommender = Recommender.open(directory)
    with quiet():
        answers = ask(Segue(recommender, rank), tasks, "asking")
    recommender.close()
    return float(score(tasks, answers, learned.vocabulary.artists_by_track(), 1).values["ndcg"].mean())


def gate(data: Path, root: Path) -> None:
    """Models that must not be published, and some that must."""
    models = root / "models"
    run("the first model", data, models)
    run("2 factors", data, models, "--factors", "2")
    for name, spared in (("shuffled, the held-out ones spared", HELD_OUT_MOST_SHARE), ("all shuffled", 0.0)):
        run(name, shuffle(data, root / f"{name}.json", spared), models, "--cold")
    for seed in range(SEEDS):
        run(f"seed {seed}", data, models, "--cold", "--seed", str(seed))
    rollback(models)


def run(name: str, data: Path, models: Path, *options: str) -> None:
    started, said = time.monotonic(), io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = trainer(["train", str(data), "--models", str(models), *options])
    print(
        f"  {name}: exit code {code}, {time.monotonic() - started:.0f} s; {said.getvalue().splitlines()[-1]}",
        flush=True,
    )


def shuffle(data: Path, out: Path, spared: float) -> Path:
    """The tracks of all playlists dealt anew, but those of playlists whose ids hash below *spared*."""
    playlists = [playlist for playlist in read([data]) if isinstance(playlist, SourcePlaylist)]
    dealt = [playlist for playlist in playlists if playlist_hash(playlist.id) / 2**64 >= spared]
    tracks = [track for playlist in dealt for track in playlist.tracks]
    order = iter(np.random.default_rng(0).permutation(len(tracks)).tolist())
    new = {playlist.id: [tracks[next(order)] for _ in playlist.tracks] for playlist in dealt}
    content = [
        {
            "pid": int(playlist.id),
            "name": playlist.title,
            "tracks": [
                {"track_uri": track.id, "track_name": track.name, "artist_name": track.artist_name}
                for track in new.get(playlist.id, playlist.tracks)
            ],
        }
        for playlist in playlists
    ]
    out.write_text(json.dumps({"playlists": content}))
    return out


def rollback(models: Path) -> None:
    """The whole command, and a service that is restarted."""
    command = [sys.executable, "-m", "trainer", "models", "rollback", "--models", str(models)]
    started = time.monotonic()
    version = subprocess.check_output(command, text=True, cwd=Path(__file__).parents[1]).strip()
    print(f"  rollback to {version}: {time.monotonic() - started:.2f} s")
    assert Store(models).current().name == version
    environment = {**os.environ, "SEGUE_MODELS": str(models), "SEGUE_PORT": str(PORT), "SEGUE_LOG_LEVEL": "warning"}
    service = subprocess.Popen([sys.executable, "-m", "service"], env=environment, cwd=Path(__file__).parents[1])
    try:
        print(f"  a service started now serves {served(f'http://127.0.0.1:{PORT}')}")
    finally:
        service.terminate()
        service.wait()


def served(url: str) -> str:
    for _ in range(600):
        try:
            ready = httpx.get(f"{url}/health/ready")
            if ready.status_code == 200:
                return str(ready.json()["model"])
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the service did not become ready")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=("warm", "gate"))
    parser.add_argument("--before", type=float, default=10 / 11, help="share of the playlists of the first model")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as temporary:
        if options.part != "gate":
            warm_start(options.data, Path(temporary), options.before)
        if options.part != "warm":
            gate(options.data, Path(temporary))


if __name__ == "__main__":
    main()
