"""Admission to the engine: one request at a time, a short queue, and 503 for the rest."""

import asyncio
import time
from http import HTTPStatus

from service.api.errors import Refused

RETRY_AFTER_S = 1
OVERLOADED = "the service is overloaded; try again later, or run more workers"


class Overloaded(Refused):
    """The queue is full, or the request has waited too long."""

    def __init__(self) -> None:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED, headers, "overload")


class Admission:
    """
    The queue of one worker's requests for its engine, first come, first served.

    The engine computes on the thread of the event loop, one answer at a time. Between two answers the loop reads new
    requests, refuses those beyond the bound, and answers the ones that do not need the engine.

    Args:
        max_waiting: requests that may wait.
        max_wait_s: seconds that each may wait.
        pace_s: seconds between two refusals. Clients that retry at once would otherwise occupy the worker.
        max_hold_s: longest delay of a refusal for that.
    """

    def __init__(self, max_waiting: int, max_wait_s: float, pace_s: float = 0.0025, max_hold_s: float = 0.02):
        self._max_waiting, self._max_wait_s = max_waiting, max_wait_s
        self._pace_s, self._max_hold_s = pace_s, max_hold_s
        self._engine = asyncio.Lock()
        self._refusal_s = float("-inf")  # when the last refusal leaves
        self.waiting = 0

    async def check(self) -> None:
        """
        Refuse if no further request may wait.

        Raises:
            Overloaded: the queue is full.
        """
        if self.waiting + self._engine.locked() > self._max_waiting:
            await self._hold()
            raise Overloaded

    async def acquire(self) -> None:
        """
        Wait for the engine; `release` gives it back.

        Raises:
            Overloaded: the queue is full, or the engine was busy for the longest wait.
        """
        await self.check()
        if self._engine.locked() or self.waiting:
            await self._wait()
        else:
            await self._engine.acquire()  # at once
        try:
            await asyncio.sleep(0)  # the loop reads new requests, which then find the engine busy
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the engine to the next request."""
        self._engine.release()

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._engine.acquire()
        except TimeoutError:
            raise Overloaded from None
        finally:
            self.waiting -= 1

    async def _hold(self) -> None:
        """Delay a refusal, so that refusals leave at a pace."""
        now = time.perf_counter()
        self._refusal_s = min(max(now, self._refusal_s + self._pace_s), now + self._max_hold_s)
        await asyncio.sleep(self._refusal_s - now)
