"""The blocklist: a file of ids that must never be returned."""

from pathlib import Path

MAX_BYTES = 1 << 28


class BadBlocklist(Exception):
    """The blocklist cannot be read. The message gives the fault and the remedy."""


def read_blocklist(path: Path) -> frozenset[str]:
    """
    Read the ids of tracks and artists in the UTF-8 file *path*, one a line.

    Surrounding space, empty lines and lines that begin with `# ` are ignored.

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
    lines = (line.strip() for line in text.split("\n"))
    return frozenset(line for line in lines if line and not line.startswith("# "))
