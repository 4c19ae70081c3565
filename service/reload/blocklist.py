"""The blocklist: a file of ids that must never be returned."""

import re
from pathlib import Path

from service.engine import bare_id
from service.files import check_kind, describe_trouble, read_file

MAX_BYTES = 1 << 28

# From the first, or after a blank: an id may begin with # or hold one, as `#1 Dads`. In quotes, all of it is the id.
COMMENT = re.compile(r'^\s*#(?=\s|$).*|(?<=\s)#(?=\s)[^"]*$')


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
    begins with # and a blank, at the beginning of a line or after a blank.

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
    ids = (bare_id(COMMENT.sub("", line)) for line in text.split("\n"))
    return frozenset(id_ for id_ in ids if id_)


def _unusable(path: Path, error: ValueError) -> BadBlocklist:
    return BadBlocklist(f"the blocklist {path} cannot be used: {error}; name a text file of ids")
