"""A manifest that is damaged, or beyond this release, is refused by name."""

import json
import threading
from collections import UserDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.engine import FORMAT_VERSION, Artifacts, CorruptModel, Manifest, Recommender, UnsupportedFormat
from service.engine.manifest import OLDEST_FORMAT, checksum


def rewrite(version: Path, **changes: object) -> None:
    """Change the manifest of *version* and its checksum with it."""
    content = json.loads((version / "manifest.json").read_text())
    content.pop("checksum")
    content |= changes
    (version / "manifest.json").write_text(json.dumps({**content, "checksum": checksum(content)}))


def test_a_manifest_is_read_as_it_was_written(version: Path):
    manifest = replace(Manifest.read(version), training={"note": [1, 2.5, None, "é"]})

    manifest.write(version)

    assert Manifest.read(version) == manifest


class Noted(UserDict[str, Any]):
    """The description of a file, which notes the threads that read it."""

    threads: set[int]

    def __getitem__(self, key: str) -> Any:
        self.threads.add(threading.get_ident())
        return super().__getitem__(key)


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_files_are_verified_by_no_more_threads_than_were_asked_for(version: Path, threads: int | None):
    manifest = Manifest.read(version)
    described = {name: Noted(file) for name, file in manifest.files.items()}
    Noted.threads = set()

    replace(manifest, files=described).verify(version, threads)

    readers = Noted.threads - {threading.get_ident()}  # this one sorts the files
    assert 1 <= len(readers) <= (threads or 1000)
    (version / "tracks.ann").write_bytes(b"")
    with pytest.raises(CorruptModel, match=r"tracks\.ann"):
        Recommender.open(version, threads)


def test_a_manifest_in_which_a_number_was_changed_is_refused(version: Path):
    text = (version / "manifest.json").read_text()
    (version / "manifest.json").write_text(text.replace('"beta": 0.2', '"beta": 0.3'))

    with pytest.raises(CorruptModel, match="its own checksum"):
        Artifacts.open(version)


def test_a_file_that_fits_its_checksum_but_not_its_manifest_is_refused(version: Path):
    rewrite(version, shape={**Manifest.read(version).content()["shape"], "tracks": 3})

    with pytest.raises(CorruptModel, match="shape"):
        Artifacts.open(version)


def test_a_shape_without_the_sizes_of_its_format_is_refused(version: Path):
    rewrite(version, shape={**Manifest.read(version).content()["shape"], "record_bytes": []})

    with pytest.raises(CorruptModel, match="does not hold what its manifest says"):
        Artifacts.open(version)


@pytest.mark.parametrize("number", [OLDEST_FORMAT - 1, FORMAT_VERSION + 1, 0, "2", None])
def test_another_format_is_refused_with_all_numbers_and_the_remedy(version: Path, number: Any):
    rewrite(version, format_version=number, something_new=True)

    reads = rf"format {number}; this release reads formats {OLDEST_FORMAT} to {FORMAT_VERSION}: .*train again"
    with pytest.raises(UnsupportedFormat, match=reads):
        Artifacts.open(version)


def test_a_part_that_is_not_known_is_refused_by_name(version: Path):
    rewrite(version, parts=["playlists", "lyrics", "moods"])

    with pytest.raises(UnsupportedFormat, match="lyrics, moods; use the release that wrote it"):
        Artifacts.open(version)


def test_a_version_without_parts_opens_whether_it_says_so_or_not(version: Path):
    rewrite(version, parts=[])
    Artifacts.open(version).close()
    content = json.loads((version / "manifest.json").read_text())
    for key in ("parts", "checksum"):
        content.pop(key)
    (version / "manifest.json").write_text(json.dumps({**content, "checksum": checksum(content)}))

    Artifacts.open(version).close()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"checksum": 1}', "\0"])
def test_a_manifest_that_is_none_is_refused(version: Path, text: str):
    (version / "manifest.json").write_text(text)

    with pytest.raises(CorruptModel, match=r"manifest\.json"):
        Artifacts.open(version)
