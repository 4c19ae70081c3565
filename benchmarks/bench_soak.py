"""
Half load for a long time: the memory of the workers stays flat.

    python benchmarks/bench_soak.py [DATA...] [--minutes 15] [--record]     default: 10,000 synthetic playlists

Two workers get the requests of bench_overload.py at half of the sustainable rate, which is measured first. The private
anonymous memory of each worker is read each second, and its value at the end compared with that after a minute.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench_overload import closed, command, counts, find_saturation, find_sustainable_rate, world
from load import Load, Records, percentile, prepare, run, statuses
from machine import describe_machine
from reliability import Report, Service, private_memory, sparkline

WORKERS = 2
GROWTH = 0.02
WARM_S = 30.0  # the caches of the catalogue fill with the first thousands of requests
FIRST_S, SETTLED_S = 60, 10  # compared: the ten seconds after the first minute, and the last ten
BARS = 60

Samples = dict[int, list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and latency of a long half load.")
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, help="requests/s, in place of half of the sustainable rate")
    parser.add_argument("--models", type=Path, help="a store with a model of DATA, so that none is trained")
    parser.add_argument("--record", action="store_true", help="write the figures into benchmarks/reliability.md")
    options = parser.parse_args()
    with world(options.data, options.models) as (models, requests, data), Service(models, workers=WORKERS) as service:
        print(f"\n{describe_machine()}\ndata: {data}\n")
        rate_option = "" if options.rate is None else f" --rate {options.rate:g}"
        report = Report(
            "soak", f"{command(options.data, 'bench_soak.py')} --minutes {options.minutes:g}{rate_option}", data
        )
        report.add("workers", str(WORKERS))
        report.add("start to ready", f"{service.ready_after_s:.1f} s")
        closed(service, requests, WORKERS, WARM_S)
        rate = options.rate or find_half(service, requests, report)
        bench(service, requests, rate, options.minutes * 60, report)
        print(*(f"\nmissed: {line}" for line in report.missed))
        report.finish(options.record)


def find_half(service: Service, requests: Sequence[bytes], report: Report) -> float:
    """Return half of the sustainable rate."""
    _, most = find_saturation(service, requests)
    rate, _ = find_sustainable_rate(service, requests, most)
    report.add("sustainable rate", f"{rate:.0f}/s")
    return rate / 2


def bench(service: Service, requests: Sequence[bytes], rate: float, seconds: float, report: Report) -> None:
    if seconds < FIRST_S + 2 * SETTLED_S:
        raise SystemExit("error: a soak takes more than a minute and a half")
    records, memory = run(soak(service, requests, rate, seconds))
    report.add("rate", f"{rate:.0f}/s for {seconds / 60:g} min")
    report.add("answers", counts({str(status): n for status, n in statuses(records).items()}))
    report.add("p50 and p99", f"{percentile(records, 50):.1f} and {percentile(records, 99):.1f} ms")
    for place, (pid, samples) in enumerate(memory.items()):
        first = median(samples[FIRST_S : FIRST_S + SETTLED_S]) / 2**20
        last = median(samples[-SETTLED_S:]) / 2**20
        grown = last / first - 1
        print(f"\n  worker {place + 1}, {min(samples) / 2**20:.1f} to {max(samples) / 2**20:.1f} MiB")
        print(f"  {sparkline(thinned(samples))}\n", flush=True)
        report.add(
            f"private memory of worker {place + 1}: after a minute, at the end",
            f"{first:.1f} and {last:.1f} MiB, {grown:+.2%}",
            f"within {GROWTH:.0%}",
            abs(grown) <= GROWTH and pid in service.workers(),
        )
    print("\n  minute     p50     p99    most")
    for minute, part in enumerate(by_minute(records), 1):
        figures = "".join(f"{percentile(part, share):8.1f}" for share in (50, 99, 100))
        print(f"  {minute:>6}{figures} ms")


async def soak(service: Service, requests: Sequence[bytes], rate: float, seconds: float) -> tuple[Records, Samples]:
    """Return the records of the load, and the memory of each worker at each second."""
    memory: Samples = {pid: [] for pid in service.workers()}
    scraper = Load(service.port, [prepare("GET", "/metrics"), prepare("GET", "/health/ready")])
    scraping = asyncio.create_task(scraper.open(0.4, seconds))
    loading = asyncio.create_task(Load(service.port, requests).open(rate, seconds))
    began = time.monotonic()
    for second in range(int(seconds)):
        for pid, samples in memory.items():
            samples.append(private_memory(pid))
        if second % 60 == 0:
            shown = ", ".join(f"{samples[-1] / 2**20:.1f}" for samples in memory.values())
            print(f"  {second // 60:>3} min: {shown} MiB", flush=True)
        await asyncio.sleep(max(0.0, began + second + 1 - time.monotonic()))
    scraper.stop()
    await scraping
    return await loading, memory


def thinned(samples: Sequence[int]) -> list[float]:
    """Return medians of *samples*, enough for a line."""
    step = max(1, len(samples) // BARS)
    return [median(samples[start : start + step]) for start in range(0, len(samples), step)]


def by_minute(records: Records) -> list[Records]:
    minutes = ((records["scheduled"] - records["scheduled"].min()) // 60).astype(int)
    return [records[minutes == minute] for minute in range(int(minutes.max()) + 1)]


if __name__ == "__main__":
    main()
