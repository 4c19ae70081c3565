"""Admission to the engine: one request at a time, first come, first served, with bounds, and no turn is lost."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.admission import Admission, Overloaded

FOREVER_S = 1e6
P = ParamSpec("P")


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock the test moves."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


def on_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run *test* on a loop of its own, whose clock is also the clock of the refusals."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = Loop()
        with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=lambda: loop) as runner:
            patch.setattr(time, "perf_counter", loop.time)
            runner.run(test(*args, **kwargs))

    return run


def admission(max_waiting: int = 10, max_wait_s: float = FOREVER_S) -> Admission:
    """Return an admission that refuses at once."""
    return Admission(max_waiting, max_wait_s, pace_s=0, max_hold_s=0)


async def settle() -> None:
    """Let the loop do everything that it can do now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def pass_time(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.now_s += seconds
    await settle()


class Requests:
    """Requests with one-letter names, and their outcomes."""

    def __init__(self, admission: Admission):
        self._admission = admission
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.admitted, self.refused = "", ""

    def start(self, names: str) -> None:
        """Let requests arrive at the same time."""
        self.tasks |= {name: asyncio.create_task(self._acquire(name)) for name in names}

    async def arrive(self, names: str) -> None:
        """Let requests arrive one after the other."""
        for name in names:
            self.start(name)
            await settle()

    async def release(self) -> None:
        self._admission.release()
        await settle()

    async def _acquire(self, name: str) -> None:
        try:
            await self._admission.acquire()
        except Overloaded:
            self.refused += name
        else:
            self.admitted += name


async def is_free(admission: Admission) -> bool:
    """Return True if a request that arrives now is admitted."""
    requests = Requests(admission)
    await requests.arrive("x")
    return requests.admitted == "x"


@on_a_loop
async def test_requests_are_admitted_one_at_a_time_in_the_order_of_arrival():
    queue = admission()
    requests = Requests(queue)
    await requests.arrive("abcd")
    assert (requests.admitted, queue.waiting) == ("a", 3)

    for n_waiting in (2, 1, 0):
        await requests.release()
        assert queue.waiting == n_waiting
    assert requests.admitted == "abcd"


@pytest.mark.parametrize("max_waiting", [0, 2])
@on_a_loop
async def test_requests_beyond_the_bound_are_refused(max_waiting: int):
    queue = admission(max_waiting)
    requests = Requests(queue)
    await requests.arrive("abcde")
    assert (requests.admitted, requests.refused) == ("a", "abcde"[1 + max_waiting :])

    for _ in range(max_waiting + 1):
        await requests.release()
    await requests.arrive("f")
    assert requests.admitted == "abcde"[: 1 + max_waiting] + "f"


@on_a_loop
async def test_the_bound_holds_for_requests_that_arrive_between_two_answers():
    requests = Requests(queue := admission(max_waiting=2))
    await requests.arrive("abc")
    asyncio.get_running_loop().call_soon(queue.release)
    requests.start("defgh")  # in the same turn of the loop
    await settle()

    assert (requests.admitted, requests.refused, queue.waiting) == ("ab", "efgh", 2)


@on_a_loop
async def test_a_request_is_refused_after_the_longest_wait():
    queue = admission(max_wait_s=5)
    requests = Requests(queue)
    await requests.arrive("ab")
    await pass_time(3)
    await requests.arrive("c")
    assert requests.refused == ""

    await pass_time(3)
    assert requests.refused == "b"
    await pass_time(3)
    assert (requests.admitted, requests.refused, queue.waiting) == ("a", "bc", 0)
    await requests.release()
    assert await is_free(queue)


@on_a_loop
async def test_an_admitted_request_has_no_deadline():
    requests = Requests(admission(max_wait_s=5))
    await requests.arrive("ab")
    await requests.release()
    await pass_time(100)

    assert (requests.admitted, requests.refused) == ("ab", "")


@on_a_loop
async def test_refusals_leave_at_a_pace():
    requests = Requests(Admission(0, FOREVER_S, pace_s=1, max_hold_s=3))
    await requests.arrive("abcdefg")

    left = []
    for _ in range(4):
        left.append(requests.refused)
        await pass_time(1)
    assert left == ["b", "bc", "bcd", "bcdefg"]  # none is held for more than 3 s

    await pass_time(10)
    await requests.arrive("h")
    assert requests.refused == "bcdefgh"  # the first after a rest leaves at once


@on_a_loop
async def test_the_loop_reads_new_requests_between_two_answers():
    """Otherwise a busy engine would delay the answers that do not need it."""
    requests, seen = Requests(queue := admission()), []
    await requests.arrive("ab")
    queue.release()
    asyncio.get_running_loop().call_soon(lambda: seen.append(requests.admitted))
    await settle()

    assert (seen, requests.admitted) == (["a"], "ab")


@on_a_loop
async def test_a_request_between_two_answers_waits_behind_the_others():
    queue = admission()
    requests = Requests(queue)
    await requests.arrive("ab")
    queue.release()
    await requests.arrive("c")
    assert (requests.admitted, queue.waiting) == ("ab", 1)

    await requests.release()
    assert requests.admitted == "abc"


@on_a_loop
async def test_a_cancelled_request_leaves_the_queue():
    queue = admission()
    requests = Requests(queue)
    await requests.arrive("abc")
    requests.tasks["b"].cancel()
    await settle()
    assert queue.waiting == 1

    await requests.release()
    assert requests.admitted == "ac"


@pytest.mark.parametrize("n_turns", range(5))
@on_a_loop
async def test_a_request_that_is_cancelled_when_admitted_passes_its_turn_on(n_turns: int):
    """It may be cancelled in any turn of the loop until its task continues."""
    requests = Requests(queue := admission())
    await requests.arrive("abc")
    queue.release()
    for _ in range(n_turns):
        await asyncio.sleep(0)
    requests.tasks["b"].cancel()
    await settle()
    if "b" in requests.admitted:
        await requests.release()

    assert requests.admitted[-1] == "c"
    await requests.release()
    assert await is_free(queue)


@pytest.mark.parametrize("n_turns", range(5))
@on_a_loop
async def test_a_request_that_is_cancelled_when_refused_takes_no_turn(n_turns: int):
    queue = admission(max_wait_s=5)
    requests = Requests(queue)
    await requests.arrive("ab")
    asyncio.get_running_loop().now_s += 10
    for _ in range(n_turns):
        await asyncio.sleep(0)
    requests.tasks["b"].cancel()
    await settle()
    assert queue.waiting == 0

    await requests.release()
    assert await is_free(queue)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["arrive", "release", "settle", "turn", "pass"]), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
    ),
    max_size=60,
)


