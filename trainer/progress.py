"""Progress on standard error: a bar on a terminal, a line every few seconds anywhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

from tqdm import tqdm

BAR = "{desc:<11} {percentage:3.0f}%|{bar:28}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
LINE = "{desc:<11} {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}]\n"


class _Bar(tqdm):  # type: ignore[type-arg]  # generic for type checkers alone
    def __del__(self) -> None:
        # A signal that arrives while a bar is being made leaves half of one, which tqdm complains of.
        with suppress(AttributeError):
            super().__del__()


# tqdm's own lock is shared with forked processes: one that is killed while it writes would hold it for ever.
_Bar.set_lock(RLock())


def progress(total: float, what: str, unit: str = "", in_bytes: bool = False) -> "tqdm[Any]":
    """
    A progress display for *total* steps of *what*, to be used as a context manager and told of steps by `update`.

    Logs keep whole lines only, so where nobody watches a terminal each report ends in one.
    """
    terminal = sys.stderr.isatty()
    return _Bar(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=in_bytes or total >= 100_000,
        file=sys.stderr,
        mininterval=0.1 if terminal else 5,
        bar_format=BAR if terminal else LINE,
        dynamic_ncols=terminal,
        disable=bool(_silenced),
    )


def say(what: str) -> None:
    """Print one line about a step."""
    if not _silenced:
        print(what, file=sys.stderr, flush=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Show nothing of the steps within, of which there are many and each the same."""
    _silenced.append(True)
    try:
        yield
    finally:
        _silenced.pop()


_silenced: list[bool] = []
