"""Metrics: the counts of each worker, and their sum."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import describe_metrics, private_bytes
from service.telemetry.status import StatusDirectory, WorkerStatus

ROOT = Path(__file__).parents[3]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str | bytes) -> Samples:
    text = text.decode() if isinstance(text, bytes) else text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(client: TestClient) -> Samples:
    return parse(client.get("/metrics").text)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def grown(before: Samples, after: Samples, name: str, **labels: str) -> float:
    return value(after, name, **labels) - value(before, name, **labels)


def test_requests_are_counted_by_route_status_and_strategy(client: TestClient):
    before = read(client)
    client.post("/recommend", json={"k": 3})
    client.post("/recommend", json={"k": -3})
    client.get("/nowhere")
    client.get("/nowhere/else?k=1")
    client.get("/similar?track=nobody")
    after = read(client)

    name = "segue_request_duration_seconds_count"
    assert grown(before, after, name, route="/recommend", status="200", strategy="popular") == 1
    assert grown(before, after, name, route="/recommend", status="422", strategy="") == 1
    assert grown(before, after, name, route="other", status="404", strategy="") == 2
    assert grown(before, after, name, route="/similar", status="404", strategy="") == 1
    grew = {labels for (name_, labels), n in after.items() if name_ == name and n > before.get((name, labels), 0)}
    assert {dict(labels)["route"] for labels in grew} == {"/recommend", "/similar", "/metrics", "other"}


def test_seeds_are_counted_by_whether_they_are_known(client: TestClient):
    known = client.get("/search?q=love&kind=tracks").json()["tracks"][0]
    before = read(client)
    body = {
        "tracks": [known["id"], known["id"], "nobody", "nobody"],
        "artists": [known["artist"]["id"], {"artist": "nobody", "count": 2}, "nobody", "nobody else"],
        "title": "xqzw",
    }
    client.post("/recommend", json=body)
    client.post("/recommend", json={})
    after = read(client)

    found = {
        (kind, known): grown(before, after, "segue_seeds_total", kind=kind, known=known)
        for kind in ("tracks", "artists", "title")
        for known in ("true", "false")
    }
    assert found == {
        ("tracks", "true"): 1, ("tracks", "false"): 1, ("artists", "true"): 1, ("artists", "false"): 2,
        ("title", "true"): 0, ("title", "false"): 1,
    }  # fmt: skip


def test_the_wait_for_the_engine_is_observed(client: TestClient):
    before = read(client)
    client.get("/model")
    client.get("/health/live")

    assert grown(before, read(client), "segue_queue_wait_seconds_count") == 1


def test_between_requests_only_the_reading_itself_is_in_progress(client: TestClient):
    client.get("/model")

    assert value(read(client), "segue_requests_in_progress") == 1
    assert value(read(client), "segue_requests_waiting") == 0


def test_rare_events_are_counted_from_zero(client: TestClient):
    names = {dict(labels)["reason"] for name, labels in read(client) if name == "segue_requests_refused_total"}

    assert names == {
        "overload", "unready", "rate", "unauthorized", "forbidden", "body", "slow", "header", "connections"
    }  # fmt: skip
    for outcome in ("served", "refused"):
        assert ("segue_reloads_total", frozenset({("outcome", outcome)})) in read(client)


def test_the_worker_has_its_version_and_its_memory(client: TestClient):
    version = client.get("/model").json()["version"]
    for _ in range(1000):  # a worker writes its status just after it has become ready
        samples = read(client)
        if value(samples, "segue_workers", version=version, status="ready"):
            break

    assert value(samples, "segue_workers", version=version, status="ready") == 1
    assert value(samples, "segue_model_created_timestamp_seconds") > 1.6e9
    assert value(samples, "segue_worker_memory_bytes", worker=str(os.getpid())) > 1 << 20
    assert [dict(labels) for name, labels in samples if name == "segue_build_info"] != [{}]


def test_every_metric_has_a_description_and_a_base_unit(client: TestClient):
    families = list(text_string_to_metric_families(client.get("/metrics").text))

    ours = [family for family in families if not family.name.endswith("_created")]
    assert all(family.name.startswith("segue_") for family in ours)
    assert all(family.documentation.endswith(".") for family in ours)
    assert not any(family.name.endswith(("_ms", "_percent")) for family in ours)
    assert len({family.name for family in families}) == len(families)


def test_the_index_is_audited_in_the_background(serve: Callable[..., Any]):
    with serve(audit_share=1) as client:
        track = client.get("/search?q=love").json()["tracks"][0]["id"]
        before = read(client)
        client.get(f"/similar?track={track}&k=7")
        for _ in range(10_000):  # each request lets the audit go on
            if grown(before, (after := read(client)), "segue_audited_neighbours_total", kind="tracks"):
                break

    assert grown(before, after, "segue_audited_neighbours_total", kind="tracks") == 7
    assert 0 < grown(before, after, "segue_audited_neighbours_found_total", kind="tracks") <= 7
    assert grown(before, after, "segue_audited_neighbours_total", kind="artists") == 0


# Several workers: here, processes that only count


COUNT = """
import sys
from service.telemetry.metrics import BLOCKLIST_ENTRIES, IN_PROGRESS, REFUSED, REQUESTS
IN_PROGRESS.inc(2)
REFUSED.labels("rate").inc(3)
REQUESTS.labels("/model", "200", "").observe(0.001)
BLOCKLIST_ENTRIES.set(int(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""

DESCRIBE = """
import sys
from pathlib import Path
from service.telemetry.status import StatusDirectory
from service.telemetry.metrics import describe_metrics, forget_worker
for pid in sys.argv[2:]:
    forget_worker(int(pid))
sys.stdout.write(describe_metrics(StatusDirectory(Path(sys.argv[1]))).decode())
"""


def test_counts_of_all_workers_are_added_and_dead_workers_lose_only_their_gauges(tmp_path: Path):
    (tmp_path / "metrics").mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}

    def describe(*dead: int) -> Samples:
        command = [sys.executable, "-c", DESCRIBE, str(tmp_path / "workers"), *map(str, dead)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        return parse(done.stdout)

    workers = [
        subprocess.Popen(
            [sys.executable, "-c", COUNT, entries], env=environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for entries in ("5", "7")
    ]  # fmt: skip
    try:
        for worker in workers:
            worker.stdout.readline()
        both = describe()
        workers[0].kill()
        workers[0].wait()
        one = describe(workers[0].pid)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()

    for samples in (both, one):
        assert value(samples, "segue_requests_refused_total", reason="rate") == 6
        labels = {"route": "/model", "status": "200", "strategy": ""}
        assert value(samples, "segue_request_duration_seconds_count", **labels) == 2
        assert value(samples, "segue_blocklist_entries") == 7
        assert not any("pid" in dict(labels) for _, labels in samples)
    assert value(both, "segue_requests_in_progress") == 4
    assert value(one, "segue_requests_in_progress") == 2


# The statuses of workers


def write(directory: Path, pid: int, *status: Any) -> None:
    """Write a status as the worker *pid* does."""
    (directory / f"{pid}.json").write_text(json.dumps(asdict(WorkerStatus(*status))))


def test_the_statuses_of_workers_are_metrics(tmp_path: Path):
    write(tmp_path, 1, "ready", "v1", None, "2026-01-31T12:00:00+00:00")
    write(tmp_path, 2, "ready", "v1", None, "2026-01-30T12:00:00Z")
    write(tmp_path, 3, "unready", None, "why")
    samples = parse(describe_metrics(StatusDirectory(tmp_path)))

    assert value(samples, "segue_workers", version="v1", status="ready") == 2
    assert value(samples, "segue_workers", version="", status="unready") == 1
    assert value(samples, "segue_model_created_timestamp_seconds") == 1769774400  # of the oldest


@pytest.mark.parametrize("created_at", ["yesterday", "", "2026-01-31"])
def test_an_invalid_date_removes_only_its_own_metric(created_at: str, tmp_path: Path):
    write(tmp_path, 1, "ready", "v1", None, created_at)
    samples = parse(describe_metrics(StatusDirectory(tmp_path)))

    assert value(samples, "segue_workers", version="v1", status="ready") == 1
    assert not any(name == "segue_model_created_timestamp_seconds" for name, _ in samples)


def test_a_process_that_has_ended_has_no_memory():
    assert private_bytes(os.getpid())
    done = subprocess.Popen(["true"])
    done.wait()
    assert private_bytes(done.pid) is None
