"""The served model: opened, replaced when a version is published, and lent to requests."""

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

from service.engine import Manifest, ModelError, NoModel, Recommender, Store
from service.files import may_pass, printable
from service.memory import trim_memory
from service.telemetry.metrics import RELOADS
from service.telemetry.status import StatusDirectory

log = logging.getLogger("segue")

NICENESS = 10
MAX_BACKOFF_S = 5.0
Made = TypeVar("Made")
Opener = Callable[[Path, int | None], Recommender]


@dataclass
class _Loan:
    """An open version and its number of borrowers."""

    recommender: Recommender
    borrowers: int = 0
    retired: bool = False

    def close_when_free(self) -> None:
        if self.retired and not self.borrowers:
            self.recommender.close()
            # Later: the last borrower still has an answer to send.
            asyncio.get_running_loop().call_soon(trim_memory)


@dataclass(frozen=True)
class _Backoff:
    """The backoff after errors that may pass: message, state of the store, consecutive count, time of the next try."""

    text: str = ""
    stamp: tuple[object, ...] | None = None
    n_errors: int = 0
    until_s: float = 0.0

    def after(self, text: str, stamp: tuple[object, ...]) -> "_Backoff":
        """Return the backoff after one more error."""
        rest_s = min(2.0 ** (self.n_errors - 1), MAX_BACKOFF_S) if self.n_errors else 0.0
        return _Backoff(text, stamp, self.n_errors + 1, time.monotonic() + rest_s)

    def applies_to(self, stamp: tuple[object, ...]) -> bool:
        """Return True if the store in the state *stamp* is not to be tried now."""
        return stamp == self.stamp and time.monotonic() < self.until_s


class ServedModel:
    """
    The current version of a store, opened, and replaced when the store has another one.

    A version that is published, or rolled back to, is verified and opened beside the served one, warmed, and swapped
    in. Requests in progress end on the version that they began with, and the last of them closes it. A damaged version
    is refused and not read again until it changes; after an error of the system, which may pass, it is read again at
    growing intervals. The old version stays in use. The service can start before the first model is published, and
    answers while a large one is verified.

    Attributes:
        refusal: why the current version of the store is not served; None if it is.
    """

    def __init__(self, models: Path, statuses: StatusDirectory, open_version: Opener = Recommender.open):
        self._store, self._statuses, self._open_version = Store(models), statuses, open_version
        self._loan: _Loan | None = None
        self._seen: tuple[object, ...] | None = None
        self._blocked: frozenset[str] | None = None
        self._backoff = _Backoff()
        self.refusal: str | None = "the model is being opened"

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the served version; None before the first."""
        return None if self._loan is None else self._loan.recommender.manifest

    @property
    def is_unsettled(self) -> bool:
        """True if another poll may open a version although the store has not changed."""
        return not self._seen

    def check(self) -> _Loan:
        """
        Return the loan of the open version.

        Raises:
            NoModel: no version is open; the message gives the reason.
        """
        if self._loan is None:
            raise NoModel(str(self.refusal))
        return self._loan

    @contextlib.contextmanager
    def lend(self) -> Iterator[Recommender]:
        """
        Lend the served recommender. It stays open until the block ends.

        Raises:
            NoModel: no version is open; the message gives the reason.
        """
        loan = self.check()
        loan.borrowers += 1
        try:
            yield loan.recommender
        finally:
            loan.borrowers -= 1
            loan.close_when_free()

    async def block(self, ids: frozenset[str]) -> None:
        """Exclude the items with *ids* from all answers, in this version and later ones."""
        self._blocked = ids
        if self._loan is not None:
            with self.lend() as recommender:
                await asyncio.to_thread(_block, recommender, ids)

    async def poll(self, *, again: bool = False) -> None:
        """
        Open the current version of the store if it has changed.

        Args:
            again: also read a version that was refused, although it has not changed.
        """
        stamp = await asyncio.to_thread(self._store.stamp)
        if self._backoff.applies_to(stamp) and not again:
            return
        if stamp != self._seen or not stamp or (again and self.refusal):
            await self._open(stamp)

    def close(self) -> None:
        """Close the open version when its last borrower returns it."""
        if self._loan is not None:
            self._retire(self._loan)
            self._loan = None

    async def _open(self, stamp: tuple[object, ...]) -> None:
        try:
            # While a version is served, the next is opened by one thread of low priority.
            recommender = await (asyncio.to_thread(self._prepare) if self._loan is None else run_gently(self._prepare))
        except ModelError as error:
            if may_pass(error):
                self._try_later(error, stamp)
            else:
                self._seen = stamp  # verifying a large model again and again would occupy the machine
            await self._fall_back()
            self._refuse(f"{error}; the service tries again" if may_pass(error) else str(error))
        except Exception as error:
            if repr(error) != self._backoff.text:
                log.exception("the model could not be opened")
            self._try_later(error, stamp)
            self._refuse("the model could not be opened; the service has logged the reason and tries again")
        else:
            self._seen, self._backoff = stamp, _Backoff()
            self._swap(recommender)
            self.refusal = None

    def _try_later(self, error: Exception, stamp: tuple[object, ...]) -> None:
        self._seen, self._backoff = None, self._backoff.after(repr(error), stamp)

    async def _fall_back(self) -> None:
        """Open the version that other workers serve: this worker may replace one of them."""
        version = self._statuses.last_served()
        if self._loan is None and version is not None:
            with contextlib.suppress(ModelError):
                self._swap(await asyncio.to_thread(self._prepare, version))

    def _prepare(self, name: str | None = None) -> Recommender:
        """Open and warm the version *name*, or the current one."""
        opened = self._open_version(self._store.version(name), None if self._loan is None else 1)
        try:
            if self._blocked is not None:
                _block(opened, self._blocked)
            opened.warm()
        except BaseException:
            opened.close()
            raise
        return opened

    def _swap(self, recommender: Recommender) -> None:
        before, self._loan = self._loan, _Loan(recommender)
        with contextlib.suppress(OSError):  # a full disk must not prevent the swap
            self._statuses.write_served(recommender.manifest.version)
        RELOADS.labels("served").inc()
        log.info("serving version %s", recommender.manifest.version)
        if before is not None:
            self._retire(before)
            return
        # Objects that exist now stay for good: the garbage collector need not visit them while requests are answered.
        gc.collect()
        gc.freeze()

    def _retire(self, loan: _Loan) -> None:
        loan.retired = True
        loan.close_when_free()

    def _refuse(self, reason: str) -> None:
        reason = printable(reason)
        if reason == self.refusal:
            return
        self.refusal = reason
        if self._loan is None:
            log.warning("not ready: %s", reason)
        else:
            RELOADS.labels("refused").inc()
            log.error("version %s stays in use: %s", self._loan.recommender.manifest.version, reason)


def _block(recommender: Recommender, ids: frozenset[str]) -> None:
    n_rows, version = recommender.block(ids), recommender.manifest.version
    log.info("%d ids are blocked: %d tracks and artists of version %s", len(ids), n_rows, version)


async def run_gently(make: Callable[[], Made]) -> Made:
    """Run *make* in a thread of low priority."""

    def begin() -> None:
        if sys.platform == "linux":  # threads have a niceness of their own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

    # A new thread each time: lowering a niceness needs privileges.
    pool = ThreadPoolExecutor(1, initializer=begin)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, make)
    finally:
        pool.shutdown(wait=False)
