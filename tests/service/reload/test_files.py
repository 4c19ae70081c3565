"""Reloaded files: each change is noticed, and a faulty file leaves the previous content in use."""

import errno
import os
from pathlib import Path

import pytest

from service.reload.files import ReloadedFile


class Bad(Exception):
    pass


def read(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError as error:
        raise Bad("it is missing") from error
    if text.startswith("bad"):
        raise Bad(f"it is {text}")
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def file(path: Path) -> ReloadedFile[str]:
    """A file with the text `one` that was read once."""
    path.write_text("one")
    found = ReloadedFile(path, read, Bad)
    assert found.poll()
    return found


def replace(path: Path, text: str) -> None:
    """Replace the file by a rename, as `keys create`, editors and Kubernetes do."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def test_an_unchanged_file_is_not_read_again(path: Path):
    reads = []
    file = ReloadedFile(path, lambda path: reads.append(path) or read(path), Bad)
    path.write_text("one")

    assert [file.poll() for _ in range(3)] == [True, False, False]
    assert len(reads) == 1


def test_a_changed_file_is_read_again(path: Path, file: ReloadedFile[str]):
    replace(path, "two")

    assert file.poll()
    assert (file.content, file.refusal) == ("two", None)


def test_a_replacement_of_equal_length_and_time_is_noticed(path: Path, file: ReloadedFile[str]):
    before = path.stat()
    replace(path, "two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert file.poll()
    assert file.content == "two"


def test_a_rewrite_with_the_old_time_is_noticed(path: Path, file: ReloadedFile[str]):
    """`rsync --times --inplace` keeps the time, and so does a change of mode that makes a file readable."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # on some systems, its clock ticks only every few milliseconds
        path.write_text("two")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert file.poll()
    assert file.content == "two"


@pytest.mark.parametrize("text", ["bad", None])
def test_an_unreadable_file_changes_only_the_refusal(text: str | None, path: Path, file: ReloadedFile[str]):
    path.unlink() if text is None else replace(path, text)

    assert file.poll()
    assert file.content == "one"
    assert file.refusal is not None
    assert [file.poll() for _ in range(3)] == [False] * 3


@pytest.mark.parametrize("text", [None, "one"])
def test_a_file_that_the_system_does_not_give_is_read_at_each_poll_until_it_does(text: str | None, path: Path):
    """Its stamp need not change: a stale handle or a shortage of descriptors leaves no trace on the file."""
    errors = [OSError(errno.ESTALE, "Stale file handle")] * 3

    def read_if_possible(path: Path) -> str:
        if errors:
            raise Bad("it cannot be read") from errors.pop()
        return read(path)

    file = ReloadedFile(path, read if text is None else read_if_possible, Bad)
    if text is not None:
        path.write_text(text)
    assert [file.poll() for _ in range(3)] == [True, False, False]
    assert file.is_unsettled
    path.write_text("one")
    assert file.poll()
    assert (file.content, file.refusal, file.is_unsettled) == ("one", None, False)


def test_a_fault_of_the_content_is_settled_until_the_file_changes(path: Path, file: ReloadedFile[str]):
    replace(path, "bad")
    file.poll()

    assert not file.is_unsettled


def test_a_restored_file_is_in_use_again(path: Path, file: ReloadedFile[str]):
    replace(path, "bad")
    file.poll()
    replace(path, "one")

    assert file.poll()
    assert (file.content, file.refusal) == ("one", None)


def test_another_fault_changes_the_refusal(path: Path, file: ReloadedFile[str]):
    replace(path, "bad")
    file.poll()
    replace(path, "bad again")

    assert file.poll()
    assert file.refusal == "it is bad again"


def test_a_link_to_another_file_is_followed(tmp_path: Path, path: Path):
    """Kubernetes renews a volume in this way."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    path.symlink_to("one")
    file = ReloadedFile(path, read, Bad)
    file.poll()
    (tmp_path / "link").symlink_to("two")
    (tmp_path / "link").replace(path)

    assert file.poll()
    assert file.content == "two"


def test_a_file_that_changes_during_reading_is_read_again(path: Path):
    """Half of a blocklist would let blocked items through."""
    path.write_text("one\n")
    writing = ["two\n"]

    def read_meanwhile(path: Path) -> str:
        text = path.read_text()
        for line in writing:
            with path.open("a") as file:
                file.write(line)
        writing.clear()
        return text

    file = ReloadedFile(path, read_meanwhile, Bad)
    assert not file.poll()
    assert file.content is None
    assert file.poll()
    assert file.content == "one\ntwo\n"


def test_a_missing_file_has_no_content_until_it_is_created(path: Path):
    file = ReloadedFile(path, read, Bad)

    assert file.poll()
    assert (file.content, file.refusal) == (None, "it is missing")
    path.write_text("one")
    assert file.poll()
    assert file.content == "one"
