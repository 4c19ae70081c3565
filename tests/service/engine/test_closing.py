"""A closed version releases its files and refuses questions."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.engine import Artifacts, CorruptModel, Manifest, ModelClosed, Options, Playlist, Recommender
from service.engine.lease import in_use
from service.engine.neighbours import NeighbourIndex

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to look at")


@pytest.fixture
def directory(write_world: Callable[..., Path], tmp_path: Path) -> Path:
    """A version that a test may damage."""
    return Path(shutil.copytree(write_world(300, 40), tmp_path / "version"))


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Files must be released at once, without the garbage collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held(directory: Path) -> list[str]:
    """The mappings and descriptors of this process in *directory*, one a line."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            lines.append(f"descriptor of {descriptor.readlink()}")
        except FileNotFoundError:  # the one that lists them
            continue
    return [line for line in lines if str(directory) in line]


def ask_everything(opened: Recommender) -> None:
    opened.recommend([Playlist(["t:1"], title="jazz"), Playlist()], Options(10))
    opened.recommend([Playlist(["t:1"])], Options(10, "artists"))
    opened.similar("tracks", ["t:1"], 10)
    opened.similar("artists", ["a:1"], 10)
    opened.search("tracks", "song", 10)
    opened.search("artists", "band", 10)
    opened.popular("tracks", 10)
    opened.popular("artists", 10)


def test_an_open_version_is_mapped_and_leased(directory: Path):
    """A check of `held`: the tests below rely on it to find mappings."""
    opened = Recommender.open(directory)
    ask_everything(opened)

    lines = "\n".join(held(directory))
    for name in ("vectors.npy", "tracks_ranking.npy", "tracks.ann", "artists.ann", "catalogue.sqlite", "manifest.json"):
        assert name in lines
    assert in_use(directory)
    opened.close()


def test_thirty_versions_that_were_opened_asked_and_closed_leave_nothing_behind(directory: Path):
    for _ in range(30):
        opened = Recommender.open(directory, threads=1)
        opened.block(["t:5", "a:5"])
        opened.warm()
        ask_everything(opened)
        audit = opened.neighbour_audit("tracks", ["t:1"], 10)
        audit()
        del audit
        opened.close()

        assert held(directory) == []  # though `opened` is still here
    assert not in_use(directory)


def test_an_audit_that_was_not_made_yet_is_all_that_keeps_vectors_mapped(directory: Path):
    opened = Recommender.open(directory)
    audit = opened.neighbour_audit("tracks", ["t:1"], 10)
    opened.close()

    assert {line.rpartition("/")[2] for line in held(directory)} == {"vectors.npy"}
    with pytest.raises(ModelClosed):
        audit()
    del audit
    assert held(directory) == []


def refuse(directory: Path) -> None:
    with pytest.raises(CorruptModel):
        Recommender.open(directory)


def test_versions_that_are_refused_leave_nothing_behind(directory: Path):
    manifest = Manifest.read(directory)
    for name in (*manifest.files, "manifest.json"):
        path = directory / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 4]))
        refuse(directory)
        assert held(directory) == []
        path.write_bytes(content)
    assert not in_use(directory)


def test_versions_that_lack_a_file_unknown_to_their_manifest_leave_nothing_behind(directory: Path):
    """So that the file is missed after all others were verified and some were opened."""
    manifest = Manifest.read(directory)
    for name in manifest.files:
        content = (directory / name).read_bytes()
        others = {file: described for file, described in manifest.files.items() if file != name}
        replace(manifest, files=others).write(directory)
        (directory / name).unlink()
        refuse(directory)
        assert held(directory) == []
        (directory / name).write_bytes(content)
    assert not in_use(directory)


def test_the_lease_ends_when_a_version_is_closed_or_refused(directory: Path):
    artifacts = Artifacts.open(directory)
    assert in_use(directory)
    artifacts.close()
    assert not in_use(directory)

    (directory / "gram.npy").write_bytes(b"")
    with pytest.raises(CorruptModel) as refused:
        Recommender.open(directory)
    assert not in_use(directory), refused  # whose traceback holds what was being opened


def test_a_closed_recommender_refuses_every_question(directory: Path):
    opened = Recommender.open(directory)
    version = opened.manifest.version
    opened.close()

    questions: dict[str, Callable[[], object]] = {
        "recommend": lambda: opened.recommend([Playlist(["t:1"])], Options(10)),
        "recommend by popularity": lambda: opened.recommend([Playlist()], Options(10)),
        "recommend_artists": lambda: opened.recommend([Playlist()], Options(10, "artists")),
        "similar_tracks": lambda: opened.similar("tracks", ["t:1"], 10),
        "similar_artists": lambda: opened.similar("artists", ["a:1"], 10),
        "search": lambda: opened.search("tracks", "song", 10),
        "search_artists": lambda: opened.search("artists", "band", 10),
        "popular": lambda: opened.popular("tracks", 10),
        "popular_artists": lambda: opened.popular("artists", 10),
        "unknown": lambda: opened.unknown([Playlist(["t:1"])]),
        "fold_in": lambda: opened.fold_in([Playlist(["t:1"])]),
        "block": lambda: opened.block(["t:1"]),
        "warm": opened.warm,
        "neighbour_audit": lambda: opened.neighbour_audit("tracks", ["t:1"], 10),
        "artifacts": lambda: opened.artifacts,
    }
    for name, ask in questions.items():
        with pytest.raises(ModelClosed, match=version):
            pytest.fail(f"{name}: {ask()}")
    assert opened.manifest.version == version


def test_closing_twice_closes_nothing_else(directory: Path):
    """The next file that is opened gets the number of a closed descriptor."""
    opened, artifacts = Recommender.open(directory), Artifacts.open(directory)
    opened.close()
    artifacts.close()
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]

    opened.close()
    artifacts.close()

    for other in others:
        os.close(other)  # OSError if it had been closed


def test_a_closed_index_is_refused_rather_than_empty(directory: Path):
    index = NeighbourIndex(directory / "tracks.ann", 8)
    index.close()
    index.close()

    with pytest.raises(ModelClosed):
        index.search(Artifacts.open(directory).vectors[0], 5, 100)
