"""The blocklist: a file of ids that must never be returned."""

import re
from pathlib import Path

from service.engine import bare_id
from service.files import check_kind, describe_trouble, read_file

MAX_BYTES = 1 << 28

# A blank follows the # of a comment: an id may begin with one, as `#1 Dads`. An id in quotes may hold anything.
COMMENT = re.compile(r"^#(?=\s|$).*|\s#\s.*")
QUOTED = re.compile(r'"[^"]*"(?=\s+#(?:\s|$)|$)')


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

    Blanks and quotes around an id are no part of it, as in tables. Empty lines and comments are ignored: a comment
    begins with # and a blank, at the beginning of a line or after a blank. An id in quotes may hold both.

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
    return frozenset(filter(None, map(_read_id, re.split("[\r\n]", text))))


def _read_id(line: str) -> str:
    """Return the id in *line*, '' if there is none."""
    line = line.strip()
    quoted = QUOTED.match(line)
    return bare_id(quoted[0] if quoted else COMMENT.sub("", line))


def _unusable(path: Path, error: ValueError) -> BadBlocklist:
    return BadBlocklist(f"the blocklist {path} cannot be used: {error}; name a text file of ids")
