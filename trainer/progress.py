"""Progress on standard error: a bar on a terminal, a line every few seconds otherwise."""

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
        # A signal during construction leaves an incomplete bar, which tqdm cannot delete.
        with suppress(AttributeError):
            super().__del__()


# tqdm's default lock is shared with forked processes, and a killed process would never release it.
_Bar.set_lock(RLock())


def progress(total: float, what: str, unit: str = "", in_bytes: bool = False) -> "tqdm[Any]":
    """
    Return a progress display for *total* steps of *what*: a context manager whose `update` counts steps.

    Without a terminal each report is a line of its own, as logs need whole lines.
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
    """Show no progress of the enclosed code, which repeats the same steps many times."""
    _silenced.append(True)
    try:
        yield
    finally:
        _silenced.pop()


_silenced: list[bool] = []
