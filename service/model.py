"""The one recommender that a process serves: opened, replaced by what is published after it, and lent to requests."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.board import Board
from service.engine import Manifest, ModelError, NoModel, Recommender, Store
from service.memory import give_back
from service.metrics import RELOADS

log = logging.getLogger("segue")

NICENESS = 10
LONGEST_REST_S = 60.0
Made = TypeVar("Made")


@dataclass
class _Loan:
    """An open version, and how many hold it."""

    recommender: Recommender
    borrowers: int = 0
    retired: bool = False

    def close_when_free(self) -> None:
        if self.retired and not self.borrowers:
            self.recommender.close()
            # Whoever lent it last has an answer to send first.
            asyncio.get_running_loop().call_soon(give_back)


@dataclass(frozen=True)
class _Fault:
    """What nobody thought of, how often it came in a row, and until when it is let rest."""

    text: str = ""
    stamp: tuple[object, ...] | None = None
    times: int = 0
    until_s: float = 0.0

    def again(self, text: str, stamp: tuple[object, ...]) -> "_Fault":
        """The same once more, or another one."""
        rest_s = min(2.0 ** (self.times - 1), LONGEST_REST_S) if self.times else 0.0
        return _Fault(text, stamp, self.times + 1, time.monotonic() + rest_s)

    def rests(self, stamp: tuple[object, ...]) -> bool:
        """Whether what has *stamp* is not to be tried now."""
        return stamp == self.stamp and time.monotonic() < self.until_s


class ServedModel:
    """
    Serves the current version of a store, whichever that is by now.

    A version that is published, or rolled back to, is verified and opened beside the one that serves, warmed, and
    swapped in; requests in progress end on the version that they began with, and the last of them closes it. One that
    cannot be opened is refused and not read again until it changes, and the old one serves on. So the service can also
    be started before the first model is published, and answers while a large one is being verified.

    Attributes:
        refusal: why what is current now is not what is served, if so.
    """

    def __init__(self, models: Path, board: Board):
        self._store, self._board = Store(models), board
        self._loan: _Loan | None = None
        self._seen: tuple[object, ...] | None = None
        self._blocked: frozenset[str] = frozenset()
        self._fault = _Fault()
        self.refusal: str | None = "the model is being opened"

    @property
    def manifest(self) -> Manifest | None:
        """That of the served version, if there is one."""
        return None if self._loan is None else self._loan.recommender.manifest

    @contextlib.contextmanager
    def lend(self) -> Iterator[Recommender]:
        """
        The recommender that answers; it stays open as long as it is held.

        Raises:
            NoModel: none is open; the message says why.
        """
        loan = self._loan
        if loan is None:
            raise NoModel(str(self.refusal))
        loan.borrowers += 1
        try:
            yield loan.recommender
        finally:
            loan.borrowers -= 1
            loan.close_when_free()

    async def block(self, ids: frozenset[str]) -> None:
        """Never return what has one of *ids*, by this version and those to come."""
        self._blocked = ids
        if self._loan is not None:
            with self.lend() as recommender:
                n_rows = await asyncio.to_thread(recommender.block, ids)
            log.info("%d ids are blocked, %d tracks and artists of this version", len(ids), n_rows)

    async def look(self, *, again: bool = False) -> None:
        """
        Take up what was published, or rolled back to, since the last look.

        Args:
            again: read a version that was refused once more, though nothing about it changed.
        """
        stamp = await asyncio.to_thread(self._store.stamp)
        if self._fault.rests(stamp) and not again:
            return
        if stamp != self._seen or not stamp or (again and self.refusal):
            await self._open(stamp)

    def close(self) -> None:
        """Close what is open, once nobody holds it."""
        if self._loan is not None:
            self._retire(self._loan)
            self._loan = None

    async def _open(self, stamp: tuple[object, ...]) -> None:
        try:
            # While one serves, the next is opened by a single thread that gives way to it.
            recommender = await (asyncio.to_thread(self._next) if self._loan is None else gently(self._next))
        except ModelError as error:
            self._seen = stamp  # to verify a large model again and again would keep the machine busy
            await self._fall_back()
            self._refuse(str(error))
        except Exception as error:  # whatever it was may pass: it is tried again, after longer and longer rests
            if repr(error) != self._fault.text:
                log.exception("the model could not be opened")
            self._fault = self._fault.again(repr(error), stamp)
            self._refuse("the model could not be opened; the log of the service has the reason")
        else:
            self._seen, self._fault = stamp, _Fault()
            self._swap(recommender)
            self.refusal = None

    async def _fall_back(self) -> None:
        """Where none is open: serve what the others serve, as this worker may replace one of them."""
        version = self._board.last_served()
        if self._loan is None and version is not None:
            with contextlib.suppress(ModelError):
                self._swap(await asyncio.to_thread(self._open_version, version))

    def _next(self) -> Recommender:
        return self._open_version(None)

    def _open_version(self, name: str | None) -> Recommender:
        opened = Recommender.open(self._store.version(name), threads=None if self._loan is None else 1)
        try:
            opened.block(self._blocked)
            opened.warm()
        except BaseException:
            opened.close()
            raise
        return opened

    def _swap(self, recommender: Recommender) -> None:
        before, self._loan = self._loan, _Loan(recommender)
        self._board.note_served(recommender.manifest.version)
        RELOADS.labels("served").inc()
        log.info("serving version %s", recommender.manifest.version)
        if before is not None:
            self._retire(before)
            return
        # What is loaded by now stays; the collector need not walk it again and again while requests are answered.
        gc.collect()
        gc.freeze()

    def _retire(self, loan: _Loan) -> None:
        loan.retired = True
        loan.close_when_free()

    def _refuse(self, reason: str) -> None:
        if reason == self.refusal:
            return
        self.refusal = reason
        if self._loan is None:
            log.warning("not ready: %s", reason)
        else:
            RELOADS.labels("refused").inc()
            log.error("version %s serves on: %s", self._loan.recommender.manifest.version, reason)


async def gently(make: Callable[[], Made]) -> Made:
    """Run *make* in a thread that gives way to the one that answers requests."""

    def begin() -> None:
        if sys.platform == "linux":  # where a thread has a niceness of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

    # A thread of its own each time: a niceness cannot be taken back without rights.
    pool = ThreadPoolExecutor(1, initializer=begin)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, make)
    finally:
        pool.shutdown(wait=False)
