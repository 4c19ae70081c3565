"""Opening a version: its arrays are mapped, and a changed file is refused."""

from pathlib import Path

import numpy as np
import pytest

from service.engine import Artifacts, CorruptModel, Manifest, NoModel
from tests.service.engine.conftest import IRREGULAR


def test_arrays_are_mapped_not_read(version: Path):
    artifacts = Artifacts.open(version)

    tracks = artifacts.candidates["tracks"]
    for array in (artifacts.vectors, *tracks.ranking.parts, tracks.ranking.codes.values, tracks.popular):
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
        assert not array.flags.writeable
    artifacts.close()


def test_any_file_with_one_flipped_bit_is_refused(version: Path):
    for path in sorted(version.iterdir()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
        with pytest.raises(CorruptModel):
            Artifacts.open(version)
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    Artifacts.open(version).close()


def test_any_file_that_is_missing_or_cut_short_is_refused(version: Path):
    for path in sorted(version.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(CorruptModel, match=path.name):
            Artifacts.open(version)
        path.unlink()
        with pytest.raises(CorruptModel, match=path.name):
            Artifacts.open(version)
        path.write_bytes(content)


@pytest.mark.parametrize("kind", IRREGULAR)
def test_a_directory_a_pipe_and_a_device_are_refused_in_place_of_any_file(kind: str, version: Path):
    for path in sorted(version.iterdir()):
        original = path.rename(version.with_name("original"))
        IRREGULAR[kind](path)
        with pytest.raises(CorruptModel, match=rf"{path.name} cannot be used: it is a {kind}, not a regular file"):
            Artifacts.open(version)
        (path.rmdir if path.is_dir() else path.unlink)()
        original.rename(path)
    Artifacts.open(version).close()


def test_a_version_that_is_a_regular_file_is_called_that(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(CorruptModel, match=r"manifest\.json cannot be read: Not a directory; correct the path"):
        Manifest.read(tmp_path / "file")


def test_a_directory_that_does_not_exist_is_no_model(tmp_path: Path):
    with pytest.raises(NoModel):
        Artifacts.open(tmp_path / "nothing")
