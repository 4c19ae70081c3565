"""
New versions, damaged versions, dead workers and a stop, under a load that notices each wrong or missing answer.

`make test` leaves it out, because it takes minutes. SEGUE_CHAOS_S is the length of the load, 240 seconds by default.

    python -m pytest -s tests/chaos/reload.py
"""

import os
import random
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from asking import Answers, Ask, mixed_asks
from keys import Keys, make_keys
from load import DROPPED, Load, Records, accepted, percentile, prepare, run, statuses
from publishing import artifact_files, publish, publish_a_newer_format
from reliability import Report, Service, connections_of, mapped, metric, private_memory, until

from service.engine import Recommender, Store

WORKERS = 2
DYING_S = 0.25  # a killed process does not end at once
SECONDS = float(os.environ.get("SEGUE_CHAOS_S", "240"))
SHARE = min(1.0, SECONDS / 240)  # of all steps, in less time
RATE = float(os.environ.get("SEGUE_CHAOS_RATE", "60"))
ASKS, CONNECTIONS, LIFETIME = 400, 16, 150
PUBLISHED, ROLLED_BACK, KILLED = 35, 15, 10
KEPT_VERSIONS = 8
FOLLOW_WITHIN_S, REPLACE_WITHIN_S = 10.0, 10.0
DRAIN_S, STOP_WITHIN_S = 2.0, 20.0
RELOADS, SETTLED = 100, 10
GROWTH = 0.05


@dataclass
class Kill:
    """A killed worker, the time, and the client's ports of its connections."""

    pid: int
    when: float
    ports: set[int]


