"""Output that is made in parts, and appears whole or not at all."""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from threading import Thread
from typing import TypeVar

from trainer.errors import BadInput

FEW = 8  # parts that take less time than starting processes

T = TypeVar("T")
Given = TypeVar("Given")


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """
    Yield a path to write to, which is renamed to *out* at the end, or removed after an error.

    Raises:
        BadInput: *out* exists already.
    """
    check_new(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    _remove(partial)
    try:
        yield partial
        check_new(out)  # it may have been made meanwhile
        partial.rename(out)
    finally:
        _remove(partial)


def check_new(out: Path) -> None:
    """Raise BadInput if *out* exists already."""
    if out.exists():
        raise BadInput(f"cannot write {out}: it exists already. Remove it or choose another path.")


def each_in_turn(make: Callable[[Given], T], given: Iterable[Given], n: int, few: int = FEW) -> Iterator[T]:
    """Yield ``make(each)`` for each of the *n* in *given*; if more than a *few*, processes make some that come next."""
    processes = os.cpu_count() or 1
    if n <= few or processes == 1:
        yield from map(make, given)
        return
    # A spawned process shares no locks with the threads of this one.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _follow_parent)
    try:
        rest = iter(given)
        coming = deque(pool.submit(make, each) for each in islice(rest, 2 * processes))
        while coming:
            yield coming.popleft().result()
            coming.extend(pool.submit(make, each) for each in islice(rest, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended, even by SIGKILL."""
    signal(SIGINT, SIG_IGN)
    Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
