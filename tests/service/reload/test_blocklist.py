"""The blocklist file: its format and its faults."""

import os
from pathlib import Path

import pytest

from service.files import may_pass
from service.reload.blocklist import BadBlocklist, check_blocklist, read_blocklist


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blocklist"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", set()),
        ("\ufeff# takedowns\nspotify:track:a\r\n\n  spotify:artist:b \n", {"spotify:track:a", "spotify:artist:b"}),
        ("#hashtag\nid with space\nid\nid", {"#hashtag", "id with space", "id"}),
        ("t1  # takedown 5\nArtist 3\t# x\nC#\n#1 Dads # y\n#\n # z", {"t1", "Artist 3", "C#", "#1 Dads"}),
        (
            '"t1"\n "Artist 3" \n" t2 "\n"a # b"\n"c" # d\n"Weird Al" Yankovic\n"\n""',
            {
                "t1",
                "Artist 3",
                "t2",
                "a # b",
                "c",
                '"Weird Al" Yankovic',
                '"',
                '""',
            },
        ),
        (
            'Bad Artist - Bad Song # removed by "Legal"\nt1 # a "b" # c\n"c" # see "d"',
            {"Bad Artist - Bad Song", "t1", "c"},
        ),
        ('"a # b" # "c"\n"d" #\n#1 Dads # "x"\n# "y"', {"a # b", "d", "#1 Dads"}),
        (
            '"Weird Al" Yankovic # he\n"Weird Al" Yankovic - "Eat It" # it\nA - #\n',
            {'"Weird Al" Yankovic', '"Weird Al" Yankovic - "Eat It"', "A - #"},
        ),
        ("t1 # x\rt2\r\nt3 # y\r", {"t1", "t2", "t3"}),
        ("\xa0t1\u3000\r\r\n", {"t1"}),
    ],
)
def test_a_blocklist_has_one_id_a_line_and_comments(text: str, ids: set[str], path: Path):
    path.write_bytes(text.encode())

    assert read_blocklist(path) == ids


@pytest.mark.parametrize(
    ("content", "reason"), [(b"a\n\xff\n", "not UTF-8 at byte 2"), (b"a\0b\n", "NUL"), (None, "cannot be read")]
)
def test_a_blocklist_that_is_not_text_is_refused(content: bytes | None, reason: str, path: Path):
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadBlocklist, match=reason):
        read_blocklist(path)


def test_a_directory_and_a_pipe_are_refused_as_blocklist_without_waiting(tmp_path: Path, path: Path):
    os.mkfifo(path)
    for refused, kind in ((path, "named pipe"), (tmp_path, "directory"), (Path("/dev/null"), "device")):
        for refuse in (check_blocklist, read_blocklist):
            with pytest.raises(BadBlocklist, match=f"it is a {kind}, not a regular file"):
                refuse(refused)


def test_a_blocklist_that_the_system_does_not_give_may_be_readable_later(path: Path):
    path.symlink_to(path)
    check_blocklist(path)

    with pytest.raises(BadBlocklist, match="Too many levels of symbolic links") as refused:
        read_blocklist(path)
    assert may_pass(refused.value)


def test_a_blocklist_beyond_the_maximum_size_is_not_read(path: Path):
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(BadBlocklist, match="1,099,511,627,776 bytes, more than the limit"):
        read_blocklist(path)
