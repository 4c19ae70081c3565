"""The blocklist: a file of ids that must never be returned."""

import re
from pathlib import Path

from service.engine import bare_id

MAX_BYTES = 1 << 28

# From the first, or after a blank: an id may begin with # or hold one, as `#1 Dads`. In quotes, all of it is the id.
COMMENT = re.compile(r'^\s*#(?=\s|$).*|(?<=\s)#(?=\s)[^"]*$')


class BadBlocklist(Exception):
    """The blocklist cannot be read. The message gives the fault and the remedy."""


def read_blocklist(path: Path) -> frozenset[str]:
    """
    Read the ids of tracks and artists in the UTF-8 file *path*, one a line.

    Blanks and quotes around an id are no part of it, as in tables. Empty lines and comments are ignored: a comment
    begins with # and a blank, at the beginning of a line or after a blank.

    Raises:
        BadBlocklist: the file cannot be read, is not text or is too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadBlocklist(f"the blocklist {path} has {size:,} bytes, more than the limit of {MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadBlocklist(
            f"the blocklist {path} cannot be read: {error.strerror}; put a readable file there"
        ) from error
    except UnicodeDecodeError as error:
        raise BadBlocklist(f"the blocklist {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    if "\0" in text:
        raise BadBlocklist(f"the blocklist {path} is not text: it contains NUL; write one id a line")
    ids = (bare_id(COMMENT.sub("", line)) for line in text.split("\n"))
    return frozenset(id_ for id_ in ids if id_)
