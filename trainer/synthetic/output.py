"""Output that appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import BadInput


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """
    Yield a path to write to, which is renamed to *out* at the end, or removed after an error.

    Raises:
        BadInput: *out* exists already.
    """
    if out.exists():
        raise BadInput(f"cannot write {out}: it exists already. Remove it or choose another path.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    _remove(partial)
    try:
        yield partial
        partial.rename(out)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
