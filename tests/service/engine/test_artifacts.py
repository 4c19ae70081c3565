"""One version as files: what is written is what is opened, and what was changed is refused."""

import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from service.engine import Artifacts, CorruptModel, Manifest, NoModel, Recommender, Store, UnsupportedFormat, artifacts
from service.engine.artifacts import FORMAT_VERSION, _checksum


@pytest.fixture
def version(models: Path, tmp_path: Path) -> Path:
    """A copy of a published version that a test may damage."""
    return Path(shutil.copytree(Store(models).current(), tmp_path / "version"))


def rewrite(version: Path, **changes: object) -> None:
    content = json.loads((version / "manifest.json").read_text())
    content.pop("checksum")
    content |= changes
    (version / "manifest.json").write_text(json.dumps({**content, "checksum": _checksum(content)}))


def test_an_untouched_version_opens(version: Path):
    Recommender.open(version).close()


def test_the_manifest_describes_every_other_file(version: Path):
    described = Manifest.read(version).files

    assert set(described) == {path.name for path in version.iterdir()} - {"manifest.json"}
    assert {"vectors.npy", "tracks.ann", "artists.ann", "catalogue.sqlite", "metrics.json"} <= set(described)


def test_every_number_that_changes_an_answer_is_in_the_manifest(version: Path):
    numbers = Manifest.read(version).numbers

    assert {"factors", "alpha", "regularization", "beta", "artist_weight", "title_weight", "gram_weight"} <= set(
        numbers
    )
    assert {"iterations", "seed", "trees", "tracks_effort", "artists_effort"} <= set(numbers)


def test_tracks_are_written_by_falling_norm_then_popularity_then_id(version: Path):
    artifacts = Artifacts.open(version)
    found = artifacts.catalogue.tracks(range(artifacts.space.n_tracks))
    tracks = [found[row] for row in range(artifacts.space.n_tracks)]
    candidates = artifacts.candidates["tracks"]
    keys = [
        (-norm, -track.popularity, track.id)
        for norm, track in zip(candidates.ranking.norms.tolist(), tracks, strict=True)
    ]

    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    popular = [(-tracks[row].popularity, tracks[row].id) for row in candidates.popular]
    assert popular == sorted(popular)
    assert (candidates.popular_ranks[candidates.popular] == np.arange(len(tracks))).all()
    artifacts.close()


def test_ranking_vectors_add_a_share_of_the_artist(version: Path):
    artifacts = Artifacts.open(version)
    tracks = artifacts.candidates["tracks"]
    ranking = np.hstack((tracks.ranking.heads, tracks.ranking.tails))
    n_tracks, beta = artifacts.space.n_tracks, artifacts.manifest.numbers["beta"]
    expected = artifacts.vectors[:n_tracks] + beta * artifacts.vectors[n_tracks + artifacts.space.track_artists]

    np.testing.assert_allclose(ranking, expected, atol=1e-5)
    artifacts.close()


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


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_files_are_verified_by_as_many_threads_as_were_asked_for(
    version: Path, monkeypatch: pytest.MonkeyPatch, threads: int | None
):
    verified_by = set()
    verify = artifacts._verify_file

    def note(path: Path, expected: Mapping[str, object]) -> None:
        verified_by.add(threading.get_ident())
        verify(path, expected)

    monkeypatch.setattr(artifacts, "_verify_file", note)
    Recommender.open(version, threads).close()

    assert 1 <= len(verified_by) <= (threads or 1000)
    (version / "tracks.ann").write_bytes(b"")
    with pytest.raises(CorruptModel, match=r"tracks\.ann"):
        Recommender.open(version, threads)


def test_a_manifest_in_which_a_number_was_changed_is_refused(version: Path):
    text = (version / "manifest.json").read_text()
    (version / "manifest.json").write_text(text.replace('"beta": 0.2', '"beta": 0.3'))

    with pytest.raises(CorruptModel, match="its own checksum"):
        Artifacts.open(version)


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


def test_a_file_that_fits_its_checksum_but_not_its_manifest_is_refused(version: Path):
    rewrite(version, shape={**Manifest.read(version).content()["shape"], "tracks": 3})

    with pytest.raises(CorruptModel, match="shape"):
        Artifacts.open(version)


def test_another_format_is_refused_with_what_to_do(version: Path):
    rewrite(version, format_version=FORMAT_VERSION + 1, something_new=True)

    with pytest.raises(UnsupportedFormat, match=rf"format {FORMAT_VERSION + 1}.*reads format {FORMAT_VERSION}"):
        Artifacts.open(version)


def test_a_directory_that_does_not_exist_is_no_model(tmp_path: Path):
    with pytest.raises(NoModel):
        Artifacts.open(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"checksum": 1}', "\0"])
def test_a_manifest_that_is_none_is_refused(version: Path, text: str):
    (version / "manifest.json").write_text(text)

    with pytest.raises(CorruptModel, match=r"manifest\.json"):
        Artifacts.open(version)