@dataclass
class Campaign:
    """
    The steps that a service goes through under load, and their effects.

    Attributes:
        good: the base of each version that may answer.
        followed_s: seconds until all workers served each good version.
        refused_s: seconds until all workers refused each bad version.
        reasons: the reason in the readiness for each bad version, by its name.
        replaced_s: seconds from each kill until there were as many workers as before.
    """

    service: Service
    store: Store
    bases: list[Path]
    keys: Keys
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    good: dict[str, Path] = field(default_factory=dict)
    current: str = ""
    followed_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    replaced_s: list[float] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    # Steps.

    def publish(self, wait: bool = True) -> None:
        base = self.rng.choice(self.bases)
        version = publish(self.store, base)
        self.good[version] = base
        self._follow(version, wait)

    def roll_back(self) -> None:
        there = [version for version in self.store.versions() if version in self.good and version != self.current]
        if not there:  # nothing has been published yet
            self.publish()
            self.roll_back()
            return
        version = self.rng.choice(there)
        self.store.rollback(version)
        self._follow(version)

    def publish_damaged(self, name: str) -> None:
        base = self.rng.choice(self.bases)
        self._refuse(lambda: publish(self.store, base, damaged=name, seed=len(self.reasons)))

    def publish_newer_format(self) -> None:
        self._refuse(lambda: publish_a_newer_format(self.store, self.rng.choice(self.bases)))

    def kill(self) -> None:
        pid = self.rng.choice(self.service.workers())
        ports = connections_of(pid, self.service.port)
        os.kill(pid, signal.SIGKILL)
        self.kills.append(Kill(pid, time.monotonic(), ports))
        self.replaced_s.append(
            until(lambda: self._all_serve(pid), REPLACE_WITHIN_S, f"worker {pid} to be replaced", every_s=0.05)
        )

    def kill_while_a_version_comes(self) -> None:
        self.publish(wait=False)
        time.sleep(self.rng.random() * 1.5)  # any moment of the opening
        self.kill()
        self._follow(self.current)

    def kill_while_a_version_is_refused(self) -> None:
        self.publish_damaged("vectors.npy")
        self.kill()

    # Effects.

    def metrics(self) -> str:
        while True:
            try:
                return self.service.ask("GET", "/metrics", headers=self.keys.metrics).body.decode()
            except ConnectionError:  # a dying worker had accepted it
                assert time.monotonic() < self.kills[-1].when + DYING_S

    def serving(self, version: str, status: str) -> bool:
        """Return True if all workers serve *version* and have the *status*."""
        return metric(self.metrics(), "segue_workers", version=version, status=status) == WORKERS

    def _all_serve(self, gone: int) -> bool:
        workers = self.service.workers()
        text = self.metrics()
        serve = sum(metric(text, "segue_workers", version=self.current, status=s) for s in ("ready", "degraded"))
        return gone not in workers and len(workers) == WORKERS and serve == WORKERS

    def _follow(self, version: str, wait: bool = True) -> None:
        self.current = version
        if wait:
            what = f"all workers to serve {version}"
            self.followed_s.append(until(lambda: self.serving(version, "ready"), FOLLOW_WITHIN_S, what))

    def _refuse(self, publish_bad: Callable[[], str]) -> None:
        before = self._refusals()
        version = publish_bad()

        def refused() -> bool:
            self.reasons[version] = self._reason()  # of any worker
            counted = self._refusals() - before >= WORKERS
            return counted and version in self.reasons[version] and self.serving(self.current, "degraded")

        what = f"all workers to refuse {version} and serve {self.current}"
        self.refused_s.append(until(refused, FOLLOW_WITHIN_S, what))

    def _refusals(self) -> float:
        return metric(self.metrics(), "segue_reloads_total", outcome="refused")

    def _reason(self) -> str:
        reply = self.service.ask("GET", "/health/ready")
        assert reply.status == 200, f"readiness was {reply.status} while a version served: {reply.body!r}"
        return str(reply.json.get("reason", ""))

    # All steps.

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """Return the steps in random order; in less time, fewer of each kind."""
        files = artifact_files(self.bases[0])
        kills = [self.kill, self.kill_while_a_version_comes, self.kill, self.kill_while_a_version_comes]
        kills = [*kills, self.kill_while_a_version_is_refused] * 2
        damage = [(f"a flipped bit in {name}", lambda name=name: self.publish_damaged(name)) for name in files]
        steps = [
            *thinned([("a publish", self.publish)] * PUBLISHED),
            *thinned([("a rollback", self.roll_back)] * ROLLED_BACK),
            *thinned(damage),
            ("a version of a newer format", self.publish_newer_format),
            *thinned([("a kill", kill) for kill in kills[:KILLED]]),
        ]
        self.rng.shuffle(steps)
        return steps

    def run(self, seconds: float) -> None:
        """Do all steps, spread over *seconds*."""
        steps, started = self.steps(), time.monotonic()
        for number, (name, step) in enumerate(steps):
            step()
            self.done.append(name)
            if number % 10 == 0:
                self.store.prune(KEPT_VERSIONS)
                elapsed = time.monotonic() - started
                print(f"\n  {elapsed:4.0f} s, {number + 1} of {len(steps)}: {name}", end="", flush=True)
            # The campaign fills its time.
            time.sleep(max(0.0, started + (number + 1) * seconds / len(steps) - time.monotonic()))
        self.publish()  # the campaign ends with a good version
        print(flush=True)


