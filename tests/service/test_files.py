"""Files that other people keep: regular ones are read, and every refusal gives the true reason."""

import errno
import os
import socket
from pathlib import Path

import pytest

from service.files import MOUNT, RIGHTS, describe_trouble, may_pass, printable, read_file


def test_a_regular_file_is_read_up_to_a_size(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"four")

    assert read_file(tmp_path / "file", 4) == b"four"
    with pytest.raises(ValueError, match="it has 4 bytes, more than the limit of 3"):
        read_file(tmp_path / "file", 3)


def test_a_directory_a_pipe_a_socket_and_a_device_are_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))

    kinds = {tmp_path: "directory", tmp_path / "pipe": "named pipe", tmp_path / "socket": "socket"}
    for path, kind in (kinds | {Path("/dev/null"): "device"}).items():
        with pytest.raises(ValueError, match=f"it is a {kind}, not a regular file"):
            read_file(path, 9)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ESTALE, MOUNT),
        (errno.EIO, MOUNT),
        (errno.ETIMEDOUT, MOUNT),
        (errno.EACCES, RIGHTS),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOMEM, "memory"),
        (errno.ENOENT, "mount the disk"),
    ],
)
def test_a_trouble_is_described_by_file_reason_and_remedy(number: int, remedy: str):
    for error in (OSError(number, os.strerror(number), "/m/file"), OSError(number, os.strerror(number))):
        text = describe_trouble(Path("/m/file"), error)
        assert text.startswith(f"/m/file cannot be read: {os.strerror(number)}; ")
        assert remedy in text


def test_a_path_that_is_not_utf_8_can_be_printed():
    path = Path(os.fsdecode(b"/m/\xff"))

    assert describe_trouble(path, FileNotFoundError(2, "No such file", str(path))).startswith("/m/\\udcff cannot")
    assert printable("Björk \U0001f600") == "Björk \U0001f600"


def test_only_an_error_that_the_system_caused_may_pass():
    unreadable = ValueError("unreadable")
    unreadable.__cause__ = OSError(errno.EIO, "Input/output error")

    assert may_pass(unreadable)
    assert not may_pass(ValueError("malformed"))
