"""
Wall time and peak memory of `train`, and the time of an answer, as the data grow.

    python benchmarks/bench_growth.py [--playlists 10000 30000 100000]

Synthetic worlds, the full profile, each run a process of its own; making the world is not counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench_ranker import times
from machine import describe_machine

from service.engine import Recommender, Store
from trainer.synthetic.playlists import synthesize


def main() -> None:
    parser = argparse.ArgumentParser(description="train and answers as the data grow.")
    parser.add_argument("--playlists", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    sizes = parser.parse_args().playlists
    print(describe_machine())
    print(f"{'playlists':>12}{'tracks':>12}{'entries':>14}{'wall s':>10}{'peak MiB':>10}{'model MiB':>11}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            world, models = Path(directory, "world"), Path(directory, "models")
            synthesize(world, size, seed=0)
            wall_s, peak_mib = measured([sys.executable, "-m", "trainer", "train", str(world), "--models", str(models)])
            with closing(Recommender.open(Store(models).current())) as opened:
                manifest, parts = opened.manifest, times(opened)
            model_mib = sum(file["bytes"] for file in manifest.files.values()) >> 20
            counts = f"{size:>12,}{manifest.shape.tracks:>12,}{manifest.data['entries']:>14,}"
            print(f"{counts}{wall_s:>10.0f}{peak_mib:>10,}{model_mib:>11,}")
            print("            " + ", ".join(f"{part} {ms:.2f} ms" for part, ms in parts.items()), flush=True)


def measured(command: list[str]) -> tuple[float, int]:
    """Seconds and peak resident MiB of *command*."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} left with {process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss >> 10


if __name__ == "__main__":
    main()
