"""
More requests than the service can answer: it answers some quickly and refuses the others at once.

    python benchmarks/bench_overload.py [DATA...] [--record]     default: a synthetic world of 10,000 playlists

There is a worker for each core but one, which the load occupies. All settings are defaults. Three of four requests are
`/recommend` with 30 seeds, k = 100, and one is `/similar`. The *sustainable rate* is the highest rate with a p99 under
50 ms for 30 s; a refused request counts as a slower one. Then follow a minute with ten times the connections that
saturate the service, each of which sends its next request at once, and a minute at three times the sustainable rate.
Meanwhile health is requested once a second, and metrics every five seconds, three times as often as in `deploy/`.

The speed of a virtual machine varies, and it may pause. The usual latency is therefore measured before and after each
overload. The sustainable rate is found without the pauses of the machine, and the latency of refusals is also given
without them.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import argparse
import asyncio
import gc
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import numpy as np
from bench_engine import K, playlists_of_30
from load import Load, Records, accepted, milliseconds, percentile, prepare, run, statuses
from machine import describe_machine
from numpy.typing import NDArray
from reliability import Report, Service, private_memory, until
from standstill import Standstills

from service.engine import Store
from trainer.config import Configs
from trainer.dataset import build_dataset
from trainer.pipeline import Plan, train
from trainer.sources import read
from trainer.synthetic.playlists import synthesize

WITHIN_MS = 50.0  # limit of a sustainable p99, and of a refusal
TIMES = 3.0  # limit of the p99 under overload, relative to half load
PROBE_S, CONFIRM_S, STEPS = 5.0, 30.0, 6
BACK_WITHIN_S, WATCHED_S, WINDOW_S = 2.0, 15.0, 5.0
NEARLY = 0.85  # of the highest rate: the same load twice may differ by as much as that
GROWTH = 0.05  # of a worker's private memory, at most
PROBES_PER_S = {"/health/live": 1.0, "/health/ready": 1.0, "/metrics": 0.2}


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency, refusals and memory under overload.")
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--models", type=Path, help="a store with a model of DATA, so that none is trained")
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 1) - 1, 1), help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each overload")
    parser.add_argument("--record", action="store_true", help="write the figures into benchmarks/reliability.md")
    options = parser.parse_args()
    with (
        world(options.data, options.models) as (models, requests, data),
        Service(models, workers=options.workers) as service,
    ):
        print(f"\n{describe_machine()}\ndata: {data}\n")
        report = Report("overload", command(options.data, "bench_overload.py"), data)
        bench(service, requests, options.seconds, report)
        print(*(f"\nmissed: {line}" for line in report.missed))
        report.finish(options.record)


def command(paths: Sequence[Path], script: str) -> str:
    """Return the command that repeats this run."""
    return " ".join(["python", f"benchmarks/{script}", *(path.name for path in paths)])


@contextmanager
def world(paths: Sequence[Path], models: Path | None) -> Iterator[tuple[Path, list[bytes], str]]:
    """Yield a store with a model, requests for it, and the name of the data."""
    with tempfile.TemporaryDirectory() as directory:
        if not paths:
            paths = [Path(directory, "synthetic-10000")]
            synthesize(paths[0], 10_000, seed=0)
        if models is None:
            models = Path(directory, "models")
            train(paths, models, Configs.of(), Plan(hold_out=False))
        Store(models).current()
        requests = mixed_requests(paths)
        gc.collect()
        gc.freeze()
        yield models, requests, ", ".join(path.name for path in paths)


def mixed_requests(paths: Sequence[Path]) -> list[bytes]:
    """Return three `/recommend` for each `/similar`."""
    rng = random.Random(4)
    requests = []
    for number, playlist in enumerate(playlists_of_30(build_dataset(read(paths)))):
        requests.append(prepare("POST", "/recommend", {"tracks": list(playlist.tracks), "k": K}))
        if number % 3 == 2:
            seed = rng.choice(playlist.tracks)
            requests.append(prepare("GET", f"/similar?{urlencode({'track': seed, 'k': 20})}"))
    return requests


def bench(service: Service, requests: Sequence[bytes], seconds: float, report: Report) -> None:
    workers = len(service.workers())
    report.add("workers", str(workers))
    closed(service, requests, workers, 3.0)  # warm
    connections, most = find_saturation(service, requests)
    report.add("connections that saturate it, and their rate", f"{connections}, {most:.0f}/s")
    rate, sustained = find_sustainable_rate(service, requests, most)
    report.add(
        "sustainable rate", f"{rate:.0f}/s: p99 {percentile(sustained, 99):.1f} ms", "p99 < 50 ms for 30 s", True
    )
    half = opened(service, requests, rate / 2, CONFIRM_S)
    figure = f"p50 {percentile(half, 50):.1f}, p99 {percentile(half, 99):.1f} ms"
    report.add("at half load", figure, "all answered", set(statuses(half)) == {200})

    overloads: dict[str, Callable[[Load], Awaitable[Records]]] = {
        "closed loop, 10 x": lambda load: load.closed(10 * connections, seconds),
        "open loop, 3 x": lambda load: load.open(3 * rate, seconds),
    }
    for name, overload in overloads.items():
        print(f"\n  {seconds:.0f} s in {name}", flush=True)
        # A machine whose speed changes needs the comparison beside the overload.
        before = saturated(service, requests, connections)
        found = run(watch(service, requests, overload, rate / 2))
        describe(found, name, half, report)
        beside = (before + saturated(service, requests, connections)) / 2
        answered = len(accepted(found.records)) / found.took_s
        report.add(
            f"{name}: that to the rate of {connections} connections, before and after", f"{answered / beside:.2f}"
        )


def closed(service: Service, requests: Sequence[bytes], connections: int, seconds: float) -> Records:
    return run(Load(service.port, requests).closed(connections, seconds))


def opened(service: Service, requests: Sequence[bytes], rate: float, seconds: float) -> Records:
    return run(Load(service.port, requests).open(rate, seconds))


def find_saturation(service: Service, requests: Sequence[bytes]) -> tuple[int, float]:
    """Return the smallest number of connections with nearly the highest rate, and that rate."""
    rates: dict[int, float] = {}
    for connections in (1, 2, 3, 4, 6, 8, 12, 16):
        rates[connections] = saturated(service, requests, connections)
    most = max(rates.values())
    return min(connections for connections, rate in rates.items() if rate >= NEARLY * most), most


def saturated(service: Service, requests: Sequence[bytes], connections: int) -> float:
    """Return the answers a second over *connections*, each of which asks again at once."""
    records = closed(service, requests, connections, PROBE_S)
    rate = len(accepted(records)) / PROBE_S
    print(f"  {connections:>3} connections: {rate:6.0f}/s, {outcome(records)}", flush=True)
    return rate


def find_sustainable_rate(service: Service, requests: Sequence[bytes], most: float) -> tuple[float, Records]:
    """Return the highest rate with a p99 within the limit, and the records of the 30 s that confirm it."""
    low, high = 0.0, 1.2 * most
    for _ in range(STEPS):
        rate = (low + high) / 2
        # Tried twice: one pause of the machine would make the overload far too small.
        sustained = any(sustains(probe(service, requests, rate, PROBE_S)) for _ in range(2))
        low, high = (rate, high) if sustained else (low, rate)
    rate = low
    while rate > 1:
        records = probe(service, requests, rate, CONFIRM_S)
        if sustains(records):
            return rate, records
        rate *= 0.95
    raise SystemExit("error: there is no rate at which the p99 stays under 50 ms")


def probe(service: Service, requests: Sequence[bytes], rate: float, seconds: float) -> Records:
    # Requests of the previous probe must not count.
    until(lambda: service.in_progress() <= 1, 10, "earlier requests to be answered")
    with Standstills() as machine:
        records = opened(service, requests, rate, seconds)
    print(f"  {rate:6.0f}/s for {seconds:2.0f} s: {outcome(records)}", flush=True)
    return without_pauses(records, machine)


def without_pauses(records: Records, machine: Standstills) -> Records:
    """Return *records* as if each had been answered earlier by as long as the *machine* stood still meanwhile."""
    records = records.copy()
    records["done"] -= machine.within(records["scheduled"], records["done"])
    return records


def sustains(records: Records) -> bool:
    """Return True if the p99 is within the limit. A refusal counts as slower."""
    late = (milliseconds(records) >= WITHIN_MS) | (records["status"] != 200)
    return bool(late.mean() < 0.01)


def outcome(records: Records) -> str:
    """Return a summary of *records*."""
    good = accepted(records)
    counts = ", ".join(f"{count} x {status}" for status, count in statuses(records).items())
    return f"p50 {percentile(good, 50):5.1f}, p99 {percentile(good, 99):6.1f} ms; {counts}"


@dataclass(frozen=True)
class Overload:
    """
    The results of an overload.

    Attributes:
        records: the requests of the overload.
        refusals: the number of other answers than 200, by status and presence of Retry-After.
        after: the requests at half load right after it.
        ended_s: the end of the overload by the monotonic clock.
        probes: the requests for health and metrics meanwhile, by path.
        before, during, left: private memory of each worker before, at the end, and afterwards, in bytes.
        client: the share of a processor that the load itself took.
        machine: the pauses of the machine.
    """

    records: Records
    refusals: Counter[tuple[int, bool]]
    after: Records
    ended_s: float
    probes: dict[str, Records]
    before: dict[int, float]
    during: dict[int, float]
    left: dict[int, float]
    client: float
    machine: Standstills

    @property
    def took_s(self) -> float:
        return self.ended_s - float(self.records["sent"].min())


async def watch(
    service: Service, requests: Sequence[bytes], overload: Callable[[Load], Awaitable[Records]], half: float
) -> Overload:
    """Run the *overload* with its probes, then the *half* load."""
    refusals: Counter[tuple[int, bool]] = Counter()

    def count(_: int, status: int, head: bytes, __: bytes) -> None:
        if status != 200:
            refusals[status, b"\nretry-after: " in head] += 1

    workers = service.workers()
    before = await memory_of(workers)
    probes = {path: Load(service.port, [prepare("GET", path)]) for path in PROBES_PER_S}
    probing = {path: asyncio.create_task(load.open(PROBES_PER_S[path], 3600.0)) for path, load in probes.items()}
    began, used = time.monotonic(), time.process_time()
    with Standstills() as machine:
        records = await overload(Load(service.port, requests, count))
    ended = time.monotonic()
    client = (time.process_time() - used) / (ended - began)
    for load in probes.values():
        load.stop()
    # All requests of the overload have ended by now.
    following = asyncio.create_task(Load(service.port, requests).open(half, WATCHED_S))
    during = {pid: float(private_memory(pid)) for pid in workers}
    probed = {path: await task for path, task in probing.items()}
    after = await following
    return Overload(records, refusals, after, ended, probed, before, during, await memory_of(workers), client, machine)


async def memory_of(workers: Sequence[int]) -> dict[int, float]:
    """Return the private memory of each of *workers* in bytes, the median over two seconds."""
    samples: dict[int, list[int]] = {pid: [] for pid in workers}
    for _ in range(10):
        for pid, found in samples.items():
            found.append(private_memory(pid))
        await asyncio.sleep(0.2)
    return {pid: median(found) for pid, found in samples.items()}


def describe(found: Overload, name: str, half: Records, report: Report) -> None:
    """Add the results to the *report*, relative to *half* load."""
    good, bad = accepted(found.records), found.records[found.records["status"] != 200]
    p99, usual = percentile(good, 99), percentile(np.concatenate((half, found.after)), 99)
    took = found.took_s
    report.add(
        f"{name}: accepted",
        f"{len(good) / len(found.records):.1%}, {len(good) / took:.0f}/s of {len(found.records) / took:.0f}/s",
    )
    report.add(f"{name}: p50 and p99 of accepted", f"{percentile(good, 50):.1f} and {p99:.1f} ms")
    figure, wanted = f"{p99 / usual:.2f} times {usual:.1f} ms", f"<= {TIMES:g} times"
    report.add(f"{name}: that p99 to the one at half load, before and after", figure, wanted, p99 <= TIMES * usual)
    others = {f"{status}{'' if retry else ' without Retry-After'}": n for (status, retry), n in found.refusals.items()}
    dropped = {str(status): n for status, n in statuses(found.records).items() if status <= 0}
    proper = set(others) <= {"503"} and not dropped
    report.add(f"{name}: all others", counts(others | dropped), "503 with Retry-After", proper)
    describe_refusals(bad, found.machine, name, report)
    for path, records in found.probes.items():
        figure = f"p50 {percentile(records, 50):.1f}, most {percentile(records, 100):.1f} ms"
        report.add(f"{name}: {path} meanwhile", figure, "200", set(statuses(records)) == {200})
    for place, pid in enumerate(found.before):
        start, at_end, left = (each[pid] / 2**20 for each in (found.before, found.during, found.left))
        flat = max(at_end, left) <= (1 + GROWTH) * start
        figure = f"{start:.1f} -> {at_end:.1f} -> {left:.1f} MiB"
        report.add(f"{name}: memory of worker {place + 1}", figure, f"<= {GROWTH:.0%} more", flat)
    back = recovery_s(found.after, found.ended_s, half)
    report.add(f"{name}: as usual again after", f"{back:.2f} s", f"< {BACK_WITHIN_S:g} s", back < BACK_WITHIN_S)
    report.add(f"{name}: of a processor, the load itself took", f"{found.client:.0%}")


def describe_refusals(refused: Records, machine: Standstills, name: str, report: Report) -> None:
    """Add the latency of the *refused* requests to the *report*, with and without the pauses of the *machine*."""
    if not len(refused):
        return
    late, ours = milliseconds(refused), milliseconds(without_pauses(refused, machine))
    report.add(f"{name}: refused after, p50, p99.9, most", of_refusals(late))
    report.add(f"{name}: the machine stood still", machine.describe())
    report.add(f"{name}: refused, less that", of_refusals(ours), f"<= {WITHIN_MS:g} ms", bool(ours.max() <= WITHIN_MS))


def of_refusals(late: NDArray[np.float64]) -> str:
    """Return p50, p99.9 and maximum of *late*, in milliseconds."""
    return f"{np.percentile(late, 50):.1f}, {np.percentile(late, 99.9):.1f}, {late.max():.1f} ms"


def counts(found: dict[str, int]) -> str:
    """Return the numbers in *found* as text."""
    return ", ".join(f"{count} x {what}" for what, count in found.items()) or "none"


def recovery_s(after: Records, ended_s: float, half: Records) -> float:
    """
    Return the seconds from the end of an overload until the service is as usual.

    In the five seconds from then on no request is refused, the p50 is at most 1.5 times that at *half* load, and the
    p99 at most `TIMES` that.
    """
    when = after["scheduled"] - ended_s
    p50, p99 = 1.5 * percentile(half, 50), TIMES * percentile(half, 99)
    for start in np.arange(0.0, WATCHED_S - WINDOW_S, 0.1):
        window = after[(when >= start) & (when < start + WINDOW_S)]
        if set(statuses(window)) == {200} and percentile(window, 50) <= p50 and percentile(window, 99) <= p99:
            return float(start)
    return float("inf")


if __name__ == "__main__":
    main()
