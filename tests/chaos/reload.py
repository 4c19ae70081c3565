"""
New versions, damaged ones, dead workers, a stop: under a load that notices each wrong or missing answer.

No part of `make test`, as it takes minutes; SEGUE_CHAOS_S says how long the load lasts, four minutes unless given.

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
DYING_S = 0.25  # a process that is killed is not gone at once
SECONDS = float(os.environ.get("SEGUE_CHAOS_S", "240"))
SHARE = min(1.0, SECONDS / 240)  # of all that happens, where there is less time
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
    """A worker that was killed, when, and the client's ends of the connections that it had."""

    pid: int
    when: float
    ports: set[int]


@dataclass
class Campaign:
    """
    Everything that is done to a service under load, and what was seen of it.

    Attributes:
        good: the base of each version that may answer.
        followed_s: how long all workers took to serve each good version.
        refused_s: how long all workers took to refuse each bad one.
        reasons: what readiness said of each bad one, by its name.
        replaced_s: how long it took until there were as many workers as before, after each kill.
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

    # What may happen.

    def publish(self, wait: bool = True) -> None:
        base = self.rng.choice(self.bases)
        version = publish(self.store, base)
        self.good[version] = base
        self._follow(version, wait)

    def roll_back(self) -> None:
        there = [version for version in self.store.versions() if version in self.good and version != self.current]
        if not there:  # nothing was published before the first rollback
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
        time.sleep(self.rng.random() * 1.5)  # waits for nothing: any moment of the opening is a test
        self.kill()
        self._follow(self.current)

    def kill_while_a_version_is_refused(self) -> None:
        self.publish_damaged("vectors.npy")
        self.kill()

    # What is seen of it.

    def metrics(self) -> str:
        while True:
            try:
                return self.service.ask("GET", "/metrics", headers=self.keys.metrics).body.decode()
            except ConnectionError:  # it was given to a worker that was dying
                assert time.monotonic() < self.kills[-1].when + DYING_S

    def serving(self, version: str, status: str) -> bool:
        """Whether all workers serve *version* and are *status*."""
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
            self.reasons[version] = self._reason()  # of whichever worker answers
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

    # All of it.

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """What happens, in a random order; where there is less time, less of each."""
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
        """Do it all, spread over *seconds*."""
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
        self.publish()  # whatever came last, in the end all is well
        print(flush=True)


def thinned(steps: list) -> list:
    """*steps*, or where there is less time a share of them, evenly."""
    n = max(1, round(len(steps) * SHARE))
    return [steps[index * len(steps) // n] for index in range(n)]


class Background:
    """A load in a thread of its own."""

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
    """What the campaign came to."""

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
        """Requests without an answer that had been on their way to a worker when it was killed."""
        return self.records[[self._was_killed(record) for record in self.records]]

    @property
    def failed(self) -> Records:
        """Every other request that was not answered by 200."""
        mask = [record["status"] != 200 and not self._was_killed(record) for record in self.records]
        return self.records[mask]

    def _was_killed(self, record) -> bool:
        return record["status"] == DROPPED and any(
            record["sent"] < kill.when + DYING_S
            and record["done"] > kill.when - DYING_S
            # Its connections, and those that it would have been the next to accept.
            and (record["port"] in kill.ports or record["sent"] > kill.when)
            for kill in self.campaign.kills
        )


@pytest.fixture(scope="module")
def outcome(data: Path, bases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """The whole campaign: load, versions, kills, and a stop at the end while the load goes on."""
    directory = tmp_path_factory.mktemp("reload")
    store, keys = Store(directory / "models"), make_keys(directory / "keys")
    first = publish(store, bases[0])
    recommender = Recommender.open(bases[0])
    asks = mixed_asks(recommender, ASKS)
    recommender.close()
    answers = Answers()
    settings = {"workers": WORKERS, "keys": keys.file, "drain_s": DRAIN_S, "stop_within_s": STOP_WITHIN_S}
    with Service(store.root, directory / "service.log", **settings) as service:
        campaign = Campaign(service, store, bases, keys, good={first: bases[0]}, current=first)
        load = Background(Load(service.port, [ask.prepared(keys.use) for ask in asks], answers, LIFETIME), RATE)
        try:
            campaign.run(SECONDS)
            told = time.monotonic()
            service.signal(signal.SIGTERM)
            # As whatever sends it requests would: what is not ready is not asked any more.
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


def test_no_answer_was_missing_or_refused_but_on_the_connections_of_killed_workers(outcome: Outcome):
    failed, lost, report = outcome.failed, outcome.lost, outcome.report
    what = {name: outcome.campaign.done.count(name) for name in ("a publish", "a rollback", "a kill")}
    damaged = sum(name.startswith("a flipped bit") for name in outcome.campaign.done)
    print()
    report.add(
        "what happened meanwhile",
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


def test_every_answer_is_that_of_the_version_that_it_names(outcome: Outcome):
    answers, campaign = outcome.answers, outcome.campaign

    wrong = answers.wrong(outcome.asks, campaign.good)

    outcome.report.add(
        "answers recomputed by the version that they name", f"{sum(answers.given.values()):,}", "all equal", not wrong
    )
    outcome.report.add("versions that answered", f"{len(answers.versions)} of {len(campaign.good)} good ones")
    assert sum(answers.given.values()) == len(accepted(outcome.records))
    assert not wrong, f"{len(wrong)} are wrong, such as {wrong[:5]}"


def test_the_models_do_not_answer_alike(outcome: Outcome):
    """Else nothing would be seen of an answer by the wrong version."""
    recommenders = [Recommender.open(base) for base in outcome.campaign.bases]
    differ = 0
    for ask in outcome.asks[:50]:
        texts = {repr(ask.answer(recommender)) for recommender in recommenders}
        differ += len(texts) == len(recommenders)
    for recommender in recommenders:
        recommender.close()

    assert differ > 30


def test_all_workers_follow_within_seconds(outcome: Outcome):
    campaign = outcome.campaign
    for what, took in (
        ("publish or rollback to served by all workers", campaign.followed_s),
        ("damaged publish to refused by all workers", campaign.refused_s),
        ("kill to as many workers as before", campaign.replaced_s),
    ):
        figure = f"{statistics.median(took):.2f} and {max(took):.2f} s"
        outcome.report.add(f"{what}, median and most", figure, f"< {FOLLOW_WITHIN_S:g} s", max(took) < FOLLOW_WITHIN_S)

    assert len(campaign.replaced_s) == len(campaign.kills)


def test_what_is_damaged_is_refused_by_name_and_counted_and_never_serves(outcome: Outcome):
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


def test_a_stop_under_load_loses_nothing_and_ends_by_itself(outcome: Outcome):
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
    """Connections that have each sent a request but for the end of its body."""
    sockets = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(n)]
    try:
        for each in sockets:
            each.sendall(prepare("POST", "/recommend", {"title": "chill", "k": 5})[:-5])
        until(lambda: service.in_progress() > n, 10, "all to have begun")
        yield sockets
    finally:
        for each in sockets:
            each.close()


def test_a_request_that_came_before_the_stop_is_answered(bases: list[Path], tmp_path: Path):
    store = Store(tmp_path / "models")
    publish(store, bases[0])
    rest = prepare("POST", "/recommend", {"title": "chill", "k": 5})[-5:]

    # They come at once, which is no reason to refuse them here.
    settings = {"workers": WORKERS, "drain_s": 0, "stop_within_s": 10, "max_waiting": 100, "max_wait_s": 5}
    with Service(store.root, **settings) as service:
        with half_sent(service, 20) as sockets:
            service.signal(signal.SIGTERM)
            until(lambda: not is_listening(service), 5, "nobody else to be let in")
            for each in sockets:
                each.sendall(rest)
            answers = [each.recv(65536) for each in sockets]

        assert service.wait(10) == 0

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers), answers


def test_who_never_ends_a_request_is_not_waited_for_beyond_the_deadline(bases: list[Path], tmp_path: Path):
    store = Store(tmp_path / "models")
    publish(store, bases[0])

    settings = {"workers": WORKERS, "drain_s": 0, "stop_within_s": 2, "request_timeout_s": 60}
    with Service(store.root, **settings) as service, half_sent(service, 5):
        exit_code, took = service.stop()

    assert exit_code == 0
    assert 1.5 < took < 5


class Reloads:
    """
    A service that takes up one version after another, and what its workers hold meanwhile.

    Attributes:
        took_s: from when each version was asked for until all workers served it.
        memory: the private memory of each worker after each reload, in bytes.
    """

    def __init__(self, campaign: Campaign, requests: list[bytes]):
        self._campaign, self._service, self._requests = campaign, campaign.service, requests
        self.took_s: list[float] = []
        self.memory: dict[int, list[int]] = {pid: [] for pid in self._service.workers()}

    def reload(self) -> None:
        """Publish the next version, have it served, by one way or the other, and ask it."""
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

    def tell(self, report: Report) -> None:
        """Add to the *report* how long they took and what was held in the end."""
        figure = f"{statistics.median(self.took_s):.2f} and {max(self.took_s):.2f} s"
        report.add("asked for to served by all, median and most", figure)
        for place, samples in enumerate(self.memory.values()):
            settled, last = samples[SETTLED - 3 : SETTLED + 2], samples[-5:]
            before, after = (statistics.median(part) / 2**20 for part in (settled, last))
            report.add(
                f"private memory of worker {place + 1}: after {SETTLED} reloads, after {RELOADS}",
                f"{before:.1f} and {after:.1f} MiB, {after / before - 1:+.1%}",
                f"< {GROWTH:.0%} more",
                after / before - 1 < GROWTH,
            )


def test_a_hundred_reloads_give_back_what_they_held(data: Path, bases: list[Path], tmp_path: Path):
    """On demand alone, by SIGHUP and by POST /admin/reload in turn, as nothing else is looked for in an hour."""
    store, keys = Store(tmp_path / "models"), make_keys(tmp_path / "keys")
    publish(store, bases[0])
    recommender = Recommender.open(bases[0])
    requests = [ask.prepared(keys.use) for ask in mixed_asks(recommender, 100)]
    recommender.close()
    # What a busy machine makes wait is not to be refused here: this is about memory.
    settings = {"workers": WORKERS, "keys": keys.file, "watch_interval_s": 3600, "max_wait_s": 2}
    with Service(store.root, **settings) as service:
        run(Load(service.port, requests).closed(8, 3.0))  # warm
        reloads = Reloads(Campaign(service, store, bases, keys), requests)
        for _ in range(RELOADS):
            reloads.reload()
        print()
        current = {store.current().name}
        what = "the files of older versions to be let go"
        until(lambda: all(mapped(pid, store.root) == current for pid in reloads.memory), 10, what)
        assert service.workers() == list(reloads.memory)

    report = Report("reloads", f"SEGUE_CHAOS_S={SECONDS:g} make test-chaos", data.name)
    reloads.tell(report)
    report.add("versions of which a worker has files open at the end", "the current one", "no other", True)
    report.finish()
    assert not report.missed
