"""A service that takes up what is published, and refuses what is not whole: versions, the blocklist, the keys."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.access import Key, Keys, Right
from service.app import create_app
from service.board import Board, Standing, Status
from service.engine import FORMAT_VERSION, CorruptModel, Manifest, Recommender, Store, new_version
from service.keys import new_key
from service.model import ServedModel
from service.parts import Parts
from service.settings import Settings

ADMIN, USE = new_key(), new_key()
SELDOM_S = 3600.0  # so that a look that nobody asked for does not come in between


def key(name: str, secret: str, *rights: Right) -> Key:
    digest = sha256(secret.encode()).hexdigest()
    return Key(name, digest, frozenset(rights), None, 0, datetime(2026, 1, 31, tzinfo=UTC))


ALL_KEYS = Keys((key("admin", ADMIN, "admin", "metrics"), key("use", USE, "use")))


def put(path: Path, text: str) -> None:
    """Write the file as who cares does: whole, by a rename."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def publish(store: Path, damaged: str | None = None, **changes: Any) -> str:
    """Publish the files of the first version under a name of its own; in the one that is *damaged* a bit is flipped."""
    target = Store(store)
    base = store / target.versions()[0]
    version = new_version()
    with target.writing(), target.staging(version) as staged:
        for path in base.iterdir():
            if path.name != "manifest.json":
                os.link(path, staged / path.name)
        manifest = Manifest.read(base)
        replace(manifest, **{"version": version, "created_at": datetime.now(UTC).isoformat(), **changes}).write(staged)
        if damaged is not None:
            content = bytearray((staged / damaged).read_bytes())
            content[len(content) // 2] ^= 1
            (staged / damaged).unlink()  # other versions have it too
            (staged / damaged).write_bytes(content)
        target.publish(staged)
    return version


@dataclass
class Service:
    """A service that looks when it is told to."""

    client: TestClient
    parts: Parts

    def reload(self) -> dict[str, Any]:
        response = self.client.post("/admin/reload", headers={"X-API-Key": ADMIN})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def ready(self) -> tuple[int, dict[str, Any]]:
        response = self.client.get("/health/ready")
        return response.status_code, response.json()

    def ask(self, **body: Any) -> dict[str, Any]:
        response = self.client.post("/recommend", json=body, headers={"X-API-Key": USE})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def get(self, path: str) -> dict[str, Any]:
        response = self.client.get(path, headers={"X-API-Key": USE})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def metric(self, name: str, **labels: str) -> float:
        text = self.client.get("/metrics", headers={"X-API-Key": ADMIN}).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return next((s.value for s in samples if s.name == name and s.labels == labels), 0.0)

    def on_the_loop(self, call: Callable[..., Any], *arguments: Any) -> Any:
        assert self.client.portal is not None
        return self.client.portal.call(call, *arguments)


@contextmanager
def serving(store: Path, **settings: Any) -> Iterator[Service]:
    app = create_app(Settings(models=store, **{"watch_interval_s": SELDOM_S, **settings}))
    with TestClient(app, raise_server_exceptions=False) as client:
        for _ in range(10_000):
            if client.get("/health/ready").status_code == 200 or app.state.parts.board.read():  # it has looked
                break
        yield Service(client, app.state.parts)


@pytest.fixture(autouse=True)
def _not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a reload waits for workers that never look again."""
    monkeypatch.setattr("service.routes.RELOADED_WITHIN_S", 0.1)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(ALL_KEYS.text())
    return path


@pytest.fixture
def service(published: Path, keys: Path) -> Iterator[Service]:
    """A service on a store of its own."""
    with serving(published, keys=keys) as found:
        yield found


# Versions


def test_what_is_published_and_rolled_back_to_is_served_and_every_answer_names_its_version(
    published: Path, service: Service
):
    first = Store(published).current().name
    track = service.get("/search?q=love&kind=tracks")["tracks"][0]["id"]
    second = publish(published)
    assert service.ask(k=1)["model"] == first  # it has not looked yet

    for version in (second, first, second):
        Store(published).rollback(version)
        reloaded = service.reload()
        assert (reloaded["status"], reloaded["model"], reloaded["reason"]) == ("ready", version, None)
        assert reloaded["workers"] == [{"pid": os.getpid(), "status": "ready", "model": version}]
        assert service.ready() == (200, {"status": "ready", "model": version})
        answers = [service.ask(k=1), service.get(f"/similar?track={track}"), service.get("/search?q=love")]
        assert [answer["model"] for answer in answers] == [version] * 3
        assert service.get("/model")["version"] == version
        assert service.metric("segue_workers", version=version, status="ready") == 1


def test_what_is_published_is_taken_up_without_being_told(published: Path, keys: Path):
    with serving(published, keys=keys, watch_interval_s=0.01) as service:
        version = publish(published)
        for _ in range(10_000):
            if service.ready() == (200, {"status": "ready", "model": version}):
                break

        assert service.ask(k=1)["model"] == version


def test_a_version_with_one_flipped_bit_is_refused_and_the_old_one_serves_on(published: Path, service: Service):
    first = Store(published).current()
    answer = service.ask(title="chill", k=50)
    served, refused = (service.metric("segue_reloads_total", outcome=outcome) for outcome in ("served", "refused"))
    names = sorted(path.name for path in first.iterdir())
    assert len(names) > 15

    for n_refused, name in enumerate(names, 1):
        damaged = publish(published, damaged=name)
        status, ready = reloaded(service)
        assert (status, ready["status"], ready["model"]) == (200, "degraded", first.name), name
        assert damaged in ready["reason"]
        assert name in ready["reason"]
        assert service.ask(title="chill", k=50) == answer
        assert service.metric("segue_reloads_total", outcome="refused") == refused + n_refused
        assert service.metric("segue_workers", version=first.name, status="degraded") == 1

    good = publish(published)
    assert reloaded(service) == (200, {"status": "ready", "model": good})
    assert service.metric("segue_reloads_total", outcome="served") == served + 1
    assert service.ask(title="chill", k=50) == {**answer, "model": good}


def reloaded(service: Service) -> tuple[int, dict[str, Any]]:
    """How *service* stands once it has looked, by both that tell it."""
    said, (status, ready) = service.reload(), service.ready()
    assert (said["status"], said["model"], said["reason"]) == (ready["status"], ready["model"], ready.get("reason"))
    return status, ready


def test_a_version_of_a_newer_format_is_refused_and_says_what_to_do(published: Path, service: Service):
    first = Store(published).current().name
    publish(published, format_version=FORMAT_VERSION + 1)

    _, ready = reloaded(service)
    assert (ready["status"], ready["model"]) == ("degraded", first)
    assert f"format {FORMAT_VERSION + 1}" in ready["reason"]


def test_a_rollback_heals_too(published: Path, service: Service):
    first = Store(published).current().name
    publish(published, damaged="vectors.npy")
    reloaded(service)
    Store(published).rollback(first)

    assert reloaded(service) == (200, {"status": "ready", "model": first})


def test_a_store_that_goes_away_takes_nothing_from_what_is_served(published: Path, service: Service):
    first = Store(published).current().name
    refused = service.metric("segue_reloads_total", outcome="refused")
    published.rename(published.with_name("elsewhere"))
    for _ in range(3):
        assert reloaded(service)[1]["status"] == "degraded"
    assert service.ask(k=3)["model"] == first
    assert service.metric("segue_reloads_total", outcome="refused") == refused + 1  # told once

    published.with_name("elsewhere").rename(published)
    assert reloaded(service) == (200, {"status": "ready", "model": first})


def test_a_version_that_is_refused_is_not_read_again_unless_somebody_asks(
    published: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    opening, opened = Recommender.open, []
    monkeypatch.setattr(
        Recommender, "open", lambda directory, threads: opened.append(directory.name) or opening(directory, threads)
    )
    with serving(published, keys=keys, watch_interval_s=0.001) as service:
        damaged = publish(published, damaged="gram.npy")
        for _ in range(10_000):
            if service.ready()[1]["status"] == "degraded":
                break
        for _ in range(200):
            service.ready()
        assert opened.count(damaged) == 1

        service.reload()
        assert opened.count(damaged) == 2


def test_a_fault_of_the_machine_is_tried_again(published: Path, service: Service, monkeypatch: pytest.MonkeyPatch):
    second = publish(published)
    with monkeypatch.context() as patched:
        patched.setattr(Recommender, "warm", lambda _: 1 / 0)
        assert reloaded(service)[1]["status"] == "degraded"

    assert reloaded(service) == (200, {"status": "ready", "model": second})


def test_a_fault_that_comes_again_is_let_rest_unless_told_to_look(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    attempts: list[Path] = []

    def fail(directory: Path, threads: int | None) -> Recommender:
        attempts.append(directory)
        raise RuntimeError("strange")

    async def scene() -> None:
        served = ServedModel(published, Board(tmp_path / "board"))
        for _ in range(5):
            await served.look()
        assert len(attempts) == 2
        await served.look(again=True)
        assert len(attempts) == 3
        publish(published)
        await served.look()
        assert len(attempts) == 4

    monkeypatch.setattr(Recommender, "open", fail)
    asyncio.run(scene())


def test_a_request_ends_on_the_version_that_it_began_with_which_is_closed_and_given_back_after_it(
    published: Path, service: Service, monkeypatch: pytest.MonkeyPatch
):
    given_back: list[set[str]] = []
    monkeypatch.setattr("service.model.give_back", lambda: given_back.append(set(mapped(published))))
    first, served = Store(published).current().name, service.parts.watch.model
    with ExitStack() as request:
        recommender: Recommender = service.on_the_loop(request.enter_context, served.lend())
        second = publish(published)
        assert reloaded(service)[1]["model"] == second
        assert mapped(published)[first]
        assert recommender.manifest.version == first
        assert len(recommender.popular(5)) == 5
        assert given_back == []

        del recommender
        service.on_the_loop(request.close)
        service.on_the_loop(asyncio.sleep, 0)
    assert set(mapped(published)) == {second}
    assert given_back == [{second}]


def test_the_version_that_serves_is_not_closed_by_those_who_give_it_back(published: Path, service: Service):
    for _ in range(3):
        with ExitStack() as requests:
            for _ in range(3):
                service.on_the_loop(requests.enter_context, service.parts.watch.model.lend())
            service.on_the_loop(requests.close)

    assert service.ask(k=3)["tracks"]


def mapped(store: Path) -> Mapping[str, int]:
    """How many mappings, or open files, this process has of each version in *store*."""
    found: dict[str, int] = {}
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = [line.split(maxsplit=5)[5] for line in lines if "/" in line]
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            paths.append(str(descriptor.readlink()))
        except FileNotFoundError:  # the one that the directory was read by
            continue
    for path in paths:
        if path.startswith(f"{store}/"):
            version = Path(path.removeprefix(f"{store}/")).parts[0]
            found[version] = found.get(version, 0) + 1
    return found


def test_what_an_old_version_held_is_given_back(published: Path, service: Service):
    counts = []
    for number in range(12):
        publish(published, damaged="tracks.ann" if number % 4 == 3 else None)
        service.reload()
        service.ask(title="chill", k=5)
        current = service.ready()[1]["model"]
        counts.append(mapped(published))
        assert set(counts[-1]) == {current}
    assert counts[-1][current] == next(iter(counts[0].values()))


def test_a_reload_waits_for_no_look_but_its_own(published: Path, service: Service, monkeypatch: pytest.MonkeyPatch):
    """A worker that has looked since it was told to is not waited for until it happens to look again."""
    reads, read = [], Board.read
    monkeypatch.setattr(Board, "read", lambda board: reads.append(board) or read(board))
    publish(published)
    service.reload()

    assert len(reads) == 2  # one to see that all have looked, one for the answer


def test_a_look_counts_from_when_it_began(published: Path, service: Service, monkeypatch: pytest.MonkeyPatch):
    """One that was under way when something was published may have missed it."""
    begun = []
    stamp = Store.stamp

    def note(store: Store) -> tuple[object, ...]:
        begun.append(monotonic())
        return stamp(store)

    monkeypatch.setattr(Store, "stamp", note)
    publish(published)
    service.reload()

    (post,) = service.parts.board.read()
    assert post.looked_s <= begun[-1]


# The blocklist


@pytest.fixture
def blocklist(tmp_path: Path) -> Path:
    path = tmp_path / "blocklist.txt"
    path.write_text("# nothing yet\n")
    return path


@pytest.fixture
def blocking(published: Path, keys: Path, blocklist: Path) -> Iterator[Service]:
    """A service with a blocklist."""
    with serving(published, keys=keys, blocklist=blocklist) as found:
        yield found


def ids(answer: dict[str, Any], kind: str = "tracks") -> list[str]:
    return [item["id"] for item in answer[kind]]


def test_a_blocklist_that_changes_is_in_force_without_a_retrain_and_answers_hold_exactly_k(
    blocklist: Path, blocking: Service
):
    before = ids(blocking.ask(k=20))
    blocked = {*before[:5], before[11]}
    put(blocklist, "\n".join(blocked))
    blocking.reload()
    after = ids(blocking.ask(k=20))

    assert len(after) == len(set(after)) == 20
    assert not blocked & set(after)
    assert after[:14] == [track for track in before if track not in blocked]
    assert blocking.metric("segue_blocklist_entries") == len(blocked)
    assert blocking.get("/model")["version"]  # as before: it needs no other version
    neighbours = ids(blocking.get(f"/similar?track={before[0]}&k=30"))
    assert len(neighbours) == 30
    assert not blocked & set(neighbours)

    put(blocklist, "")
    blocking.reload()
    assert ids(blocking.ask(k=20)) == before


def test_a_blocked_artist_is_in_no_answer_and_none_of_its_tracks(blocklist: Path, blocking: Service):
    artist = blocking.ask(k=1)["tracks"][0]["artist"]["id"]
    put(blocklist, artist)
    blocking.reload()

    tracks = blocking.ask(k=500)["tracks"]
    assert len(tracks) == 500
    assert artist not in [track["artist"]["id"] for track in tracks if track["artist"]]
    assert artist not in ids(blocking.ask(kind="artists", k=50), "artists")


def test_what_is_blocked_stays_so_in_the_next_version(published: Path, blocklist: Path, blocking: Service):
    blocked = ids(blocking.ask(k=1))[0]
    put(blocklist, blocked)
    blocking.reload()
    publish(published)
    blocking.reload()

    assert blocked not in ids(blocking.ask(k=500))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", None])
def test_a_blocklist_that_cannot_be_read_later_changes_nothing_and_is_told(
    content: bytes | None, published: Path, blocklist: Path, blocking: Service
):
    blocked = ids(blocking.ask(k=1))[0]
    put(blocklist, blocked)
    blocking.reload()
    refused = blocking.metric("segue_blocklist_refused_total")
    blocklist.unlink() if content is None else blocklist.write_bytes(content)
    version = publish(published)

    status, ready = reloaded(blocking)
    assert (status, ready["status"], ready["model"]) == (200, "degraded", version)  # new versions come all the same
    assert str(blocklist) in ready["reason"]
    assert blocked not in ids(blocking.ask(k=500))
    assert blocking.metric("segue_blocklist_refused_total") == refused + 1
    put(blocklist, blocked)
    assert reloaded(blocking) == (200, {"status": "ready", "model": version})


def test_without_the_blocklist_that_it_is_told_of_nothing_is_served(published: Path, keys: Path, tmp_path: Path):
    """Takedowns: rather nothing than what must not be."""
    path = tmp_path / "later.txt"
    with serving(published, keys=keys, blocklist=path) as service:
        status, problem = service.ready()
        assert (status, problem["status"]) == (503, 503)
        assert str(path) in problem["detail"]
        refused = service.client.post("/recommend", json={}, headers={"X-API-Key": USE})
        assert refused.status_code == 503
        assert "blocklist" in refused.json()["detail"]
        assert service.client.get("/health/live").status_code == 200

        path.write_text("")
        assert reloaded(service)[1]["status"] == "ready"
        assert len(service.ask(k=3)["tracks"]) == 3


def test_a_blocklist_that_could_not_be_put_in_force_is_tried_again(
    blocklist: Path, blocking: Service, monkeypatch: pytest.MonkeyPatch
):
    """It was read, but the catalogue could not be: what must not be returned is not forgotten about."""
    blocked = ids(blocking.ask(k=1))[0]

    def fail(*_: object) -> None:
        raise CorruptModel("the catalogue cannot be read")

    put(blocklist, blocked)
    with monkeypatch.context() as patched:
        patched.setattr(Recommender, "block", fail)
        blocking.reload()
    assert blocked in ids(blocking.ask(k=1))
    blocking.reload()

    assert blocked not in ids(blocking.ask(k=500))


# Beside other workers


def beside_another(runtime: Path, status: Status) -> Path:
    """A runtime directory in which another worker has posted how it stands."""
    Board(runtime / "workers").post(Standing(status, "some-version"), 0.0)
    own = runtime / "workers" / f"{os.getpid()}.json"
    own.rename(own.with_stem("1"))
    return runtime


def test_a_worker_that_joins_others_takes_no_connection_before_it_can_answer(published: Path, tmp_path: Path):
    settings = Settings(models=published, runtime=beside_another(tmp_path, "ready"), watch_interval_s=SELDOM_S)
    with TestClient(create_app(settings)) as client:
        assert client.post("/recommend", json={}).status_code == 200


@pytest.mark.parametrize("status", ["ready", "unready", "stopping"])
def test_a_worker_that_joins_others_and_finds_nothing_to_serve_says_so(status: Status, tmp_path: Path):
    runtime = beside_another(tmp_path / "runtime", status)
    settings = Settings(models=tmp_path / "none", runtime=runtime, watch_interval_s=SELDOM_S)
    with TestClient(create_app(settings)) as client:
        assert client.get("/health/live").status_code == 200
        assert client.post("/recommend", json={}).status_code == 503


# The keys


def test_a_key_that_is_revoked_lets_nobody_in_after_a_look_and_a_new_one_does(keys: Path, service: Service):
    fresh = new_key()
    assert service.client.get("/model", headers={"X-API-Key": fresh}).status_code == 401
    put(keys, Keys((ALL_KEYS.keys[0], key("fresh", fresh, "use"))).text())
    service.reload()

    assert service.client.get("/model", headers={"X-API-Key": USE}).status_code == 401
    assert service.client.get("/model", headers={"X-API-Key": fresh}).status_code == 200


def test_a_file_of_keys_that_is_broken_changes_nothing_and_is_told_without_a_secret(keys: Path, service: Service):
    put(keys, ALL_KEYS.text()[:-20])

    status, ready = reloaded(service)
    assert (status, ready["status"]) == (200, "degraded")
    assert str(keys) in ready["reason"]
    assert ALL_KEYS.keys[0].digest not in ready["reason"]
    assert service.ask(k=1)["tracks"]
    assert service.client.get("/model", headers={"X-API-Key": new_key()}).status_code == 401
    put(keys, ALL_KEYS.text())
    assert reloaded(service)[1]["status"] == "ready"


def test_a_file_without_keys_lets_nobody_in_but_to_health(keys: Path, service: Service):
    put(keys, "")
    service.reload()

    for path, secret in (("/model", USE), ("/metrics", ADMIN), ("/nowhere", USE)):
        assert service.client.get(path, headers={"X-API-Key": secret}).status_code == 401
    assert service.ready()[0] == 200


# Fails as long as the fault that it shows is not mended.
def test_a_worker_that_begins_while_the_keys_are_broken_lets_nobody_in_until_they_are_mended(
    published: Path, keys: Path
):
    """One that died has to be replaced meanwhile; if it could not begin, all would be gone in the end."""
    keys.write_text("{")
    with serving(published, keys=keys, watch_interval_s=0.01) as service:
        status, answer = service.ready()
        assert status == 503
        assert str(keys) in json.dumps(answer)
        assert service.client.get("/model", headers={"X-API-Key": USE}).status_code == 401
        assert service.client.get("/model").status_code == 401

        put(keys, ALL_KEYS.text())
        for _ in range(10_000):
            if service.ready()[0] == 200:
                break
        assert service.ask(k=1)["tracks"]
