"""A store keeps versions side by side, one of them current, even if a process is killed."""

import fcntl
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from errno import EFBIG, EIO, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path

import pytest

from service.engine import Artifacts, NoModel, Store, StoreBusy, UnusableStore
from service.engine.manifest import MANIFEST
from tests.service.engine.conftest import IRREGULAR

VERSIONS = V1, V2, V3 = [f"2026112{day}T211155.204Z-3f2a9c" for day in (1, 2, 3)]
NOON, DAY = datetime(2026, 11, 27, 12, tzinfo=UTC), timedelta(days=1)


def publish(store: Store, version: str) -> Path:
    with store.writing(), store.staging(version) as staged:
        (staged / MANIFEST).write_text("{}")
        return store.publish(staged)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """A write beyond *size* bytes fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_published_version_is_current(tmp_path: Path):
    store = Store(tmp_path / "deep" / "models")

    publish(store, "v1")
    directory = publish(store, "v2")

    assert store.current() == directory == tmp_path / "deep" / "models" / "v2"
    assert store.versions() == ["v1", "v2"]


@pytest.mark.parametrize("make", [lambda root: None, lambda root: root.mkdir()])
def test_a_store_without_a_version_says_how_to_publish_one(tmp_path: Path, make):
    make(tmp_path / "models")

    with pytest.raises(NoModel, match="python -m trainer train"):
        Store(tmp_path / "models").current()


@pytest.mark.parametrize("pointer", ["gone", "", "../elsewhere", ".staging-v9", "\0"])
def test_a_pointer_to_a_missing_version_is_no_model(tmp_path: Path, pointer: str):
    store = Store(tmp_path)
    publish(store, "v1")
    (tmp_path / "CURRENT").write_text(pointer)

    with pytest.raises(NoModel):
        store.current()


@pytest.mark.parametrize("kind", IRREGULAR)
def test_a_pointer_that_is_no_regular_file_is_named_and_versions_stay_listed(kind: str, tmp_path: Path):
    store = Store(tmp_path)
    first = publish(store, "first")
    store.pointer.unlink()
    IRREGULAR[kind](store.pointer)
    reason = rf"CURRENT cannot be used: it is a {kind}, not a regular file; remove it"

    with pytest.raises(NoModel, match=reason):
        store.current()
    assert (store.versions(), store.stamp()) == ([first.name], ())
    for change in (lambda: store.rollback(first.name), lambda: store.prune(1), lambda: store.writing().__enter__()):
        with pytest.raises(UnusableStore, match=reason):
            change()

    (store.pointer.rmdir if store.pointer.is_dir() else store.pointer.unlink)()
    assert store.rollback(first.name) == store.current() == first


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("lock", [".lock", ".pointing"])
def test_a_lock_that_is_no_regular_file_is_named(kind: str, lock: str, tmp_path: Path):
    IRREGULAR[kind](tmp_path / lock)

    with pytest.raises(UnusableStore, match=rf"{lock} cannot be used: it is a {kind}.*remove it"):
        Store(tmp_path).writing().__enter__()


def test_a_stamp_changes_with_the_version_that_is_current_and_with_its_files(tmp_path: Path):
    store = Store(tmp_path)
    stamps = [store.stamp()]
    for name in ("v1", "v2"):
        directory = publish(store, name)
        stamps.append(store.stamp())
    (directory / "mended.npy").write_bytes(b"mended")
    stamps.append(store.stamp())
    store.rollback("v1")

    assert len(set(stamps)) == 4
    assert store.stamp() == stamps[1]


def test_a_stamp_is_of_one_version_though_another_is_published_meanwhile(tmp_path: Path):
    class Overtaken(Store):
        """A store in which another process publishes after the pointer was read."""

        def current(self) -> Path:
            found = super().current()
            publish(Store(tmp_path), "v2")
            return found

    store = Store(tmp_path)
    publish(store, "v1")
    first = store.stamp()

    assert Overtaken(tmp_path).stamp() == first
    assert store.stamp() != first


def test_a_pointer_that_cannot_be_written_is_named_and_leaves_the_version_before_it_current(tmp_path: Path):
    store = Store(tmp_path)
    before = publish(store, "v1")

    with store.writing(), store.staging("v2") as staged:
        (staged / MANIFEST).write_text("{}")
        with no_file_above(0), pytest.raises(OSError, match="CURRENT") as refused:
            store.publish(staged)

    assert refused.value.errno == EFBIG
    assert store.current() == before
    assert not list(tmp_path.glob(".staging-*"))


def test_a_version_that_fails_while_staged_leaves_nothing(tmp_path: Path):
    store = Store(tmp_path)
    publish(store, "v1")

    with pytest.raises(RuntimeError), store.writing(), store.staging("v2") as staged:
        (staged / "half.npy").write_bytes(b"half")
        raise RuntimeError

    assert store.current().name == "v1"
    assert store.versions() == ["v1"]
    assert not list(tmp_path.glob(".staging-*"))


def test_the_next_run_clears_the_files_of_a_killed_run(tmp_path: Path):
    store = Store(tmp_path)
    (tmp_path / ".staging-dead").mkdir()
    (tmp_path / ".staging-dead" / "half.npy").write_bytes(b"half")

    assert store.versions() == []
    publish(store, "v1")

    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".pointing", "CURRENT", "v1"]


def test_a_second_writer_is_told_to_wait(tmp_path: Path):
    store = Store(tmp_path)

    with store.writing(), pytest.raises(StoreBusy, match="another run"), Store(tmp_path).writing():
        pass


def test_a_killed_writer_does_not_hold_the_lock(tmp_path: Path):
    program = (
        "import sys, os, signal; from pathlib import Path; from service.engine import Store\n"
        "with Store(Path(sys.argv[1])).writing(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, env={**os.environ})

    with Store(tmp_path).writing():
        pass


@pytest.mark.parametrize("moments", [(NOON,) * 5, (NOON, NOON - DAY, NOON - 2 * DAY), (NOON, NOON + 999 * DAY, NOON)])
def test_versions_are_in_the_order_of_publication_whatever_the_clock_says(tmp_path: Path, moments: tuple[datetime]):
    store = Store(tmp_path)
    published = [publish(store, store.next_version(now)).name for now in moments]

    assert store.versions() == published
    assert store.rollback().name == published[-2]
    assert store.prune(1) == published[:-2]


@pytest.mark.parametrize("copy", ["backup-of-{}", "{}.bak", "{} (copy)", "zz", "0", "99999999T999999.999Z-3f2a9c"])
def test_versions_that_people_named_are_kept_and_count_as_none_of_the_newest(tmp_path: Path, copy: str):
    store, copied = Store(tmp_path), copy.format(V1)
    publish(store, V1)
    shutil.copytree(tmp_path / V1, tmp_path / copied)
    publish(store, V2)
    publish(store, V3)

    assert store.versions() == [copied, *VERSIONS]
    assert store.prune(2) == [V1]
    assert store.rollback().name == V2
    with pytest.raises(NoModel, match=f"no version older than {V2}"):
        store.rollback()
    assert store.rollback(copied).name == store.current().name == copied
    with pytest.raises(NoModel, match="no version older than"):
        store.rollback()
    assert store.prune(1) == [V2]
    assert store.versions() == [copied, V3]


def test_the_name_of_a_version_begins_with_its_time_in_utc(tmp_path: Path):
    publish(Store(tmp_path), "a name of other software")

    assert Store(tmp_path).next_version(NOON).startswith("20261127T120000.000Z-")


@pytest.fixture(params=[ENOLCK, EOPNOTSUPP, ENOSYS])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A system whose files cannot be locked, and the reason it gives."""

    def flock(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        yield os.strerror(request.param)


def test_without_locks_a_change_names_the_lock_the_reason_and_the_option(tmp_path: Path, no_locks: str):
    store = Store(tmp_path)
    changes: list[tuple[str, Callable[[], object]]] = [
        (".lock", lambda: publish(store, "v1")),
        (".pointing", lambda: store.rollback("v1")),
        (".pointing", lambda: store.prune(1)),
    ]

    for lock, change in changes:
        with pytest.raises(UnusableStore, match=rf"{tmp_path}/{lock} cannot be locked: {no_locks}; .*--without-locks"):
            change()


def test_without_locks_one_process_at_a_time_may_change_a_store(tmp_path: Path, no_locks: str):
    store = Store(tmp_path, needs_locks=False)
    for name in VERSIONS:
        publish(store, name)

    assert store.rollback().name == V2
    assert store.prune(1) == [V1]


def test_without_locks_a_version_opens_and_each_store_is_warned_of_once(
    models: Path, tmp_path: Path, no_locks: str, caplog: pytest.LogCaptureFixture
):
    directory = Path(shutil.copytree(Store(models).current(), tmp_path / "v1"))
    for _ in range(2):
        Artifacts.open(directory).close()

    (line,) = caplog.messages
    assert f"{tmp_path} has no file locks ({no_locks})" in line


def test_a_lock_that_fails_otherwise_is_not_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def flock(*_: object) -> None:
        raise OSError(EIO, os.strerror(EIO))

    monkeypatch.setattr(fcntl, "flock", flock)

    with pytest.raises(OSError, match=re.escape(f"{tmp_path}/.lock")):
        publish(Store(tmp_path, needs_locks=False), "v1")


@pytest.mark.parametrize("link", [False, True])
def test_a_store_that_is_not_a_directory_is_called_that(tmp_path: Path, link: bool):
    root = tmp_path / "models"
    if link:
        root.symlink_to("not-mounted")
    else:
        root.write_text("in the way")

    with pytest.raises(NotADirectoryError, match=str(root)), Store(root).writing():
        pass


def test_a_store_path_that_is_not_utf_8_is_refused_before_any_work(tmp_path: Path):
    root = tmp_path / os.fsdecode(b"caf\xe9")

    with pytest.raises(UnusableStore, match=r"caf\udce9 is not UTF-8.*rename"), Store(root).writing():
        pass
    assert not root.exists()


def test_a_version_that_is_open_is_not_pruned(models: Path, tmp_path: Path):
    store = Store(tmp_path)
    for name in VERSIONS:
        shutil.copytree(Store(models).current(), tmp_path / name)
        (tmp_path / "CURRENT").write_text(name)
    opened = Artifacts.open(tmp_path / V1)

    assert store.prune(1) == [V2]
    opened.close()
    assert store.prune(1) == [V1]


def test_a_refused_version_is_kept_apart_in_place_of_the_one_before(tmp_path: Path):
    store = Store(tmp_path)
    publish(store, "v1")
    for name in ("v2", "v3"):
        with store.writing(), store.staging(name) as staged:
            (staged / MANIFEST).write_text("{}")
            store.refuse(staged)

    assert [path.name for path in (tmp_path / "refused").iterdir()] == ["v3"]
    assert store.versions() == ["v1"]
    assert store.current().name == "v1"
