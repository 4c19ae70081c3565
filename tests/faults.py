"""
Killed at any moment, told to stop at any moment, out of disk at any file: a retrain loses nothing.

No part of `make test`, as it takes minutes; the disk that is full needs the right to mount one.

    python -m pytest -s tests/faults.py

Runs are children forked from this process, which has imported the trainer and computed nothing with it: the threads of
OpenMP do not outlive a fork. So whatever computes, even the looking into a store, is done in a child.
"""

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path

import pytest

from service.engine import Manifest, Options, Playlist, Recommender, Store
from trainer import pipeline
from trainer.cli import main
from trainer.synthetic.playlists import synthesize
from trainer.timing import Stopwatch

# Little is asked of the indexes, so that writing is writing and not mostly their calibration.
TINY = ["--factors", "8", "--iterations", "2", "--trees", "4", "--neighbour-recall", "0.1", "--ranker-playlists", "0"]
FORCE = "--force"  # the gate has too few playlists here to judge by
# Each round is one command, killed several times in each of its steps. What a round publishes in the end is what the
# next begins from: nothing at first; then a version that has seen nothing held out, which is begun from; then a
# refitted one, which is not.
RANKED = ["--ranker-playlists", "150"]
ROUNDS = (["--no-holdout"], [], ["--refit"], ["--cold", "--refit", *RANKED], [])
KILLS_PER_STEP = 2
LONG_STEPS = {"writing": 4, "refit writing": 4, "report": 3, "publishing": 3}
LEAST_KILLS = 100
# What a process asks of the file system in order to change something there.
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # of a fork beside BLAS's idle threads

Tell = Callable[[str], None]


