"""The blocklist: a file of ids that must never be returned."""

from pathlib import Path

from service.files import check_kind, describe_trouble, read_file

MAX_BYTES = 1 << 28


class BadBlocklist(Exception):
    """The blocklist cannot be read. The message gives the fault and the remedy."""


def check_blocklist(path: Path) -> None:
    """
    Check, without reading it, that the blocklist *path* is a file.

    Raises:
        BadBlocklist: it is a directory, a named pipe or a device. An error of the system, which may pass, is ignored.
    """
    try:
        check_kind(path)
    except OSError:
        return
    except ValueError as error:
        raise _unusable(path, error) from None


def read_blocklist(path: Path) -> frozenset[str]:
    """
    Read the ids of tracks and artists in the UTF-8 file *path*, one a line.

    Surrounding space, empty lines and lines that begin with `# ` are ignored.

    Raises:
        BadBlocklist: the file cannot be read, is not text or is too large. An error of the system is its cause.
    """
    try:
        text = read_file(path, MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise BadBlocklist(f"the blocklist {describe_trouble(path, error)}") from error
    except UnicodeDecodeError as error:
        raise BadBlocklist(f"the blocklist {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except ValueError as error:
        raise _unusable(path, error) from None
    if "\0" in text:
        raise BadBlocklist(f"the blocklist {path} is not text: it contains NUL; write one id a line")
    lines = (line.strip() for line in text.split("\n"))
    return frozenset(line for line in lines if line and not line.startswith("# "))


def _unusable(path: Path, error: ValueError) -> BadBlocklist:
    return BadBlocklist(f"the blocklist {path} cannot be used: {error}; name a text file of ids")
