"""Faults during a retrain: one clear line, and the published version stays. `tests/faults.py` has the kills."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EFBIG, EISDIR
from pathlib import Path

import pytest

from service.engine import Manifest, Recommender, Store
from service.engine.manifest import FORMAT_VERSION, checksum
from trainer.cli import main

ROOT = Path(__file__).parents[2]
OLDER = Path(__file__).parents[1] / "golden" / "v1" / "model" / "manifest.json"
TINY = ["--factors", "4", "--iterations", "2", "--trees", "4", "--no-baselines", "--ranker-playlists", "0"]
NOBODY = 65534
LEAVES_WITHIN_S = 2


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that are trained on at once: 60 playlists of 90 tracks."""
    path = tmp_path_factory.mktemp("few") / "mpd.slice.0-59.json"
    playlists = [
        {
            "pid": pid,
            "name": ("jazz", "rock", "folk")[pid % 3],
            "tracks": [
                {
                    "track_uri": f"t:{track}",
                    "track_name": f"T{track}",
                    "artist_uri": f"a:{track % 9}",
                    "artist_name": "A",
                }
                for track in range(pid % 3 * 30, pid % 3 * 30 + 30)
                if (track + pid) % 4
            ],
        }
        for pid in range(60)
    ]
    path.write_text(json.dumps({"playlists": playlists}))
    return path


