"""A service that opens published versions, refuses damaged ones, and reloads its blocklist and keys."""

import asyncio
import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.api.state import AppState
from service.app import create_app
from service.auth.keys import Key, Keys, Right, digest_of, new_key
from service.engine import FORMAT_VERSION, CorruptModel, Manifest, Recommender, Store
from service.reload.reloader import RETRY_S, Reloader
from service.reload.serving import ServedModel
from service.settings import Settings
from service.telemetry.status import Status, StatusDirectory, WorkerStatus

ADMIN, USE = new_key(), new_key()
SELDOM_S = 3600.0  # no poll happens by itself


def key(name: str, secret: str, *rights: Right) -> Key:
    return Key(name=name, digest=digest_of(secret), rights=rights, created_at=datetime(2026, 1, 31, tzinfo=UTC))


ALL_KEYS = Keys(keys=(key("admin", ADMIN, "admin", "metrics"), key("use", USE, "use")))


def put(path: Path, text: str) -> None:
    """Write the file atomically."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def publish(store: Path, damaged: str | None = None, **changes: Any) -> str:
    """Publish a copy of the first version; flip a bit in the file *damaged*."""
    target = Store(store)
    base = store / target.versions()[0]
    version = target.next_version()
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
    """A service that polls when it is told to."""

    client: TestClient
    state: AppState

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
            if client.get("/health/ready").status_code == 200 or app.state.segue.statuses.read():  # it has polled
                break
        yield Service(client, app.state.segue)


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


def test_published_and_rolled_back_versions_are_served_and_every_answer_names_its_version(
    published: Path, service: Service
):
    first = Store(published).current().name
    track = service.get("/search?q=love&kind=tracks")["tracks"][0]["id"]
    second = publish(published)
    assert service.ask(k=1)["model"] == first  # it has not polled yet

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


def test_a_published_version_is_served_without_a_reload(published: Path, keys: Path):
    with serving(published, keys=keys, watch_interval_s=0.01) as service:
        version = publish(published)
        for _ in range(10_000):
            if service.ready() == (200, {"status": "ready", "model": version}):
                break

        assert service.ask(k=1)["model"] == version


def test_a_version_with_a_flipped_bit_is_refused_and_the_old_one_stays(published: Path, service: Service):
    first = Store(published).current()
    answer = service.ask(title="chill", k=50)
    served, refused = (service.metric("segue_reloads_total", outcome=outcome) for outcome in ("served", "refused"))
    names = sorted(path.name for path in first.iterdir())[::6]  # the engine refuses each
    assert len(names) > 3

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
    """Reload *service* and return its readiness."""
    said, (status, ready) = service.reload(), service.ready()
    assert (said["status"], said["model"], said["reason"]) == (ready["status"], ready["model"], ready.get("reason"))
    return status, ready


def test_a_version_of_a_newer_format_is_refused_by_its_number(published: Path, service: Service):
    first = Store(published).current().name
    publish(published, format_version=FORMAT_VERSION + 1)

    _, ready = reloaded(service)
    assert (ready["status"], ready["model"]) == ("degraded", first)
    assert f"format {FORMAT_VERSION + 1}" in ready["reason"]


def test_a_rollback_ends_the_degradation(published: Path, service: Service):
    first = Store(published).current().name
    publish(published, damaged="vectors.npy")
    reloaded(service)
    Store(published).rollback(first)

    assert reloaded(service) == (200, {"status": "ready", "model": first})


def test_a_store_that_disappears_does_not_disturb_the_served_version(published: Path, service: Service):
    first = Store(published).current().name
    refused = service.metric("segue_reloads_total", outcome="refused")
    published.rename(published.with_name("elsewhere"))
    for _ in range(3):
        assert reloaded(service)[1]["status"] == "degraded"
    assert service.ask(k=3)["model"] == first
    assert service.metric("segue_reloads_total", outcome="refused") == refused + 1  # reported once

    published.with_name("elsewhere").rename(published)
    assert reloaded(service) == (200, {"status": "ready", "model": first})


class Opener:
    """Opens versions, counts how often, and fails as often as told."""

    def __init__(self, *errors: Exception):
        self.names: list[str] = []
        self._errors = list(errors)

    def fail(self, *errors: Exception) -> None:
        self._errors += errors

    def __call__(self, directory: Path, threads: int | None) -> Recommender:
        self.names.append(directory.name)
        if self._errors:
            raise self._errors.pop(0)
        return Recommender.open(directory, threads)


def test_a_refused_version_is_not_read_again_unless_told_to(published: Path, tmp_path: Path):
    damaged, opener = publish(published, damaged="gram.npy"), Opener()

    async def scene() -> None:
        model = ServedModel(published, StatusDirectory(tmp_path / "workers"), opener)
        for _ in range(5):
            await model.poll()
        assert opener.names == [damaged]
        await model.poll(again=True)
        assert opener.names == [damaged] * 2

    asyncio.run(scene())


def stale(name: str) -> CorruptModel:
    error = CorruptModel(f"{name} cannot be read: Stale file handle; check the mount")
    error.__cause__ = OSError(errno.ESTALE, "Stale file handle")
    return error


def test_a_version_that_the_system_does_not_give_is_served_once_it_does(published: Path, tmp_path: Path):
    opener = Opener(stale("vectors.npy"))

    async def scene() -> None:
        model = ServedModel(published, StatusDirectory(tmp_path / "workers"), opener)
        await model.poll()
        assert (
            model.refusal == "vectors.npy cannot be read: Stale file handle; check the mount; the service tries again"
        )
        assert model.is_unsettled
        await model.poll()
        assert (model.refusal, model.is_unsettled, len(opener.names)) == (None, False, 2)
        model.close()

    asyncio.run(scene())


def test_troubles_that_last_are_tried_at_growing_intervals_while_the_old_version_serves(
    published: Path, tmp_path: Path
):
    opener = Opener()

    async def scene() -> None:
        model = ServedModel(published, StatusDirectory(tmp_path / "workers"), opener)
        await model.poll()
        old = model.manifest
        newer = publish(published)
        opener.fail(*[stale("gram.npy")] * 3)
        for _ in range(9):
            await model.poll()
        assert (opener.names[1:], model.manifest) == ([newer] * 2, old)  # at once, and then after a second
        model.close()

    asyncio.run(scene())


@pytest.mark.parametrize("error", [stale("gram.npy"), RuntimeError("strange")])
def test_a_version_is_served_within_ten_seconds_of_the_end_of_a_trouble_however_long_it_lasted(
    error: Exception, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opener, passed_s = Opener(*[error] * 12), [0.0]
    tries_s: list[float] = []

    async def scene() -> None:
        model = ServedModel(published, StatusDirectory(tmp_path / "workers"), opener)
        while model.manifest is None:
            n_tries = len(opener.names)
            await model.poll()
            tries_s.extend([passed_s[0]] * (len(opener.names) - n_tries))
            passed_s[0] += RETRY_S
        model.close()

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: passed_s[0])
        asyncio.run(scene())

    pauses_s = [after - before for before, after in pairwise(tries_s)]
    assert len(tries_s) == 13
    assert pauses_s == sorted(pauses_s)  # growing
    assert pauses_s[-1] + RETRY_S < 10


def test_a_reload_does_not_wait_for_statuses_that_cannot_be_written_and_says_why(published: Path, service: Service):
    status = service.state.statuses.path(os.getpid())
    blocked = status.with_name(f"{status.name}.{os.getpid()}")  # the name under which a status is written first
    blocked.mkdir()

    service.on_the_loop(lambda: asyncio.wait_for(service.state.reloader.reload_all(SELDOM_S), 30))
    answer = service.reload()
    assert (answer["status"], answer["model"]) == ("ready", Store(published).current().name)
    assert answer["reason"].startswith(f"the statuses of the workers may be old: {status}: Is a directory; make room")
    assert service.ready()[0] == 200

    blocked.rmdir()
    assert service.reload()["reason"] is None


@pytest.mark.parametrize("name", ["vectors.npy", "tracks.ann", "catalogue.sqlite", "manifest.json", "CURRENT"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links; correct the link"),
        (os.mkfifo, "cannot be used: it is a named pipe, not a regular file"),
    ],
    ids=["a link to itself", "a named pipe"],
)
def test_a_file_that_cannot_be_read_is_named_and_the_old_version_serves_until_it_is_back(
    spoil: Callable[[Path], None], reason: str, name: str, published: Path, service: Service
):
    version = Store(published).current()
    path = published / name if name == "CURRENT" else version / name
    path.rename(path.with_suffix(".away"))
    spoil(path)

    _, ready = reloaded(service)
    assert (ready["status"], ready["model"]) == ("degraded", version.name)
    assert f"{path} {reason}" in ready["reason"]
    assert service.ask(k=1)["tracks"]
    path.unlink()
    path.with_suffix(".away").rename(path)
    assert reloaded(service) == (200, {"status": "ready", "model": version.name})


def test_after_an_unexpected_error_opening_is_tried_again_at_once_and_then_after_a_rest(
    published: Path, tmp_path: Path
):
    opener = Opener(*[RuntimeError("strange")] * 5)

    async def scene() -> None:
        model = ServedModel(published, StatusDirectory(tmp_path / "workers"), opener)
        for _ in range(5):
            await model.poll()
        assert len(opener.names) == 2
        await model.poll(again=True)
        assert len(opener.names) == 3
        newer = publish(published)
        await model.poll()
        assert opener.names[3:] == [newer]
        await model.poll(again=True)
        await model.poll(again=True)
        assert model.manifest is not None
        assert model.refusal is None
        model.close()

    asyncio.run(scene())


def test_a_request_ends_on_the_version_that_it_began_with_which_is_closed_after_it(published: Path, service: Service):
    first, served = Store(published).current().name, service.state.model
    with ExitStack() as request:
        recommender: Recommender = service.on_the_loop(request.enter_context, served.lend())
        second = publish(published)
        assert reloaded(service)[1]["model"] == second
        assert mapped(published)[first]
        assert recommender.manifest.version == first
        assert len(recommender.popular("tracks", 5)) == 5

        del recommender
        service.on_the_loop(request.close)
        service.on_the_loop(asyncio.sleep, 0)
    assert set(mapped(published)) == {second}


def test_the_served_version_stays_open_after_its_borrowers(published: Path, service: Service):
    for _ in range(3):
        with ExitStack() as requests:
            for _ in range(3):
                service.on_the_loop(requests.enter_context, service.state.model.lend())
            service.on_the_loop(requests.close)

    assert service.ask(k=3)["tracks"]


def mapped(store: Path) -> Mapping[str, int]:
    """Count the mappings and open files of this process by version in *store*."""
    found: dict[str, int] = {}
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = [line.split(maxsplit=5)[5] for line in lines if "/" in line]
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            paths.append(str(descriptor.readlink()))
        except FileNotFoundError:  # the descriptor of this loop
            continue
    for path in paths:
        if path.startswith(f"{store}/"):
            version = Path(path.removeprefix(f"{store}/")).parts[0]
            found[version] = found.get(version, 0) + 1
    return found


def test_an_old_version_leaves_no_mapping_behind(published: Path, service: Service):
    counts = []
    for number in range(8):
        publish(published, damaged="tracks.ann" if number % 4 == 3 else None)
        service.reload()
        service.ask(title="chill", k=5)
        current = service.ready()[1]["model"]
        counts.append(mapped(published))
        assert set(counts[-1]) == {current}
    assert counts[-1][current] == next(iter(counts[0].values()))


def test_a_reload_waits_for_its_own_poll_only(published: Path, service: Service):
    version = publish(published)
    service.on_the_loop(service.state.reloader.reload_all, SELDOM_S)

    assert service.ready()[1]["model"] == version


class Model:
    """A model that notes when it was polled, and fails to block ids the first time."""

    manifest, refusal = None, None

    def __init__(self) -> None:
        self.polled_s: list[float] = []
        self.blocked: list[frozenset[str]] = []

    async def poll(self, *, again: bool) -> None:
        self.polled_s.append(time.monotonic())

    async def block(self, ids: frozenset[str]) -> None:
        self.blocked.append(ids)
        if len(self.blocked) == 1:
            raise CorruptModel("the catalogue cannot be read")


def test_a_poll_counts_from_its_begin(tmp_path: Path):
    """It may have missed a version that was published later."""
    model: Any = Model()
    statuses = StatusDirectory(tmp_path)
    asyncio.run(Reloader(Settings(), model, statuses).poll())

    assert statuses.read()[os.getpid()].polled_s <= model.polled_s[0]


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EMFILE, "ulimit -n"), (errno.ENOSPC, "make room"), (errno.EROFS, "SEGUE_RUNTIME")]
)
def test_a_status_that_cannot_be_written_has_the_remedy_of_its_reason(number: int, remedy: str, tmp_path: Path):
    class Full(StatusDirectory):
        def write(self, status: WorkerStatus) -> None:
            raise OSError(number, os.strerror(number), "/run/1.json")

    model: Any = Model()
    reloader = Reloader(Settings(), model, Full(tmp_path))
    asyncio.run(reloader.poll())

    assert reloader.unposted is not None
    assert reloader.unposted.startswith(f"/run/1.json: {os.strerror(number)}; ")
    assert remedy in reloader.unposted


def test_a_worker_drains_although_it_cannot_write_its_status(tmp_path: Path):
    model: Any = Model()
    reloader = Reloader(Settings(), model, StatusDirectory(tmp_path / "workers"))
    shutil.rmtree(tmp_path / "workers")

    reloader.stop()
    assert reloader.status.status == "stopping"


def test_a_version_is_served_although_it_cannot_be_noted(published: Path, tmp_path: Path):
    async def scene() -> None:
        model = ServedModel(published, StatusDirectory(tmp_path / "workers"))
        shutil.rmtree(tmp_path / "workers")
        await model.poll()
        assert model.refusal is None
        model.close()

    asyncio.run(scene())


def test_a_blocklist_that_could_not_be_put_into_use_is_tried_again(tmp_path: Path):
    path = tmp_path / "blocklist.txt"
    path.write_text("forbidden")
    model: Any = Model()
    reloader = Reloader(Settings(blocklist=path), model, StatusDirectory(tmp_path / "workers"))

    async def poll_thrice() -> None:
        for _ in range(3):
            await reloader.poll()

    asyncio.run(poll_thrice())
    assert model.blocked == [frozenset({"forbidden"})] * 2


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


def test_a_changed_blocklist_is_used_without_a_retrain_and_answers_hold_exactly_k(blocklist: Path, blocking: Service):
    before = ids(blocking.ask(k=20))
    blocked = {*before[:5], before[11]}
    put(blocklist, "\n".join(blocked))
    blocking.reload()
    after = ids(blocking.ask(k=20))

    assert len(after) == len(set(after)) == 20
    assert not blocked & set(after)
    assert after[:14] == [track for track in before if track not in blocked]
    assert blocking.metric("segue_blocklist_entries") == len(blocked)
    assert blocking.get("/model")["version"]
    neighbours = ids(blocking.get(f"/similar?track={before[0]}&k=30"))
    assert len(neighbours) == 30
    assert not blocked & set(neighbours)

    put(blocklist, "")
    blocking.reload()
    assert ids(blocking.ask(k=20)) == before


def test_no_answer_holds_a_blocked_artist_or_one_of_its_tracks(blocklist: Path, blocking: Service):
    artist = blocking.ask(k=1)["tracks"][0]["artist"]["id"]
    put(blocklist, artist)
    blocking.reload()

    tracks = blocking.ask(k=500)["tracks"]
    assert len(tracks) == 500
    assert artist not in [track["artist"]["id"] for track in tracks if track["artist"]]
    assert artist not in ids(blocking.ask(kind="artists", k=50), "artists")


def test_blocked_items_stay_blocked_in_the_next_version(published: Path, blocklist: Path, blocking: Service):
    blocked = ids(blocking.ask(k=1))[0]
    put(blocklist, blocked)
    blocking.reload()
    publish(published)
    blocking.reload()

    assert blocked not in ids(blocking.ask(k=500))


def test_the_log_says_how_many_items_of_each_version_a_blocklist_blocks(
    published: Path, recommender: Recommender, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "segue")
    named = frozenset(artist.id for artist in recommender.popular("artists", 2))
    tracks = [track for track in recommender.popular("tracks", 10**6) if track.artist and track.artist.id in named]
    first = Store(published).current().name

    async def scene() -> str:
        model = ServedModel(published, StatusDirectory(tmp_path / "workers"))
        await model.block(named | {"unknown"})  # at the start, the blocklist is read before the model
        await model.poll()
        second = publish(published)
        await model.poll()
        await model.block(frozenset({"unknown"}))
        model.close()
        return second

    second = asyncio.run(scene())
    assert [line for line in caplog.messages if "blocked" in line] == [
        f"3 ids are blocked: {2 + len(tracks)} tracks and artists of version {first}",
        f"3 ids are blocked: {2 + len(tracks)} tracks and artists of version {second}",
        f"1 ids are blocked: 0 tracks and artists of version {second}",
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", None])
def test_a_blocklist_that_becomes_unreadable_changes_nothing_and_is_reported(
    content: bytes | None, published: Path, blocklist: Path, blocking: Service
):
    blocked = ids(blocking.ask(k=1))[0]
    put(blocklist, blocked)
    blocking.reload()
    refused = blocking.metric("segue_blocklist_refused_total")
    blocklist.unlink() if content is None else blocklist.write_bytes(content)
    version = publish(published)

    status, ready = reloaded(blocking)
    assert (status, ready["status"], ready["model"]) == (200, "degraded", version)  # new versions are still opened
    assert str(blocklist) in ready["reason"]
    assert blocked not in ids(blocking.ask(k=500))
    assert blocking.metric("segue_blocklist_refused_total") == refused + 1
    put(blocklist, blocked)
    assert reloaded(blocking) == (200, {"status": "ready", "model": version})


def test_nothing_is_served_before_the_blocklist_was_read(published: Path, keys: Path, tmp_path: Path):
    """Takedowns: no answer is better than a forbidden one."""
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


# Beside other workers


def beside_another(runtime: Path, status: Status) -> Path:
    """Create a runtime directory in which another worker has written its status."""
    StatusDirectory(runtime / "workers").write(WorkerStatus(status, "some-version"))
    own = runtime / "workers" / f"{os.getpid()}.json"
    own.rename(own.with_stem("1"))
    return runtime


def test_a_worker_that_joins_others_accepts_connections_only_when_it_can_answer(published: Path, tmp_path: Path):
    settings = Settings(models=published, runtime=beside_another(tmp_path, "ready"), watch_interval_s=SELDOM_S)
    with TestClient(create_app(settings)) as client:
        assert client.post("/recommend", json={}).status_code == 200


@pytest.mark.parametrize("status", ["ready", "unready", "stopping"])
def test_a_worker_that_joins_others_without_a_model_says_so(status: Status, tmp_path: Path):
    runtime = beside_another(tmp_path / "runtime", status)
    settings = Settings(models=tmp_path / "none", runtime=runtime, watch_interval_s=SELDOM_S)
    with TestClient(create_app(settings)) as client:
        assert client.get("/health/live").status_code == 200
        assert client.post("/recommend", json={}).status_code == 503


# The keys


def test_after_a_poll_a_revoked_key_is_refused_and_a_new_one_accepted(keys: Path, service: Service):
    fresh = new_key()
    assert service.client.get("/model", headers={"X-API-Key": fresh}).status_code == 401
    put(keys, Keys(keys=(ALL_KEYS.keys[0], key("fresh", fresh, "use"))).text())
    service.reload()

    assert service.client.get("/model", headers={"X-API-Key": USE}).status_code == 401
    assert service.client.get("/model", headers={"X-API-Key": fresh}).status_code == 200


def test_a_broken_key_file_changes_nothing_and_is_reported_without_a_secret(keys: Path, service: Service):
    put(keys, ALL_KEYS.text()[:-20])

    status, ready = reloaded(service)
    assert (status, ready["status"]) == (200, "degraded")
    assert str(keys) in ready["reason"]
    assert ALL_KEYS.keys[0].digest not in ready["reason"]
    assert service.ask(k=1)["tracks"]
    assert service.client.get("/model", headers={"X-API-Key": new_key()}).status_code == 401
    put(keys, ALL_KEYS.text())
    assert reloaded(service)[1]["status"] == "ready"


def test_with_an_empty_key_file_only_health_is_answered(keys: Path, service: Service):
    put(keys, "")
    service.reload()

    for path, secret in (("/model", USE), ("/metrics", ADMIN), ("/nowhere", USE)):
        assert service.client.get(path, headers={"X-API-Key": secret}).status_code == 401
    assert service.ready()[0] == 200


@pytest.mark.parametrize("content", ["{", None])
def test_a_worker_that_starts_without_a_readable_key_file_refuses_requests_until_it_is_there(
    content: str | None, published: Path, keys: Path, caplog: pytest.LogCaptureFixture
):
    """Its disk may be mounted later. Or it replaces a worker: if it could not start, all would be gone in the end."""
    keys.unlink() if content is None else keys.write_text(content)
    with serving(published, keys=keys, watch_interval_s=0.01) as service:
        status, answer = service.ready()
        assert status == 503
        assert str(keys) in json.dumps(answer)
        assert f"no request is answered until the key file can be read: the key file {keys}" in caplog.text
        assert service.client.get("/model", headers={"X-API-Key": USE}).status_code == 401
        assert service.client.get("/model").status_code == 401

        put(keys, ALL_KEYS.text())
        for _ in range(10_000):
            if service.ready()[0] == 200:
                break
        assert service.ask(k=1)["tracks"]
