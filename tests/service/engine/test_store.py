"""A store keeps versions side by side, one of them current, even if a process is killed."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EFBIG
from pathlib import Path

import pytest

from service.engine import Artifacts, NoModel, Store, StoreBusy, new_version
from service.engine.manifest import MANIFEST


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


def test_names_of_versions_sort_by_time_and_differ():
    names = [new_version() for _ in range(50)]

    assert len(set(names)) == 50
    assert [name[:19] for name in names] == sorted(name[:19] for name in names)


def test_a_version_that_is_open_is_not_pruned(models: Path, tmp_path: Path):
    store = Store(tmp_path)
    for name in ("v1", "v2", "v3"):
        shutil.copytree(Store(models).current(), tmp_path / name)
        (tmp_path / "CURRENT").write_text(name)
    opened = Artifacts.open(tmp_path / "v1")

    assert store.prune(1) == ["v2"]
    opened.close()
    assert store.prune(1) == ["v1"]


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
