"""What Prometheus reads, right across the workers: each counts in files of its own, which whoever is asked adds up."""

import os
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.board import Board, Post

CONTENT_TYPE = CONTENT_TYPE_LATEST
RELEASE = version("segue")
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REGISTRY = CollectorRegistry()
REQUESTS = Histogram(
    "segue_request_duration_seconds",
    "From the headers of a request to the end of its answer.",
    ["route", "status", "strategy"],
    buckets=BUCKETS_S,
    registry=REGISTRY,
)
IN_PROGRESS = Gauge(
    "segue_requests_in_progress", "Requests being answered.", multiprocess_mode="livesum", registry=REGISTRY
)
WAITING = Gauge(
    "segue_requests_waiting", "Requests that wait for the engine.", multiprocess_mode="livesum", registry=REGISTRY
)
QUEUE_WAIT = Histogram(
    "segue_queue_wait_seconds",
    "How long requests waited for the engine before it was their turn.",
    buckets=BUCKETS_S,
    registry=REGISTRY,
)
REFUSED = Counter("segue_requests_refused", "Requests that were refused, by reason.", ["reason"], registry=REGISTRY)
SEEDS = Counter(
    "segue_seeds", "What playlists said, by whether the catalogue knows it.", ["kind", "known"], registry=REGISTRY
)
RELOADS = Counter("segue_reloads", "Versions that a worker took up or refused.", ["outcome"], registry=REGISTRY)
BLOCKLIST_ENTRIES = Gauge(
    "segue_blocklist_entries", "Ids in the blocklist.", multiprocess_mode="livemax", registry=REGISTRY
)
BLOCKLIST_REFUSED = Counter("segue_blocklist_refused", "Blocklists that could not be read.", registry=REGISTRY)
AUDITED = Counter(
    "segue_audited_neighbours", "True neighbours of the calls that were audited.", ["kind"], registry=REGISTRY
)
AUDITED_FOUND = Counter(
    "segue_audited_neighbours_found", "How many of them the index found.", ["kind"], registry=REGISTRY
)
DEATHS = Counter("segue_worker_deaths", "Workers that died and were replaced.", registry=REGISTRY)

# Said from the start, so that a rate over them is 0 and not nothing until the first comes.
for reason in ("overload", "unready", "rate", "unauthorized", "forbidden", "body", "slow", "header", "connections"):
    REFUSED.labels(reason)
for outcome in ("served", "refused"):
    RELOADS.labels(outcome)


class Workers(Collector):
    """What the workers posted of themselves, as metrics."""

    def __init__(self, board: Board):
        self._board = board

    def collect(self) -> Iterator[Metric]:
        posts = self._board.read()
        yield _gauge(
            "segue_workers",
            "Workers, by the version that they serve and how they stand.",
            ["version", "status"],
            [([v or "", status], n) for (v, status), n in _tally(posts).items()],
        )
        created = [moment for post in posts if (moment := _moment(post.standing.created_at)) is not None]
        yield _gauge(
            "segue_model_created_timestamp_seconds",
            "When the served version was made; the oldest of all workers.",
            [],
            [([], min(created))] if created else [],
        )
        yield _gauge(
            "segue_worker_memory_bytes",
            "Memory of a worker that it shares with nobody.",
            ["worker"],
            [([str(post.pid)], bytes_) for post in posts if (bytes_ := private_bytes(post.pid)) is not None],
        )
        yield _gauge("segue_build_info", "The release.", ["version"], [([RELEASE], 1)])


def describe_metrics(board: Board) -> bytes:
    """All metrics of all workers, in the format of Prometheus."""
    registry = REGISTRY
    if DIRECTORY in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types there
    return generate_latest(registry) + generate_latest(_only(Workers(board)))


def forget_worker(pid: int) -> None:
    """Leave the gauges of the worker *pid*, which is gone, out of the sums; what it counted stays counted."""
    if DIRECTORY in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types there


def private_bytes(pid: int) -> int | None:
    """The anonymous memory of the process *pid*; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), None)


def _moment(text: str | None) -> float | None:
    """Seconds since 1970 of an ISO 8601 time with its zone; None where *text*, which a manifest says, is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None


def _only(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def _tally(posts: Iterable[Post]) -> Tally[tuple[str | None, str]]:
    return Tally((post.standing.version, post.standing.status) for post in posts)


def _gauge(name: str, text: str, labels: Sequence[str], values: Sequence[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for value in values:
        family.add_metric(*value)
    return family