@dataclass
class Child:
    """A forked process that tells its steps by a pipe, and what it says by a file."""

    pid: int
    told: int
    said: Path
    steps: list[tuple[str, float]] = field(default_factory=list)

    def reach(self, step: str, occurrence: int = 1) -> bool:
        """Wait until it enters *step*; False where it ends without."""
        while [name for name, _ in self.steps].count(step) < occurrence:
            if not self._read():
                return False
        return True

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code once it has ended, negative where a signal ended it."""
        while self._read():
            pass
        os.close(self.told)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def errors(self) -> list[str]:
        return [line for line in self.said.read_text().splitlines() if line.startswith("error: ")]

    def _read(self) -> bool:
        found = os.read(self.told, 1 << 16)
        self.steps += [(step, time.monotonic()) for step in found.decode().splitlines()]
        return bool(found)


def fork(work: Callable[[Tell], int | None], said: Path) -> Child:
    """Start *work* in a child, which ends with what it returns."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        return Child(pid, told, said)
    code = 1
    try:
        os.close(told)
        log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Of a descriptor, and open for as long as the child lives: neither a path nor a block fits.
        sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115, PTH123
        code = work(lambda step: (os.write(tell, f"{step}\n".encode()), None)[1]) or 0
    except SystemExit as left:
        code = int(left.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def tell_steps(tell: Tell) -> None:
    """Have the trainer tell each step that it enters. For a child alone, as nothing is put back."""
    step, refit, part = Stopwatch.step, pipeline._refit, []

    def told_step(self: Stopwatch, name: str):
        tell(" ".join([*part, name]))
        return step(self, name)

    def told_refit(*arguments) -> None:
        part.append("refit")
        refit(*arguments)
        part.clear()

    def told(owner: object, name: str, entering: str | None, leaving: str) -> None:
        call = getattr(owner, name)

        def teller(*arguments, **options):
            if entering:
                tell(entering)
            result = call(*arguments, **options)
            tell(leaving)
            return result

        setattr(owner, name, teller)

    Stopwatch.step, pipeline._refit = told_step, told_refit
    told(Store, "publish", None, "published")  # within the step of publishing
    told(Store, "rollback", "rollback", "rolled back")
    told(Store, "prune", "prune", "pruned")


@dataclass(frozen=True)
class World:
    """Data, a store for what is trained on them, and room for what children say."""

    data: Path
    store: Store
    said: Path

    def train(self, *options: str, before: Callable[[Tell], None] = lambda tell: None) -> Child:
        return self.run("train", str(self.data), *TINY, FORCE, *options, before=before)

    def run(self, *arguments: str, before: Callable[[Tell], None] = lambda tell: None) -> Child:
        """Start a command, and *before* in the same child."""

        def work(tell: Tell) -> int:
            tell_steps(tell)
            before(tell)
            return main([*arguments, "--models", str(self.store.root)])

        return fork(work, self.said)

    def succeed(self, *arguments: str) -> Child:
        """Run a command to its end; returns how it went."""
        child = self.train(*arguments[1:]) if arguments[0] == "train" else self.run(*arguments)
        assert child.wait() == 0, self.said.read_text()
        return child

    def pointer(self) -> str | None:
        """The name of the current version; None where there is none."""
        return self.store.current().name if (self.store.root / "CURRENT").exists() else None

    def leftovers(self) -> list[str]:
        return [path.name for path in self.store.root.glob(".staging-*")]

    def check(self) -> None:
        """Verify every version, open the current one as the service does, and ask it."""
        child = fork(lambda tell: look_into(self.store), self.said.with_name("check"))
        assert child.wait() == 0, child.said.read_text()


def look_into(store: Store) -> None:
    for version in store.versions():
        directory = store.version(version)
        manifest = Manifest.read(directory)
        assert manifest.version == version
        assert {path.name for path in directory.iterdir()} == {*manifest.files, "manifest.json"}
        manifest.verify(directory)
    if (store.root / "CURRENT").exists():
        recommender = Recommender.open(store.current())
        asked = [Playlist(title="jazz"), Playlist(), Playlist([recommender.popular("tracks", 1)[0].id])]
        assert [len(answer.found) for answer in recommender.recommend(asked, Options(50))] == [50, 50, 50]
        recommender.close()
    else:
        assert store.versions() == [] or len(store.versions()) == 1  # the first of all, not pointed at yet


def world(tmp_path: Path, models: Path) -> World:
    synthesize(tmp_path / "world", 300, seed=1)
    return World(tmp_path / "world", Store(models), tmp_path / "said")


@pytest.fixture
def planted(tmp_path: Path) -> World:
    """A small world and an empty store."""
    return world(tmp_path, tmp_path / "models")


@dataclass
class Tally:
    """How often runs were killed in which step, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def add(self, world: World, step: str, before: str | None) -> None:
        self.kills[step] += 1
        self.new[step] += world.pointer() != before
        self.left[step] += bool(world.leftovers())

    def __str__(self) -> str:
        lines = [f"{'step':<16}{'kills':>6}{'new is current':>16}{'something left':>16}"]
        lines += [f"{step:<16}{n:>6}{self.new[step]:>16}{self.left[step]:>16}" for step, n in self.kills.items()]
        return "\n".join([*lines, f"{'all':<16}{self.kills.total():>6}"])


def durations(steps: Sequence[tuple[str, float]]) -> dict[str, float]:
    """How long each step took, the last of which was left at its beginning."""
    return {name: after - entered for (name, entered), (_, after) in zip(steps, [*steps[1:], steps[-1]], strict=True)}


def assert_nothing_is_lost(world: World, versions: list[str], current: str | None) -> None:
    """After a kill: what was there is there, at most one version came, and that or the one before is current."""
    came = [version for version in world.store.versions() if version not in versions]
    assert set(versions) <= set(world.store.versions())
    assert len(came) <= 1
    assert world.pointer() in {current, *came}
    world.check()


def assert_the_next_run_publishes(world: World, *options: str) -> Child:
    """The lock is free, and nothing is left of the runs before."""
    child = world.succeed("train", *options)
    assert world.pointer() in child.said.read_text().split()
    assert world.pointer() == world.store.versions()[-1]
    assert world.leftovers() == []
    world.check()
    return child


def test_a_run_killed_in_any_step_loses_nothing(planted: World, capsys: pytest.CaptureFixture[str]):
    chance, tally = random.Random(0), Tally()
    usual = durations(measure(planted).steps)
    started = time.monotonic()
    for options in ROUNDS:
        steps = [step for step in usual if step_is_of(step, options)]
        # Each as it begins, and at random moments of it, which on a slow machine may be those of the next.
        moments = [(step, chance.random() if n else 0) for step in steps for n in range(kills_of(step))]
        for step, share in chance.sample(moments, len(moments)):
            versions, current = planted.store.versions(), planted.pointer()
            if share:
                child = planted.train(*options)
                assert child.reach(step), planted.said.read_text()
                time.sleep(share * usual[step])  # waits for nothing: any moment of the step is a test
                child.kill()
            else:
                child = planted.train(*options, before=end_with(step))
            if child.wait() == -signal.SIGKILL:
                tally.add(planted, child.steps[-1][0], current)
            assert_nothing_is_lost(planted, versions, current)
        assert_the_next_run_publishes(planted, *options)
        planted.succeed("models", "prune", "--keep", "2")
    with capsys.disabled():
        print(f"\n{tally}\nin {time.monotonic() - started:.0f} s")
    assert tally.kills.total() >= LEAST_KILLS
    # A run that is over before it is killed in its last moment is no kill.
    assert all(tally.kills[step] >= 2 for step in usual), tally


def kills_of(step: str) -> int:
    return LONG_STEPS.get(step, KILLS_PER_STEP)


def measure(world: World) -> Child:
    """An unkilled run of all steps, into a store of its own."""
    return World(world.data, Store(world.said.with_name("measured")), world.said).succeed("train", "--refit", *RANKED)


def step_is_of(step: str, options: Sequence[str]) -> bool:
    if "--no-holdout" in options and step in ("evaluating", "baselines"):
        return False
    if step == "ranker":
        return RANKED[0] in options
    return "--refit" in options or not step.startswith("refit")


def end_with(step: str) -> Callable[[Tell], None]:
    """Have a child kill itself as it enters *step*."""

    def arm(tell: Tell) -> None:
        original = os.write

        def write(descriptor: int, what: bytes) -> int:
            written = original(descriptor, what)
            if what == f"{step}\n".encode():
                os.kill(os.getpid(), signal.SIGKILL)
            return written

        os.write = write

    return arm


def end_at(number: int, since: str, sent: signal.Signals, root: Path, events: set[str]) -> Callable[[Tell], None]:
    """
    Have a child signal itself just before the *number*-th of *events* that it does to the store once in step *since*.

    Python tells an audit hook of each before it is done.
    """

    def arm(tell: Tell) -> None:
        met: list[str] = []
        entered = [since == ""]
        original = os.write

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if not entered[0] or event not in events:
                return
            path = Path(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes | Path) else Path("/")
            if path.is_absolute() and not path.is_relative_to(root):  # what is removed within a directory is relative
                return
            met.append(event)
            if len(met) == number:
                tell(f"at {event}")
                os.kill(os.getpid(), sent)

        def write(descriptor: int, what: bytes) -> int:
            entered[0] = entered[0] or what == f"{since}\n".encode()
            return original(descriptor, what)

        os.write = write
        sys.addaudithook(hook)

    return arm


@pytest.mark.parametrize("command", ["rollback", "prune"])
def test_a_models_command_killed_before_any_change_to_the_store_loses_nothing(
    planted: World, command: str, capsys: pytest.CaptureFixture[str]
):
    for _ in range(3):
        planted.succeed("train", "--no-holdout")
    names, root = planted.store.versions(), planted.store.root
    *_, older, newest = names
    arguments = ["models", "rollback"] if command == "rollback" else ["models", "prune", "--keep", "1"]
    pristine = shutil.copytree(root, root.with_name("pristine"), copy_function=os.link)
    kills: Counter[str] = Counter()
    for number in range(1, 1000):
        shutil.rmtree(root)
        shutil.copytree(pristine, root, copy_function=os.link)
        child = planted.run(*arguments, before=end_at(number, command, signal.SIGKILL, root, CHANGES))
        ended = child.wait()
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, planted.said.read_text()
        kills[child.steps[-1][0].removeprefix("at ")] += 1
        assert planted.pointer() in ({older, newest} if command == "rollback" else {newest})
        assert set(planted.store.versions()) >= ({*names} if command == "rollback" else {newest})
        planted.check()
    with capsys.disabled():
        print(f"\n{command} killed before each of its changes: {kills.total()} kills, {dict(kills)}")
    assert kills["os.rename"] == (1 if command == "rollback" else 2)
    assert planted.pointer() == (older if command == "rollback" else newest)
    assert planted.store.versions() == (names if command == "rollback" else [newest])
    assert planted.leftovers() == []


@pytest.mark.parametrize("arguments", [["models", "rollback"], ["models", "prune", "--keep", "1"]])
def test_what_a_killed_models_command_left_is_cleared_by_the_next_run(planted: World, arguments: list[str]):
    for _ in range(2):
        planted.succeed("train", "--no-holdout")
    events = {"os.rename"} if arguments[1] == "rollback" else {"os.rmdir"}
    arm = end_at(1, arguments[1], signal.SIGKILL, planted.store.root, events)
    assert planted.run(*arguments, before=arm).wait() == -signal.SIGKILL
    assert len(planted.leftovers()) == 1

    planted.succeed("models", "prune", "--keep", "2")

    assert planted.leftovers() == []
    assert_the_next_run_publishes(planted, "--no-holdout")


def test_a_run_killed_before_or_after_any_rename_of_its_publishing_loses_nothing(
    planted: World, capsys: pytest.CaptureFixture[str]
):
    planted.succeed("train", "--no-holdout")
    files = len([*planted.store.current().iterdir()])
    # Each file and the directory is opened to be synchronised; those after these are the renames and the pointer.
    kills, new = [], 0
    for number in [*range(1, files, 7), *range(files, files + 20)]:
        versions, current = planted.store.versions(), planted.pointer()
        arm = end_at(number, "publishing", signal.SIGKILL, planted.store.root, CHANGES)
        child = planted.train("--no-holdout", before=arm)
        if child.wait() == 0:
            break
        kills.append(child.steps[-1][0].removeprefix("at "))
        new += planted.pointer() != current
        assert_nothing_is_lost(planted, versions, current)
    with capsys.disabled():
        print(f"\npublishing killed before each of its changes: {len(kills)} kills, {dict(Counter(kills))}, new: {new}")
    assert Counter(kills)["os.rename"] == 2
    assert new >= 1
    assert_the_next_run_publishes(planted, "--no-holdout")


def test_a_run_told_to_stop_between_any_two_changes_of_directories_leaves_nothing(planted: World):
    planted.succeed("train")
    events = {"os.mkdir", "os.rename"}
    for number in range(1, 20):
        versions, current = planted.store.versions(), planted.pointer()
        child = planted.train("--refit", before=end_at(number, "", signal.SIGTERM, planted.store.root, events))
        ended = child.wait()
        if ended == 0:
            break
        assert ended == 128 + signal.SIGTERM, planted.said.read_text()
        assert planted.leftovers() == [], child.steps
        assert_nothing_is_lost(planted, versions, current)
    assert number > 4  # the lock's and the staging directory's making, the refit's, and the two of publishing


def test_a_run_told_to_stop_at_any_moment_of_its_writing_leaves_nothing(planted: World):
    planted.succeed("train", "--no-holdout")
    usual = durations(measure(planted).steps)
    chance, versions, current = random.Random(1), planted.store.versions(), planted.pointer()
    for _ in range(30):
        child = planted.train("--no-holdout")
        assert child.reach("writing")
        # Waits for nothing: any moment is a test. Most of the step is the indexes, and the many files come first.
        time.sleep(chance.random() ** 3 * usual["writing"])
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait() == 128 + signal.SIGTERM, planted.said.read_text()
        assert planted.leftovers() == []
    assert_nothing_is_lost(planted, versions, current)


@dataclass(frozen=True)
class Disk:
    """A small disk of its own."""

    root: Path

    @property
    def filler(self) -> Path:
        return self.root / "filler"

    def leave(self, size: int) -> None:
        """Fill it up but for *size* bytes."""
        self.filler.unlink(missing_ok=True)
        found = os.statvfs(self.root)
        with self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_bsize - size)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 64 MiB, where this process may mount one."""
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", root], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a disk: {mounted.stderr.strip()}; run this below `unshare --map-root-user --mount`")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture
def stored(disk: Disk, tmp_path: Path) -> World:
    """A store on the disk, with one version in it."""
    made = world(tmp_path, disk.root / "models")
    made.succeed("train")
    return made


