"""Who may ask the engine, and when: one at a time, few others waiting, none of them for long."""

import asyncio
from collections import deque

RETRY_AFTER_S = 1
BURST_S = 0.1


class Overloaded(Exception):
    """There is more to do than can be done in time."""


class Queue:
    """
    The turns of one worker's requests at its engine.

    The engine computes on the thread of the event loop: in between two turns the loop reads what came, refuses what
    has waited too long, and answers what needs no engine. First come, first served: the newest first would be faster
    under overload, and would starve some as soon as a few ask at once.

    A queue that was empty a moment ago is a burst, which a little patience serves whole; only one that does not get
    empty any more is overload, and nobody waits longer than *max_wait_s* there (Nichols and Jacobson, Controlling
    Queue Delay, 2012; for requests: Maurer, Fail at Scale, 2015).
    """

    def __init__(self, max_waiting: int, max_wait_s: float):
        self._max_waiting, self._max_wait_s = max_waiting, max_wait_s
        self._empty_s = 0.0  # when it last was
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def turn(self) -> None:
        """
        Wait for a turn; `done` ends it.

        Raises:
            Overloaded: it did not come within the longest wait, or too many wait already.
        """
        if not self._busy:
            self._busy = True
            return
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._empty_s = loop.time()
        place = loop.create_future()
        self._waiting.append(place)
        # No sooner than it is clear that this is no burst.
        patience_s = max(self._max_wait_s, self._empty_s + BURST_S - loop.time())
        timer = loop.call_later(patience_s, self._refuse, place)
        try:
            await place
        except asyncio.CancelledError:
            self._leave(place)
            raise
        finally:
            timer.cancel()

    def done(self) -> None:
        """End a turn."""
        # The next begins after the loop has looked around: what has come by now is to queue up, not to slip in.
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._busy = False

    def _refuse(self, place: asyncio.Future[None]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
        if not place.done():
            place.set_exception(Overloaded())

    def _leave(self, place: asyncio.Future[None]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
        elif place.done() and not place.cancelled() and place.exception() is None:
            self.done()  # the turn came as the request went