@pytest.fixture(scope="session")
def trained(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two published versions, for `store` to copy."""
    store = tmp_path_factory.mktemp("trained") / "models"
    for _ in range(2):
        assert train(few, store, "--no-holdout") == 0
    return store


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Store:
    """A store with two published versions that a test may damage."""
    return Store(Path(shutil.copytree(trained, tmp_path / "models")))


def train(data: Path, models: Path, *options: str) -> int:
    return main(["train", str(data), "--models", str(models), *TINY, *options])


def models(command: str, store: Store, *arguments: str) -> int:
    return main(["models", command, *arguments, "--models", str(store.root)])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which a command told why it failed."""
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    return line


def content(store: Store) -> dict[str, bytes]:
    """Every file of the store: what is lost or changed shows."""
    return {
        str(path.relative_to(store.root)): path.read_bytes() for path in sorted(store.root.rglob("*")) if path.is_file()
    }


def still_serves(store: Store) -> bool:
    recommender = Recommender.open(store.current())
    try:
        return len(recommender.popular("tracks", 5)) == 5
    finally:
        recommender.close()


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """A write that takes a file beyond *size* bytes fails, as it would on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("size", "options", "file", "reason"),
    [
        (300, ["--no-holdout"], "trained.npy", os.strerror(EFBIG)),
        (1000, ["--no-holdout"], "vectors.npy", os.strerror(EFBIG)),
        (50_000, ["--no-holdout"], "catalogue.sqlite", "SQLite could not write it"),  # it keeps the reason to itself
        (1_000_000, [], "report.html", os.strerror(EFBIG)),
    ],
)
def test_a_file_that_cannot_be_written_is_named_with_the_reason_and_nothing_is_lost(
    few: Path, store: Store, capsys: pytest.CaptureFixture[str], size: int, options: list[str], file: str, reason: str
):
    before = content(store)

    with no_file_above(size):
        assert train(few, store.root, *options) == 1

    said = error(capsys)
    assert f"/{file} " in said
    assert reason in said
    assert content(store) == before
    assert still_serves(store)


def rewritten(few: Path, to: Path, kind: str, write: Callable[[str], str], n_playlists: int = 60) -> Path:
    """The same data, with the ids of *kind* written otherwise."""
    playlists = json.loads(few.read_text())["playlists"][:n_playlists]
    for playlist in playlists:
        for track in playlist["tracks"]:
            track[f"{kind}_uri"] = write(track[f"{kind}_uri"])
    to.write_text(json.dumps({"playlists": playlists}))
    return to


@pytest.mark.parametrize(
    ("kind", "write", "example"),
    [
        ("track", lambda id_: id_.removeprefix("t:"), "'t:"),  # bare ids in place of URIs
        ("track", lambda id_: f"{id_}.0", ".0'"),
        ("track", str.upper, "'T:"),
        ("artist", lambda id_: f"https://example.org/{id_}", "'https://example.org/a:"),
    ],
)
@pytest.mark.parametrize(("options", "n_playlists"), [(["--no-holdout"], 60), ([], 60), ([], 30)])
def test_a_version_without_the_ids_of_the_published_one_is_not_published_unless_forced(
    few: Path,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    write: Callable[[str], str],
    example: str,
    options: list[str],
    n_playlists: int,
):
    before, data = store.current(), rewritten(few, tmp_path / "s.json", kind, write, n_playlists)

    assert train(data, store.root, *options) == 3

    said = capsys.readouterr().err.splitlines()[-1]
    assert f"most popular {kind}s of the published one" in said
    assert example in said
    assert "--force" in said
    assert store.current() == before


def test_a_version_with_other_ids_can_be_forced(few: Path, store: Store, tmp_path: Path):
    data = rewritten(few, tmp_path / "s.json", "track", str.upper)

    assert train(data, store.root, "--no-holdout", "--force") == 0
    assert Manifest.read(store.current()).training["forced"]


def test_ids_that_only_become_more_are_published(few: Path, store: Store, tmp_path: Path):
    more = rewritten(few, tmp_path / "more.json", "track", lambda id_: f"new {id_}")

    assert main(["train", str(few), str(more), "--models", str(store.root), "--no-holdout", *TINY]) == 0


def test_a_pointer_that_cannot_be_written_leaves_the_version_before_it_current(
    few: Path, store: Store, capsys: pytest.CaptureFixture[str]
):
    before = store.current()
    with running(few, store.root, "--no-holdout") as process:
        wait_until_said(process, "fitting")
        process.send_signal(signal.SIGSTOP)
        (store.root / ".staging-CURRENT").mkdir()  # in the way of the new pointer
        process.send_signal(signal.SIGCONT)
        said = process.communicate()[1]

    assert process.returncode == 1
    assert f"CURRENT cannot be used: {os.strerror(EISDIR)}" in said
    assert store.current() == before
    assert still_serves(store)
    assert not list(store.root.glob(".staging-*"))


@pytest.fixture
def entered_by_all() -> Iterator[Path]:
    """A directory that another user can reach: those of pytest are open to their owner alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def denied(path: Path, mode: int) -> Iterator[None]:
    """*path* has *mode*, and this process heeds it: where it runs as root, it is another user meanwhile."""
    before, root = path.stat().st_mode, os.geteuid() == 0
    path.chmod(mode)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(before)


def test_a_store_that_cannot_be_written_to_is_named_and_stays_as_it_is(
    few: Path, store: Store, entered_by_all: Path, capsys: pytest.CaptureFixture[str]
):
    readable = Path(shutil.copy(few, entered_by_all))
    store = Store(Path(shutil.copytree(store.root, entered_by_all / "models")))
    before = content(store)

    for models_, named in ((store.root, str(store.root)), (store.root / "new", str(store.root / "new"))):
        with denied(store.root, 0o555):
            assert train(readable, models_) == 1
        said = error(capsys)
        assert named in said
        assert "Permission denied" in said
    assert content(store) == before
    assert still_serves(store)


@pytest.mark.parametrize("of", ["file", "directory"])
def test_data_that_cannot_be_read_are_named_and_nothing_is_lost(
    few: Path, store: Store, entered_by_all: Path, capsys: pytest.CaptureFixture[str], of: str
):
    (entered_by_all / "data").mkdir()
    data = Path(shutil.copy(few, entered_by_all / "data"))
    shutil.copytree(store.root, entered_by_all / "models")
    store = Store(entered_by_all / "models")
    for path in (store.root, *store.root.rglob("*")):
        path.chmod(0o777)
    before = content(store)

    with denied(data if of == "file" else data.parent, 0):
        assert train(data, store.root) == 1

    said = error(capsys)
    assert str(data) in said
    assert "Permission denied" in said
    assert content(store) == before
    assert still_serves(store)


@pytest.mark.parametrize("redirection", [">&- 2>/dev/full", "<&- >/dev/full 2>&-", "2>&1 | true"])
def test_a_run_that_nobody_listens_to_publishes(few: Path, tmp_path: Path, redirection: str):
    command = [sys.executable, "-m", "trainer", "train", few, "--models", tmp_path / "models", "--no-holdout", *TINY]
    shell = ["bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash", *map(str, command)]

    assert subprocess.run(shell, cwd=ROOT, check=False).returncode == 0
    assert still_serves(Store(tmp_path / "models"))


@contextmanager
def running(data: Path, models: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A retrain in a process of its own."""
    command = [sys.executable, "-m", "trainer", "train", str(data), "--models", str(models), *TINY, *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process
    finally:
        process.kill()  # of no effect where it has ended
        process.wait()
        process.stdout.close()
        process.stderr.close()


def wait_until_said(process: subprocess.Popen[str], what: str) -> None:
    assert process.stderr is not None
    assert any(line.startswith(what) for line in process.stderr), f"never said {what!r}"


def test_of_two_retrains_at_once_the_second_leaves_and_the_first_publishes(
    few: Path, store: Store, capsys: pytest.CaptureFixture[str]
):
    before = store.versions()
    with running(few, store.root, "--no-holdout") as first:
        wait_until_said(first, "fitting")
        first.send_signal(signal.SIGSTOP)  # so that it is surely there still while the second runs
        assert train(few, store.root, "--no-holdout") == 1
        assert "another run is writing to" in error(capsys)
        first.send_signal(signal.SIGCONT)
        published, _ = first.communicate()

    assert first.returncode == 0
    assert store.versions() == [*before, published.strip()]
    assert store.current().name == published.strip()


def test_a_rollback_during_a_run_is_not_undone_by_it(few: Path, store: Store):
    first, _ = store.versions()
    with running(few, store.root, "--no-holdout") as process:
        wait_until_said(process, "fitting")
        process.send_signal(signal.SIGSTOP)
        assert models("rollback", store) == 0
        process.send_signal(signal.SIGCONT)
        said = process.communicate()[1]

    assert process.returncode == 3
    assert "was changed from" in said.splitlines()[-1]
    assert store.current().name == first


@pytest.mark.parametrize(
    ("sent", "during", "options"),
    [
        (signal.SIGINT, "fitting", ["--cold", "--iterations", "999", "--factors", "64"]),
        (signal.SIGTERM, "writing", ["--trees", "1000"]),
    ],
)
def test_a_retrain_that_is_told_to_stop_leaves_at_once_and_what_was_published_stays(
    world: Path, store: Store, sent: signal.Signals, during: str, options: list[str]
):
    before = content(store)
    with running(world, store.root, *options) as process:
        wait_until_said(process, during)
        process.send_signal(sent)
        process.wait(LEAVES_WITHIN_S)
        said = process.communicate()[1]

    assert process.returncode == 128 + sent
    assert "Traceback" not in said
    assert content(store) == before
    assert not list(store.root.glob(".staging-*"))
    assert still_serves(store)


def rewrite(version: Path, **changes: object) -> None:
    """Change the manifest of *version* and its checksum with it."""
    manifest = json.loads((version / "manifest.json").read_text())
    manifest.pop("checksum")
    manifest |= changes
    (version / "manifest.json").write_text(json.dumps({**manifest, "checksum": checksum(manifest)}))


def make_older(store: Store) -> None:
    """The current version becomes one that an older release wrote."""
    shutil.copy(OLDER, store.current() / "manifest.json")


def make_newer(store: Store) -> None:
    """The current version becomes one that a newer release wrote."""
    rewrite(store.current(), format_version=FORMAT_VERSION + 1, something_new=True)


def damage_array(store: Store) -> None:
    path = store.current() / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def damage_manifest(store: Store) -> None:
    (store.current() / "manifest.json").write_text("{")


UNUSABLE = [
    (make_older, r"has format 1; .*use the release that wrote it, or train again"),
    (make_newer, rf"has format {FORMAT_VERSION + 1}; .*use the release that wrote it, or train again"),
    (damage_array, r"vectors\.npy differs from its manifest.*train or publish again"),
    (damage_manifest, r"manifest\.json is not a readable manifest.*train or publish again"),
]


@pytest.mark.parametrize(("spoil", "said"), UNUSABLE)
def test_a_current_version_that_cannot_be_opened_is_neither_begun_from_nor_rolled_back_to(
    few: Path, store: Store, capsys: pytest.CaptureFixture[str], spoil: Callable[[Store], None], said: str
):
    spoil(store)
    spoiled, before = store.current().name, store.versions()

    assert train(few, store.root) == 0

    told = capsys.readouterr()
    published = told.out.strip()
    assert "cold start without a comparison" in told.err
    assert re.search(said, told.err)
    assert store.versions() == [*before, published]
    assert store.current().name == published
    manifest = Manifest.read(store.current())
    assert manifest.training["warm_start"] is None
    assert manifest.training["gate"]["against"] is None
    for named in ([spoiled], []):
        assert models("rollback", store, *named) == 1
        assert re.search(said, error(capsys))
        assert store.current().name == published
    assert still_serves(store)


@pytest.mark.parametrize("name", ["vectors.npy", "manifest.json", "catalogue.sqlite"])
def test_while_the_current_version_cannot_be_read_no_other_is_published(
    few: Path, store: Store, capsys: pytest.CaptureFixture[str], name: str
):
    current = store.current()
    (current / name).rename(current / f"{name}.kept")
    (current / name).symlink_to(current / name)  # opening it fails, also for root

    assert train(few, store.root) == 1
    assert f"{name} cannot be read: Too many levels of symbolic links" in error(capsys)

    (current / f"{name}.kept").replace(current / name)
    assert store.current() == current
    assert train(few, store.root) == 0
    assert "without a comparison" not in capsys.readouterr().err


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in UNUSABLE])
def test_from_a_current_version_that_cannot_be_opened_one_can_roll_back(
    store: Store, capsys: pytest.CaptureFixture[str], spoil: Callable[[Store], None]
):
    spoil(store)
    first, _ = store.versions()

    assert models("rollback", store) == 0

    assert capsys.readouterr().out.strip() == store.current().name == first
    assert still_serves(store)


def test_a_current_version_that_is_gone_is_said_and_the_next_run_publishes(
    few: Path, store: Store, capsys: pytest.CaptureFixture[str]
):
    gone = store.current()
    shutil.rmtree(gone)

    assert train(few, store.root) == 0

    told = capsys.readouterr()
    assert gone.name in told.err
    assert store.current().name == told.out.strip()
    assert models("rollback", store, gone.name) == 1
    assert f"holds no version '{gone.name}'" in error(capsys)
    assert still_serves(store)


def test_a_version_without_rights_is_listed_with_the_reason_and_stops_no_other_command(
    store: Store, entered_by_all: Path, capsys: pytest.CaptureFixture[str]
):
    store = Store(Path(shutil.copytree(store.root, entered_by_all / "models")))
    for path in (store.root, *store.root.rglob("*")):
        path.chmod(0o777)
    first, second = store.versions()

    with denied(store.root / first, 0):
        assert models("list", store) == 0
        assert models("prune", store, "--keep", "1") == 0
    listed, _, pruned = capsys.readouterr().out.partition("nothing to remove")
    assert re.search(f"{first} .*Permission denied", listed)
    assert pruned == "\n"
    assert store.versions() == [first, second]


def test_versions_are_listed_though_none_is_current(store: Store, capsys: pytest.CaptureFixture[str]):
    store.pointer.unlink()

    assert models("list", store) == 0

    told = capsys.readouterr()
    assert all(version in told.out for version in store.versions())
    assert "*" not in told.out
    assert "models rollback VERSION" in told.err


def test_a_version_of_a_clock_that_was_ahead_is_listed_as_that(store: Store, capsys: pytest.CaptureFixture[str]):
    rewrite(store.current(), created_at="2999-01-01T00:00:00+00:00")

    assert models("list", store) == 0

    assert "2999-01-01T00:00, ahead of the clock" in capsys.readouterr().out


def test_data_in_a_path_that_is_not_utf_8_are_trained_on(few: Path, tmp_path: Path):
    data = Path(shutil.copy(few, tmp_path / os.fsdecode(b"caf\xe9.json")))

    assert train(data, tmp_path / "models", "--no-holdout") == 0
    assert Manifest.read(Store(tmp_path / "models").current()).training["inputs"] == [str(data)]


def test_versions_are_listed_beside_one_that_cannot_be_read(store: Store, capsys: pytest.CaptureFixture[str]):
    make_older(store)

    assert models("list", store) == 0

    listed = capsys.readouterr().out
    assert all(version in listed for version in store.versions())
