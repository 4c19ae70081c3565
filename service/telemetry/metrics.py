"""Metrics for Prometheus. Each worker writes files of its own; `/metrics` aggregates them."""

import os
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.telemetry.counts import allocate_counts
from service.telemetry.status import StatusDirectory

CONTENT_TYPE = CONTENT_TYPE_LATEST
RELEASE = version("segue")
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

allocate_counts()
REGISTRY = CollectorRegistry()
REQUESTS = Histogram(
    "segue_request_duration_seconds",
    "Time from the headers of a request to the end of its response.",
    ["route", "status", "strategy"],
    buckets=BUCKETS_S,
    registry=REGISTRY,
)
IN_PROGRESS = Gauge(
    "segue_requests_in_progress", "Requests being answered.", multiprocess_mode="livesum", registry=REGISTRY
)
WAITING = Gauge(
    "segue_requests_waiting", "Requests waiting for the engine.", multiprocess_mode="livesum", registry=REGISTRY
)
QUEUE_WAIT = Histogram(
    "segue_queue_wait_seconds",
    "Time that requests waited for the engine.",
    buckets=BUCKETS_S,
    registry=REGISTRY,
)
REFUSED = Counter("segue_requests_refused", "Refused requests by reason.", ["reason"], registry=REGISTRY)
SEEDS = Counter(
    "segue_seeds", "Seeds of playlists by whether the catalogue knows them.", ["kind", "known"], registry=REGISTRY
)
RELOADS = Counter("segue_reloads", "Versions that a worker opened or refused.", ["outcome"], registry=REGISTRY)
BLOCKLIST_ENTRIES = Gauge(
    "segue_blocklist_entries", "Ids in the blocklist.", multiprocess_mode="livemax", registry=REGISTRY
)
BLOCKLIST_REFUSED = Counter("segue_blocklist_refused", "Blocklists that could not be read.", registry=REGISTRY)
AUDITED = Counter("segue_audited_neighbours", "True neighbours in audited requests.", ["kind"], registry=REGISTRY)
AUDITED_FOUND = Counter(
    "segue_audited_neighbours_found",
    "True neighbours in audited requests that the index found.",
    ["kind"],
    registry=REGISTRY,
)
DEATHS = Counter("segue_worker_deaths", "Workers that died and were replaced.", registry=REGISTRY)

# Present from the start, so that a rate over them is 0 and not missing until the first one.
for reason in ("overload", "unready", "rate", "unauthorized", "forbidden", "body", "slow", "header", "connections"):
    REFUSED.labels(reason)
for outcome in ("served", "refused"):
    RELOADS.labels(outcome)


class Workers(Collector):
    """The statuses of the workers as metrics."""

    def __init__(self, statuses: StatusDirectory):
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        statuses = self._statuses.read()
        counts = Tally((each.version, each.status) for each in statuses.values())
        yield _gauge(
            "segue_workers",
            "Workers by served version and status.",
            ["version", "status"],
            [([v or "", status], n) for (v, status), n in counts.items()],
        )
        created = [moment for each in statuses.values() if (moment := _moment(each.created_at)) is not None]
        yield _gauge(
            "segue_model_created_timestamp_seconds",
            "Time at which the served version was trained; the oldest of all workers.",
            [],
            [([], min(created))] if created else [],
        )
        yield _gauge(
            "segue_worker_memory_bytes",
            "Private memory of a worker.",
            ["worker"],
            [([str(pid)], n_bytes) for pid in sorted(statuses) if (n_bytes := private_bytes(pid)) is not None],
        )
        yield _gauge("segue_build_info", "The release.", ["version"], [([RELEASE], 1)])


def describe_metrics(statuses: StatusDirectory) -> bytes:
    """Return the metrics of all workers, or of this one if the shared files are gone, in the format of Prometheus."""
    registry = REGISTRY
    if DIRECTORY in os.environ and Path(os.environ[DIRECTORY]).is_dir():
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return generate_latest(registry) + generate_latest(Workers(statuses))


def forget_worker(pid: int) -> None:
    """Remove the gauges of the worker *pid*, which has ended. Its counts remain."""
    if DIRECTORY in os.environ:
        with suppress(OSError):
            mark_process_dead(pid)


def private_bytes(pid: int) -> int | None:
    """Return the anonymous memory of the process *pid* in bytes; None if the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), None)


def _moment(text: str | None) -> float | None:
    """Return the seconds since 1970 of an ISO 8601 time with a zone; None if *text* is something else."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None


def _gauge(name: str, text: str, labels: Sequence[str], values: Sequence[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for value in values:
        family.add_metric(*value)
    return family