def thinned(steps: list) -> list:
    """Return every n-th of *steps*, fewer in less time."""
    n = max(1, round(len(steps) * SHARE))
    return [steps[index * len(steps) // n] for index in range(n)]


class Background:
    """A load in its own thread."""

    def __init__(self, load: Load, rate: float):
        self._load, self.records = load, None
        self._thread = threading.Thread(target=self._run, args=(rate,), daemon=True)
        self._thread.start()

    def _run(self, rate: float) -> None:
        self.records = run(self._load.open(rate, 24 * 3600.0, least=CONNECTIONS))

    def stop(self) -> Records:
        self._load.stop()
        self._thread.join(60)
        assert self.records is not None, "the load did not end"
        return self.records


@dataclass
class Outcome:
    """The results of the campaign."""

    campaign: Campaign
    asks: list[Ask]
    answers: Answers
    records: Records
    unready_after_s: float
    exit_code: int
    stopped_after_s: float
    report: Report

    @property
    def lost(self) -> Records:
        """Return the requests without an answer that a killed worker had received."""
        return self.records[[self._was_killed(record) for record in self.records]]

    @property
    def failed(self) -> Records:
        """Return the other requests that were not answered with 200."""
        mask = [record["status"] != 200 and not self._was_killed(record) for record in self.records]
        return self.records[mask]

    def _was_killed(self, record) -> bool:
        return record["status"] == DROPPED and any(
            record["sent"] < kill.when + DYING_S
            and record["done"] > kill.when - DYING_S
            # Its connections, and those in its backlog.
            and (record["port"] in kill.ports or record["sent"] > kill.when)
            for kill in self.campaign.kills
        )


@pytest.fixture(scope="module")
def outcome(data: Path, bases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run the campaign: load, versions, kills, and a stop at the end under load."""
    directory = tmp_path_factory.mktemp("reload")
    store, keys = Store(directory / "models"), make_keys(directory / "keys")
    first = publish(store, bases[0])
    recommender = Recommender.open(bases[0])
    asks = mixed_asks(recommender, ASKS)
    recommender.close()
    answers = Answers()
    # A queue that is long enough for a busy machine: this is not about overload.
    settings = {"workers": WORKERS, "keys": keys.file, "max_waiting": 100, "max_wait_s": 5}
    settings |= {"drain_s": DRAIN_S, "stop_within_s": STOP_WITHIN_S}
    with Service(store.root, directory / "service.log", **settings) as service:
        campaign = Campaign(service, store, bases, keys, good={first: bases[0]}, current=first)
        load = Background(Load(service.port, [ask.prepared(keys.use) for ask in asks], answers, LIFETIME), RATE)
        try:
            campaign.run(SECONDS)
            told = time.monotonic()
            service.signal(signal.SIGTERM)
            # A load balancer stops sending requests when a service is not ready.
            unready_after_s = until(lambda: service.ask("GET", "/health/ready").status == 503, DRAIN_S, "unready", 0.02)
            seen = answers.given.total()
            until(lambda: answers.given.total() > seen + RATE / 10, DRAIN_S, "more answers while it drains")
        finally:
            records = load.stop()
        exit_code = service.wait(STOP_WITHIN_S + 10)
        stopped_after_s = time.monotonic() - told
    report = Report("reload", f"SEGUE_CHAOS_S={SECONDS:g} make test-chaos", data.name)
    yield Outcome(campaign, asks, answers, records, unready_after_s, exit_code, stopped_after_s, report)
    report.finish()


def test_only_requests_to_killed_workers_have_no_answer(outcome: Outcome):
    failed, lost, report = outcome.failed, outcome.lost, outcome.report
    what = {name: outcome.campaign.done.count(name) for name in ("a publish", "a rollback", "a kill")}
    damaged = sum(name.startswith("a flipped bit") for name in outcome.campaign.done)
    print()
    report.add(
        "steps",
        f"{what['a publish']} publishes, {what['a rollback']} rollbacks, {damaged} flipped bits, "
        f"a newer format, {what['a kill']} kills, SIGTERM",
    )
    took = float(outcome.records["done"].max() - outcome.records["scheduled"].min())
    report.add("requests", f"{len(outcome.records):,} in {took:.0f} s")
    report.add("latency of the answers, p50, p99, most", latencies(outcome.records))
    ports = sum(len(kill.ports) for kill in outcome.campaign.kills)
    report.add("lost with a killed worker", f"{len(lost)} requests, of {ports} connections")
    report.add("other requests without a 200", str(len(failed)), "0", not len(failed))

    assert not len(failed), f"{statuses(failed)}, such as {failed[:5]}"


def latencies(records: Records) -> str:
    good = accepted(records)
    return ", ".join(f"{percentile(good, share):.1f}" for share in (50, 99, 100)) + " ms"


def test_every_answer_comes_from_the_version_that_it_names(outcome: Outcome):
    answers, campaign = outcome.answers, outcome.campaign

    wrong = answers.wrong(outcome.asks, campaign.good)

    outcome.report.add(
        "answers equal to a recomputation by their version", f"{sum(answers.given.values()):,}", "all equal", not wrong
    )
    outcome.report.add("versions that answered", f"{len(answers.versions)} of {len(campaign.good)} good ones")
    assert sum(answers.given.values()) == len(accepted(outcome.records))
    assert not wrong, f"{len(wrong)} are wrong, such as {wrong[:5]}"


def test_the_models_answer_differently(outcome: Outcome):
    """Otherwise an answer by the wrong version would go unnoticed."""
    recommenders = [Recommender.open(base) for base in outcome.campaign.bases]
    differ = 0
    for ask in outcome.asks[:50]:
        texts = {repr(ask.answer(recommender)) for recommender in recommenders}
        differ += len(texts) == len(recommenders)
    for recommender in recommenders:
        recommender.close()

    assert differ > 30


def test_all_workers_follow_each_version_within_seconds(outcome: Outcome):
    campaign = outcome.campaign
    for what, took in (
        ("publish or rollback to served by all workers", campaign.followed_s),
        ("damaged publish to refused by all workers", campaign.refused_s),
        ("kill to as many workers as before", campaign.replaced_s),
    ):
        figure = f"{statistics.median(took):.2f} and {max(took):.2f} s"
        outcome.report.add(f"{what}, median and most", figure, f"< {FOLLOW_WITHIN_S:g} s", max(took) < FOLLOW_WITHIN_S)

    assert len(campaign.replaced_s) == len(campaign.kills)


def test_damaged_versions_are_refused_by_name_and_never_serve(outcome: Outcome):
    campaign = outcome.campaign

    served = outcome.answers.versions & set(campaign.reasons)
    outcome.report.add(
        "damaged versions refused, named by readiness, counted by each worker",
        f"{len(campaign.reasons)}",
        "all",
        not served,
    )
    assert len(campaign.refused_s) == len(campaign.reasons) > 1
    assert not served


def test_a_service_stops_in_time_under_load(outcome: Outcome):
    outcome.report.add("SIGTERM to not ready", f"{outcome.unready_after_s:.2f} s")
    within = outcome.stopped_after_s < DRAIN_S + STOP_WITHIN_S
    outcome.report.add(
        "SIGTERM to the end, exit code", f"{outcome.stopped_after_s:.1f} s, {outcome.exit_code}", "in time, 0", within
    )

    assert outcome.exit_code == 0
    assert within


def is_listening(service: Service) -> bool:
    try:
        socket.create_connection(("127.0.0.1", service.port), timeout=10).close()
    except OSError:
        return False
    return True


@contextmanager
def half_sent(service: Service, n: int) -> Iterator[list[socket.socket]]:
    """Open connections and send a request without the end of its body on each."""
    sockets = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(n)]
    try:
        for each in sockets:
            each.sendall(prepare("POST", "/recommend", {"title": "chill", "k": 5})[:-5])
        until(lambda: service.in_progress() > n, 10, "all to have begun")
        yield sockets
    finally:
        for each in sockets:
            each.close()


def test_requests_from_before_a_stop_are_answered(bases: list[Path], tmp_path: Path):
    store = Store(tmp_path / "models")
    publish(store, bases[0])
    rest = prepare("POST", "/recommend", {"title": "chill", "k": 5})[-5:]

    # They arrive at once, which must not fill the queue.
    settings = {"workers": WORKERS, "drain_s": 0, "stop_within_s": 10, "max_waiting": 100, "max_wait_s": 5}
    with Service(store.root, **settings) as service:
        with half_sent(service, 20) as sockets:
            service.signal(signal.SIGTERM)
            until(lambda: not is_listening(service), 5, "new connections to be refused")
            for each in sockets:
                each.sendall(rest)
            answers = [each.recv(65536) for each in sockets]

        assert service.wait(10) == 0

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers), answers


def test_unfinished_requests_do_not_delay_a_stop_beyond_its_deadline(bases: list[Path], tmp_path: Path):
    store = Store(tmp_path / "models")
    publish(store, bases[0])

    settings = {"workers": WORKERS, "drain_s": 0, "stop_within_s": 2, "request_timeout_s": 60}
    with Service(store.root, **settings) as service, half_sent(service, 5):
        exit_code, took = service.stop()

    assert exit_code == 0
    assert 1.5 < took < 5


class Reloads:
    """
    A service that loads one version after another, and the memory of its workers.

    Attributes:
        took_s: seconds from each reload until all workers served the version.
        memory: the private memory of each worker after each reload, in bytes.
    """

    def __init__(self, campaign: Campaign, requests: list[bytes]):
        self._campaign, self._service, self._requests = campaign, campaign.service, requests
        self.took_s: list[float] = []
        self.memory: dict[int, list[int]] = {pid: [] for pid in self._service.workers()}

    def reload(self) -> None:
        """Publish the next version, reload by a signal or over HTTP, and send requests."""
        number, campaign = len(self.took_s), self._campaign
        version = publish(campaign.store, campaign.bases[(number + 1) % len(campaign.bases)])
        started = time.monotonic()
        if number % 2:
            self._service.signal(signal.SIGHUP)
        else:
            reply = self._service.ask("POST", "/admin/reload", headers=campaign.keys.admin, timeout_s=30)
            assert reply.status == 200, reply.body
        until(lambda: campaign.serving(version, "ready"), 30, f"reload {number + 1} to {version}", every_s=0.02)
        self.took_s.append(time.monotonic() - started)
        answered = run(Load(self._service.port, self._requests).closed(2, 0.2))
        assert set(statuses(answered)) == {200}, statuses(answered)
        for pid, samples in self.memory.items():
            samples.append(private_memory(pid))
        if number % 10 == 9:
            campaign.store.prune(3)
            shown = ", ".join(f"{samples[-1] / 2**20:.1f}" for samples in self.memory.values())
            print(f"\n  {number + 1} reloads: {shown} MiB", end="", flush=True)

    def report(self, report: Report) -> None:
        """Add times and memory to the *report*."""
        figure = f"{statistics.median(self.took_s):.2f} and {max(self.took_s):.2f} s"
        report.add("reload to served by all workers, median and most", figure)
        for place, samples in enumerate(self.memory.values()):
            settled, last = samples[SETTLED - 3 : SETTLED + 2], samples[-5:]
            before, after = (statistics.median(part) / 2**20 for part in (settled, last))
            report.add(
                f"private memory of worker {place + 1}: after {SETTLED} reloads, after {RELOADS}",
                f"{before:.1f} and {after:.1f} MiB, {after / before - 1:+.1%}",
                f"< {GROWTH:.0%} more",
                after / before - 1 < GROWTH,
            )


def test_a_hundred_reloads_do_not_leak_memory(data: Path, bases: list[Path], tmp_path: Path):
    """By SIGHUP and by POST /admin/reload in turn. The service polls once an hour only."""
    store, keys = Store(tmp_path / "models"), make_keys(tmp_path / "keys")
    publish(store, bases[0])
    recommender = Recommender.open(bases[0])
    requests = [ask.prepared(keys.use) for ask in mixed_asks(recommender, 100)]
    recommender.close()
    # A queue that is long enough for a busy machine: this is about memory.
    settings = {"workers": WORKERS, "keys": keys.file, "watch_interval_s": 3600, "max_waiting": 100, "max_wait_s": 5}
    with Service(store.root, **settings) as service:
        run(Load(service.port, requests).closed(8, 3.0))  # warm
        reloads = Reloads(Campaign(service, store, bases, keys), requests)
        for _ in range(RELOADS):
            reloads.reload()
        print()
        current = {store.current().name}
        what = "the files of older versions to be closed"
        until(lambda: all(mapped(pid, store.root) == current for pid in reloads.memory), 10, what)
        assert service.workers() == list(reloads.memory)

    report = Report("reloads", f"SEGUE_CHAOS_S={SECONDS:g} make test-chaos", data.name)
    reloads.report(report)
    report.add("versions with open files at the end", "the current one", "no other", True)
    report.finish()
    assert not report.missed