def pages(size: int) -> int:
    return math.ceil(size / 4096) * 4096


def room_until(version: Path, file: str, share: float) -> int:
    """What the files take that a run writes before *file*, and a *share* of it: with so much room, it fails there."""
    # The manifest is written first before the metrics, and again at the end.
    written = sorted(version.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    names = [path.name for path in written if path.name != "manifest.json"]
    names.insert(names.index("metrics.json"), "manifest.json")
    sizes = [pages((version / name).stat().st_size) for name in names]
    place = names.index(file)
    return sum(sizes[:place]) + int(share * sizes[place]) // 4096 * 4096


AT_ONCE = ("catalogue.sqlite", "tracks.ann", "artists.ann")  # written beside each other, and any may be the first


def assert_told_that_the_disk_is_full(world: World, child: Child, file: str) -> None:
    ended = child.wait()
    assert ended == 1, f"exit code {ended}: {child.said.read_text()}"
    (line,) = child.errors()
    print(line)
    assert any(f"{named} " in line for named in (AT_ONCE if file in AT_ONCE else [file]))
    assert os.strerror(ENOSPC) in line
    assert "Traceback" not in child.said.read_text()
    assert world.leftovers() == []


@pytest.mark.parametrize(
    ("file", "share", "options"),
    [
        ("trained.npy", 0, []),
        ("vectors.npy", 0, []),
        ("vectors.npy", 0.5, []),
        ("vectors.npy", 0.99, []),  # the last page alone is missing
        ("track_artists.npy", 0.5, []),
        ("catalogue.sqlite", 0, []),
        ("catalogue.sqlite", 0.5, []),
        ("tracks.ann", 0, []),
        ("tracks.ann", 0.5, []),
        ("artists.ann", 0.5, []),
        ("manifest.json", 0, []),
        ("metrics.json", 0, []),
        ("metrics.json", 0.5, []),
        ("report.html", 0.5, []),
        ("report.html", 0.999, []),
        ("catalogue.sqlite", 0.5, ["--refit"]),
        ("report.html", 0.9, ["--refit"]),  # the manifest, written once more, has grown by a page
    ],
)
def test_a_disk_that_is_full_is_said_and_nothing_is_lost(
    stored: World, disk: Disk, file: str, share: float, options: list[str]
):
    versions, current = stored.store.versions(), stored.pointer()
    room = room_until(stored.store.current(), file, share)
    if "--refit" in options and file != "report.html":  # by then a whole version lies there already
        room += room_until(stored.store.current(), "metrics.json", 0)
    disk.leave(room)

    assert_told_that_the_disk_is_full(stored, stored.train("--cold", *options), file)

    assert_nothing_is_lost(stored, versions, current)
    assert stored.store.versions() == versions
    disk.filler.unlink()
    assert_the_next_run_publishes(stored, *options)


def test_a_disk_that_is_full_for_the_pointer_alone_leaves_the_version_before_it_current(stored: World, disk: Disk):
    versions, current = stored.store.versions(), stored.pointer()

    def fill_before_pointing(tell: Tell) -> None:
        point_at = Store._point_at

        def point(self: Store, version: str) -> None:
            disk.leave(0)
            point_at(self, version)

        Store._point_at = point

    assert_told_that_the_disk_is_full(stored, stored.train(before=fill_before_pointing), "CURRENT")

    assert_nothing_is_lost(stored, versions, current)
    assert stored.pointer() == current
    disk.filler.unlink()
    assert_the_next_run_publishes(stored)


@contextmanager
def full(disk: Disk) -> Iterator[None]:
    disk.leave(0)
    yield
    disk.filler.unlink()


def test_rolling_back_on_a_full_disk_loses_nothing_and_pruning_makes_room(stored: World, disk: Disk):
    stored.succeed("train", "--no-holdout")
    _, newer = stored.store.versions()
    with full(disk):
        assert_told_that_the_disk_is_full(stored, stored.run("models", "rollback"), "CURRENT")
        assert stored.pointer() == newer
        assert stored.run("models", "prune", "--keep", "1").wait() == 0
        assert stored.store.versions() == [newer]
        assert_nothing_is_lost(stored, [newer], newer)
