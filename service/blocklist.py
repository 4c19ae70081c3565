"""The file of what must never be returned: takedowns."""

from pathlib import Path

MOST_BYTES = 1 << 28


class BadBlocklist(Exception):
    """The blocklist cannot be read; the message says why and what to do."""


def read_blocklist(path: Path) -> frozenset[str]:
    """
    The ids of tracks and artists in the UTF-8 file *path*, one a line.

    Space around them, empty lines, and lines that begin with `# ` are passed over.

    Raises:
        BadBlocklist: it cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadBlocklist(f"the blocklist {path} has {size:,} bytes, and at most {MOST_BYTES:,} are read")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadBlocklist(
            f"the blocklist {path} cannot be read: {error.strerror}; put a readable file there"
        ) from error
    except UnicodeDecodeError as error:
        raise BadBlocklist(f"the blocklist {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    if "\0" in text:
        raise BadBlocklist(f"the blocklist {path} is no text, it has NUL in it; give one id a line")
    lines = (line.strip() for line in text.split("\n"))
    return frozenset(line for line in lines if line and not line.startswith("# "))
