"""Who may ask the engine, and when: one at a time, few others waiting, none of them for long."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

RETRY_AFTER_S = 1
OVERLOAD, WAIT_IN_OVERLOAD = 1.25, 1  # enough that the engine need not stand still between two turns
HEAVY_OVERLOAD = 3.0  # somebody is there as each turn ends, so nobody need wait
MEMORY_S = 0.25  # after which a turn that was offered counts for 1/e
STANDS_AFTER_S, WAIT_WHERE_IT_STANDS = 0.25, 2
LEARNT, LEAST_TURN_S = 0.05, 0.001  # of the length of the last turn


class Overloaded(Exception):
    """There is more to do than can be done in time."""


class Queue:
    """
    The turns of one worker's requests at its engine.

    The engine computes on the thread of the event loop, in steps: after each the loop reads what came, refuses what is
    too much, and answers what needs no engine. First come, first served: the newest first would be faster under
    overload, and would starve some as soon as a few ask at once.

    A queue is there to take up bursts, and *max_waiting* may wait in one. A queue that stands only makes everybody late
    (Nichols and Jacobson, Controlling Queue Delay, 2012): where it has not been empty for `STANDS_AFTER_S`, few may
    wait, fewer where the load that is offered is more than can be done, and none where it is far more. That load is how
    long the turns of all that came lately take, refused or not, by the time that passed; a short queue is often empty,
    and says nothing of it. Whoever finds no place is told so on coming, whoever finds one waits *max_wait_s* at most.

    Args:
        clock: the time in seconds, from any moment on.
    """

    def __init__(self, max_waiting: int, max_wait_s: float, clock: Callable[[], float] = time.monotonic):
        self._max_waiting, self._max_wait_s, self._clock = max_waiting, max_wait_s, clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy = False
        self._load, self._came_s, self._empty_s = 0.0, clock(), clock()
        self._turn_s, self._begun_s = LEAST_TURN_S, 0.0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def turn(self) -> None:
        """
        Wait for a turn; `done` ends it.

        Raises:
            Overloaded: too many wait already, or it did not come within the longest wait.
        """
        load = self._note_arrival()
        if self._busy:
            await self._wait(self._most(load))
        self._busy, self._begun_s = True, self._clock()

    def done(self) -> None:
        """End a turn."""
        # The next begins after the loop has looked around: what has come by now is to queue up, not to slip in.
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        # One that was held up, by the disk or the processor, says nothing of those to come.
        took_s = min(self._clock() - self._begun_s, 2 * self._turn_s)
        self._turn_s = max(self._turn_s + (took_s - self._turn_s) * LEARNT, LEAST_TURN_S)
        self._next()

    def _note_arrival(self) -> float:
        """The load that was offered until now; a turn is added to it."""
        now = self._clock()
        load = self._load * math.exp((self._came_s - now) / MEMORY_S)
        self._load, self._came_s = load + self._turn_s / MEMORY_S, now
        return load

    def _most(self, load: float) -> int:
        """How many may wait."""
        if not self._waiting:
            self._empty_s = self._clock()
        if load > HEAVY_OVERLOAD:
            return 0
        if load > OVERLOAD:
            return min(WAIT_IN_OVERLOAD, self._max_waiting)
        if self._clock() - self._empty_s > STANDS_AFTER_S:
            return min(WAIT_WHERE_IT_STANDS, self._max_waiting)
        return self._max_waiting

    async def _wait(self, most: int) -> None:
        if len(self._waiting) >= most:
            raise Overloaded
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._waiting.append(place)
        timer = loop.call_later(self._max_wait_s, self._refuse, place)
        try:
            await place
        except asyncio.CancelledError:
            self._leave(place)
            raise
        finally:
            timer.cancel()

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
            asyncio.get_running_loop().call_soon(self._next)  # the turn came as the request went
