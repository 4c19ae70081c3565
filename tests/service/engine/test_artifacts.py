"""Opening a version: its arrays are mapped, and a changed file is refused."""

from pathlib import Path

import numpy as np
import pytest

from service.engine import Artifacts, CorruptModel, NoModel


def test_arrays_are_mapped_not_read(version: Path):
    artifacts = Artifacts.open(version)

    tracks = artifacts.candidates["tracks"]
    for array in (artifacts.vectors, tracks.ranking.heads, tracks.ranking.tails, tracks.popular):
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


def test_a_directory_that_does_not_exist_is_no_model(tmp_path: Path):
    with pytest.raises(NoModel):
        Artifacts.open(tmp_path / "nothing")