class Crowd:
    """Many requests that hold the engine until told to release it, and may be cancelled at any moment."""

    def __init__(self, admission: Admission):
        self._admission = admission
        self._ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[str]] = []
        self.holding = 0

    async def step(self, name: str, number: int) -> None:
        match name:
            case "arrive":
                self.tasks.append(asyncio.create_task(self._request()))
            case "release" if self._ends:
                self._ends[-1].set()
            case "settle":
                await settle()
            case "turn":
                await asyncio.sleep(0)
            case "pass":
                await pass_time(3)
            case "cancel" if number < len(self.tasks):
                self.tasks[number].cancel()

    async def finish(self) -> None:
        """Let each admitted request release the engine."""
        for _ in range(2 * len(self.tasks)):
            for event in self._ends:
                event.set()
            await settle()

    async def _request(self) -> str:
        try:
            await self._admission.acquire()
        except Overloaded:
            return "refused"
        self.holding += 1
        assert self.holding == 1
        self._ends.append(asyncio.Event())
        try:
            await self._ends[-1].wait()
        finally:
            self.holding -= 1
            self._admission.release()
        return "answered"


@given(STEPS, st.integers(0, 3))
@on_a_loop
async def test_at_most_one_request_holds_the_engine_and_the_last_one_frees_it(
    steps: list[tuple[str, int]], max_waiting: int
):
    queue = admission(max_waiting, max_wait_s=5)
    crowd = Crowd(queue)
    for name, number in steps:
        await crowd.step(name, number)
        assert queue.waiting <= max_waiting + 1  # one of them may have just been admitted
    await crowd.finish()

    assert all(task.done() for task in crowd.tasks)
    assert all(task.cancelled() or task.result() in ("answered", "refused") for task in crowd.tasks)
    assert (queue.waiting, crowd.holding) == (0, 0)
    assert await is_free(queue)
