"""The runtime directory: in memory if possible, and removed even after a service was killed."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from service.server.runtime import IN_MEMORY, runtime_directory


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Restore the environment, which names the directory to the workers."""
    with patch.dict(os.environ):
        yield


@pytest.mark.skipif(not os.access(IN_MEMORY, os.W_OK), reason="no writable directory in memory")
def test_the_directory_is_in_memory():
    with runtime_directory(None) as runtime:
        assert runtime.parent == IN_MEMORY
        assert os.environ["SEGUE_RUNTIME"] == str(runtime)
        assert Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).is_dir()
    assert not runtime.exists()


def test_the_directory_is_a_temporary_one_if_memory_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with runtime_directory(None) as runtime:
        assert runtime.parent == tmp_path
    assert not runtime.exists()


def test_directories_of_killed_services_are_removed_and_others_are_kept(tmp_path: Path):
    """A directory without a lock may be of a release that did not lock it, or of something else."""
    abandoned, other = tmp_path / "segue-abandoned", tmp_path / "segue-other"
    for directory in (abandoned, other):
        directory.mkdir()
    (abandoned / "lock").touch()
    with runtime_directory(tmp_path) as first, runtime_directory(tmp_path) as second:
        assert set(tmp_path.iterdir()) == {first, second, other}
    assert set(tmp_path.iterdir()) == {other}
