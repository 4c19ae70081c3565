"""What Prometheus reads: each worker counts for itself, and whoever is asked tells it of all."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.board import Board, Standing
from service.metrics import describe_metrics, private_bytes
from service.settings import Settings

ROOT = Path(__file__).parents[2]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str | bytes) -> Samples:
    text = text.decode() if isinstance(text, bytes) else text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ask(client: TestClient) -> Samples:
    return parse(client.get("/metrics").text)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def grown(before: Samples, after: Samples, name: str, **labels: str) -> float:
    return value(after, name, **labels) - value(before, name, **labels)


def test_requests_are_counted_by_route_status_and_strategy(client: TestClient):
    before = ask(client)
    client.post("/recommend", json={"k": 3})
    client.post("/recommend", json={"k": -3})
    client.get("/nowhere")
    client.get("/nowhere/else?k=1")
    client.get("/similar?track=nobody")
    after = ask(client)

    name = "segue_request_duration_seconds_count"
    assert grown(before, after, name, route="/recommend", status="200", strategy="popular") == 1
    assert grown(before, after, name, route="/recommend", status="422", strategy="") == 1
    assert grown(before, after, name, route="other", status="404", strategy="") == 2
    assert grown(before, after, name, route="/similar", status="404", strategy="") == 1
    assert {dict(labels)["route"] for (name_, labels) in after if name_ == name} <= {
        "/recommend", "/similar", "/search", "/model", "/metrics", "/health/live", "/health/ready", "/admin/reload",
        "/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect", "other",
    }  # fmt: skip


def test_seeds_are_counted_by_whether_they_are_known(client: TestClient):
    known = client.get("/search?q=love&kind=tracks").json()["tracks"][0]
    before = ask(client)
    body = {
        "tracks": [known["id"], known["id"], "nobody", "nobody"],
        "artists": [known["artist"]["id"], {"artist": "nobody", "count": 2}, "nobody", "nobody else"],
        "title": "xqzw",
    }
    client.post("/recommend", json=body)
    client.post("/recommend", json={})
    after = ask(client)

    found = {
        (kind, known): grown(before, after, "segue_seeds_total", kind=kind, known=known)
        for kind in ("tracks", "artists", "title")
        for known in ("true", "false")
    }
    assert found == {
        ("tracks", "true"): 1, ("tracks", "false"): 1, ("artists", "true"): 1, ("artists", "false"): 2,
        ("title", "true"): 0, ("title", "false"): 1,
    }  # fmt: skip


def test_what_waits_for_the_engine_is_observed(client: TestClient):
    before = ask(client)
    client.get("/model")
    client.get("/health/live")

    assert grown(before, ask(client), "segue_queue_wait_seconds_count") == 1


def test_in_between_requests_nothing_is_in_progress_but_the_question_itself(client: TestClient):
    client.get("/model")

    assert value(ask(client), "segue_requests_in_progress") == 1
    assert value(ask(client), "segue_requests_waiting") == 0


def test_what_happens_seldom_is_there_from_the_start(client: TestClient):
    names = {dict(labels)["reason"] for name, labels in ask(client) if name == "segue_requests_refused_total"}

    assert names == {
        "overload", "unready", "rate", "unauthorized", "forbidden", "body", "slow", "header", "connections"
    }  # fmt: skip
    for outcome in ("served", "refused"):
        assert ("segue_reloads_total", frozenset({("outcome", outcome)})) in ask(client)


def test_the_worker_its_version_and_its_memory_are_there(client: TestClient):
    version = client.get("/model").json()["version"]
    samples = ask(client)

    assert value(samples, "segue_workers", version=version, status="ready") == 1
    assert value(samples, "segue_model_created_timestamp_seconds") > 1.6e9
    assert value(samples, "segue_worker_memory_bytes", worker=str(os.getpid())) > 1 << 20
    assert [dict(labels) for name, labels in samples if name == "segue_build_info"] != [{}]


def test_every_metric_says_what_it_is_and_units_are_base_units(client: TestClient):
    families = list(text_string_to_metric_families(client.get("/metrics").text))

    ours = [family for family in families if not family.name.endswith("_created")]
    assert all(family.name.startswith("segue_") for family in ours)
    assert all(family.documentation.endswith(".") for family in ours)
    assert not any(family.name.endswith(("_ms", "_percent")) for family in ours)
    assert len({family.name for family in families}) == len(families)


def test_the_index_is_audited_behind_the_requests(models: Path):
    with TestClient(create_app(Settings(models=models, watch_interval_s=0.01, audit_share=1))) as all_of_them:
        for _ in range(10_000):
            if all_of_them.get("/health/ready").status_code == 200:
                break
        track = all_of_them.get("/search?q=love").json()["tracks"][0]["id"]
        before = ask(all_of_them)
        all_of_them.get(f"/similar?track={track}&k=7")
        for _ in range(10_000):  # each question lets the check go on
            if grown(before, (after := ask(all_of_them)), "segue_audited_neighbours_total", kind="tracks"):
                break

    assert grown(before, after, "segue_audited_neighbours_total", kind="tracks") == 7
    assert 0 < grown(before, after, "segue_audited_neighbours_found_total", kind="tracks") <= 7
    assert grown(before, after, "segue_audited_neighbours_total", kind="artists") == 0


# Several workers, which here are processes that only count


COUNT = """
import sys
from service.metrics import IN_PROGRESS, REFUSED, REQUESTS, RELOADS, BLOCKLIST_ENTRIES
IN_PROGRESS.inc(2)
REFUSED.labels("rate").inc(3)
REQUESTS.labels("/model", "200", "").observe(0.001)
BLOCKLIST_ENTRIES.set(int(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""

TELL = """
import sys
from pathlib import Path
from service.board import Board
from service.metrics import describe_metrics, forget_worker
for pid in sys.argv[2:]:
    forget_worker(int(pid))
sys.stdout.write(describe_metrics(Board(Path(sys.argv[1]))).decode())
"""


def test_counts_of_all_workers_are_added_and_of_those_that_died_only_what_they_hold_is_forgotten(tmp_path: Path):
    (tmp_path / "metrics").mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}

    def tell(*dead: int) -> Samples:
        command = [sys.executable, "-c", TELL, str(tmp_path / "board"), *map(str, dead)]
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
        both = tell()
        workers[0].kill()
        workers[0].wait()
        one = tell(workers[0].pid)
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


# The board that workers post to


def post(directory: Path, pid: int, standing: Standing) -> None:
    """Post as the worker *pid* does."""
    (directory / f"{pid}.json").write_text(json.dumps({**asdict(standing), "looked_s": 1.0}))


def test_the_metrics_tell_what_each_worker_posted(tmp_path: Path):
    board = Board(tmp_path)
    post(tmp_path, 1, Standing("ready", "v1", None, "2026-01-31T12:00:00+00:00"))
    post(tmp_path, 2, Standing("ready", "v1", None, "2026-01-30T12:00:00Z"))
    post(tmp_path, 3, Standing("unready", None, "why"))
    samples = parse(describe_metrics(board))

    assert value(samples, "segue_workers", version="v1", status="ready") == 2
    assert value(samples, "segue_workers", version="", status="unready") == 1
    assert value(samples, "segue_model_created_timestamp_seconds") == 1769774400  # of the oldest
    assert [post.pid for post in board.read()] == [1, 2, 3]
    board.remove(1)
    board.remove(1)
    assert [post.pid for post in board.read()] == [2, 3]


@pytest.mark.parametrize("created_at", ["yesterday", "", "2026-01-31"])
def test_a_version_with_a_strange_date_takes_no_metric_away(created_at: str, tmp_path: Path):
    """The manifest says the date, and whoever made it may have written anything."""
    post(tmp_path, 1, Standing("ready", "v1", None, created_at))

    assert value(parse(describe_metrics(Board(tmp_path))), "segue_workers", version="v1", status="ready") == 1


def test_the_memory_of_a_process_that_is_gone_is_not_told():
    assert private_bytes(os.getpid())
    done = subprocess.Popen(["true"])
    done.wait()
    assert private_bytes(done.pid) is None
