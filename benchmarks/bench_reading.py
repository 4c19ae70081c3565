"""
Rows a second and peak memory of reading tables of each kind.

    python benchmarks/bench_reading.py [--rows 10000000] [--kinds csv quoted tsv csv.gz jsonl parquet]

Each table is written to a temporary directory, then read by a process of its own, which keeps nothing.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from machine import describe_machine

BLOCK_ROWS = 1_000_000
READ = """
import sys, time
from pathlib import Path
from trainer.sources import read

started = time.monotonic()
rows = sum(len(batch.rows) for batch in read([Path(sys.argv[1])]))
wall_s, cpu_s = time.monotonic() - started, time.process_time()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(rows, wall_s, cpu_s, int(status["VmHWM"].split()[0]) >> 10)
"""
WRITERS: dict[str, Callable[[pl.LazyFrame, Path], object]] = {
    "csv": lambda rows, path: rows.sink_csv(path, quote_style="never"),
    "quoted": lambda rows, path: rows.sink_csv(path.with_suffix(".csv"), quote_style="always"),
    "tsv": lambda rows, path: rows.sink_csv(path, separator="\t", quote_style="never"),
    "csv.gz": lambda rows, path: rows.sink_csv(path, quote_style="never", compression="gzip"),
    "jsonl": lambda rows, path: rows.sink_ndjson(path),
    "parquet": lambda rows, path: rows.sink_parquet(path),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Rows a second and peak memory of reading tables of each kind.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--kinds", nargs="+", choices=WRITERS, default=list(WRITERS))
    options = parser.parse_args()
    print(describe_machine())
    print(f"{'kind':>10}{'MiB':>8}{'wall s':>10}{'CPU s':>10}{'rows/s':>14}{'peak MiB':>10}")
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as directory:
            WRITERS[kind](interactions(options.rows), Path(directory, f"table.{kind}"))
            (path,) = Path(directory).iterdir()
            rows, wall_s, cpu_s, peak_mib = measured(path)
            figures = (
                f"{path.stat().st_size >> 20:>8,}{wall_s:>10.1f}{cpu_s:>10.1f}{rows / wall_s:>14,.0f}{peak_mib:>10,}"
            )
            print(f"{kind:>10}{figures}", flush=True)


def interactions(n_rows: int) -> pl.LazyFrame:
    """Rows of playlists with 60 tracks each, tracks drawn by popularity, made in blocks."""
    parts = [block(first, min(BLOCK_ROWS, n_rows - first)) for first in range(0, n_rows, BLOCK_ROWS)]
    return pl.concat([pl.LazyFrame(columns) for columns in parts])


def block(first: int, n_rows: int) -> dict[str, list[str] | np.ndarray]:
    """Columns of *n_rows* rows from row *first* on, a function of these numbers."""
    random = np.random.default_rng(first)
    tracks = (2_000_000 * random.random(n_rows) ** 3).astype(np.int64)
    return {
        "playlist_id": [f"p{row // 60}" for row in range(first, first + n_rows)],
        "track_id": [f"spotify:track:{track:08d}" for track in tracks.tolist()],
        "track_name": [f"A Song, Number {track % 10_000}".replace(",", "") for track in tracks.tolist()],
        "plays": random.integers(1, 100, n_rows),
    }


def measured(path: Path) -> tuple[int, float, float, int]:
    """Rows, seconds, CPU seconds and peak resident MiB of reading *path* in a process of its own."""
    command = [sys.executable, "-c", READ, str(path)]
    rows, wall_s, cpu_s, peak_mib = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(rows), float(wall_s), float(cpu_s), int(peak_mib)


if __name__ == "__main__":
    main()
