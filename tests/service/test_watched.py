"""Files that change while the service runs: what they said last stands until they say something better."""

import os
from pathlib import Path

import pytest

from service.blocklist import BadBlocklist, read_blocklist
from service.watched import Watched


class Bad(Exception):
    pass


def read(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError as error:
        raise Bad("it is not there") from error
    if text.startswith("bad"):
        raise Bad(f"it is {text}")
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def watched(path: Path) -> Watched[str]:
    """A file that says `one`, and was read."""
    path.write_text("one")
    found = Watched(path, read, Bad)
    assert found.look()
    return found


def replace(path: Path, text: str) -> None:
    """Put *text* there as `keys create`, an editor or a volume of Kubernetes would: by a rename."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def test_a_file_that_did_not_change_is_not_read_again(path: Path):
    reads = []
    watched = Watched(path, lambda path: reads.append(path) or read(path), Bad)
    path.write_text("one")

    assert [watched.look() for _ in range(3)] == [True, False, False]
    assert len(reads) == 1


def test_what_a_file_says_by_now_is_taken_up(path: Path, watched: Watched[str]):
    replace(path, "two")

    assert watched.look()
    assert (watched.content, watched.refusal) == ("two", None)


def test_a_file_of_equal_length_that_is_put_in_its_place_is_another_one(path: Path, watched: Watched[str]):
    before = path.stat()
    replace(path, "two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert watched.look()
    assert watched.content == "two"


def test_a_file_that_is_rewritten_with_its_old_time_is_noticed_too(path: Path, watched: Watched[str]):
    """
    As `rsync --times --inplace` leaves it; and so is a change of rights, which is how an unreadable file is mended:
    neither changes the time of its content.
    """
    before = path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert watched.look()
    assert watched.content == "two"


@pytest.mark.parametrize("text", ["bad", None])
def test_a_file_that_cannot_be_read_changes_nothing_and_says_why(text: str | None, path: Path, watched: Watched[str]):
    path.unlink() if text is None else replace(path, text)

    assert watched.look()
    assert watched.content == "one"
    assert watched.refusal is not None
    assert [watched.look() for _ in range(3)] == [False] * 3  # said once


def test_a_file_that_comes_back_as_it_was_is_in_force_again(path: Path, watched: Watched[str]):
    replace(path, "bad")
    watched.look()
    replace(path, "one")

    assert watched.look()
    assert (watched.content, watched.refusal) == ("one", None)


def test_another_fault_is_said_too(path: Path, watched: Watched[str]):
    replace(path, "bad")
    watched.look()
    replace(path, "bad again")

    assert watched.look()
    assert watched.refusal == "it is bad again"


def test_a_link_that_is_turned_to_another_file_is_followed(tmp_path: Path, path: Path):
    """As a volume of Kubernetes is renewed."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    path.symlink_to("one")
    watched = Watched(path, read, Bad)
    watched.look()
    (tmp_path / "link").symlink_to("two")
    (tmp_path / "link").replace(path)

    assert watched.look()
    assert watched.content == "two"


def test_a_file_that_is_being_written_is_read_once_it_is_whole(path: Path):
    """What is read while somebody writes may be half of it, and half a blocklist lets through what is blocked."""
    path.write_text("one\n")
    writing = ["two\n"]

    def read_meanwhile(path: Path) -> str:
        text = path.read_text()
        for line in writing:
            with path.open("a") as file:
                file.write(line)
        writing.clear()
        return text

    watched = Watched(path, read_meanwhile, Bad)
    assert not watched.look()
    assert watched.content is None
    assert watched.look()
    assert watched.content == "one\ntwo\n"


def test_a_file_that_was_never_readable_has_no_content(path: Path):
    watched = Watched(path, read, Bad)

    assert watched.look()
    assert (watched.content, watched.refusal) == (None, "it is not there")
    path.write_text("one")
    assert watched.look()
    assert watched.content == "one"


# The blocklist


def blocklist(path: Path, content: bytes) -> frozenset[str]:
    path.write_bytes(content)
    return read_blocklist(path)


def test_a_blocklist_is_one_id_a_line_and_comments(path: Path):
    content = "\ufeff# takedowns\nspotify:track:a\r\n\n  spotify:artist:b \n#hashtag\nid with space\nspotify:track:a"

    assert blocklist(path, content.encode()) == {"spotify:track:a", "spotify:artist:b", "#hashtag", "id with space"}


def test_an_empty_blocklist_blocks_nothing(path: Path):
    assert blocklist(path, b"") == frozenset()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"a\n\xff\n", "not UTF-8 at byte 2"), (b"a\0b\n", "NUL"), (None, "cannot be read")]
)
def test_a_blocklist_that_is_no_text_is_refused_whole(content: bytes | None, reason: str, path: Path):
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadBlocklist, match=reason):
        read_blocklist(path)


def test_a_blocklist_without_end_is_not_read(path: Path):
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(BadBlocklist, match="at most"):
        read_blocklist(path)
