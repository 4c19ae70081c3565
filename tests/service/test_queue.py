"""Turns at the engine: one at a time, first come, first served, nobody waits for long, and no turn is lost."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.queue import WAIT_WHERE_IT_STANDS, Overloaded, Queue

FOR_EVER_S = 1e6
P = ParamSpec("P")


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still until it is told otherwise."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


def played(scene: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that plays *scene* on a loop of its own."""

    @wraps(scene)
    def play(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(scene(*args, **kwargs))

    return play


def open_queue(max_waiting: int, max_wait_s: float) -> Queue:
    """A queue with the clock of the loop."""
    return Queue(max_waiting, max_wait_s, asyncio.get_running_loop().time)


async def look_around() -> None:
    """Let the loop do all that there is to do now."""
    for _ in range(10):
        await asyncio.sleep(0)


def pass_time(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.now_s += seconds


class Visitors:
    """Who asked for a turn, by name, and what became of them."""

    def __init__(self, queue: Queue):
        self._queue = queue
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.turns: list[str] = []
        self.refused: list[str] = []

    async def come(self, *names: str) -> None:
        """Ask for a turn, one after the other."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._visit(name))
            await look_around()

    async def _visit(self, name: str) -> None:
        try:
            await self._queue.turn()
        except Overloaded:
            self.refused.append(name)
        else:
            self.turns.append(name)


@played
async def test_who_comes_first_has_a_turn_at_once():
    queue = open_queue(0, FOR_EVER_S)
    free = queue.turn()
    with pytest.raises(StopIteration):  # without a wait
        free.send(None)

    assert queue.waiting == 0


@played
async def test_turns_are_one_at_a_time_and_first_come_first_served():
    queue = open_queue(10, FOR_EVER_S)
    visitors = Visitors(queue)
    await visitors.come("a", "b", "c", "d")
    assert (visitors.turns, queue.waiting) == (["a"], 3)

    for n_waiting in (2, 1, 0):
        queue.done()
        await look_around()
        assert queue.waiting == n_waiting
    assert visitors.turns == ["a", "b", "c", "d"]


@played
async def test_where_as_many_wait_as_may_whoever_comes_is_refused_at_once():
    queue = open_queue(2, FOR_EVER_S)
    visitors = Visitors(queue)
    await visitors.come("a", "b", "c")
    assert visitors.refused == []

    await visitors.come("d", "e")
    assert (visitors.turns, visitors.refused) == (["a"], ["d", "e"])
    queue.done()
    await look_around()
    await visitors.come("f")
    assert (visitors.turns, visitors.refused, queue.waiting) == (["a", "b"], ["d", "e"], 2)


@played
async def test_where_nobody_may_wait_whoever_comes_second_is_refused_and_the_turn_is_not_lost():
    queue = open_queue(0, FOR_EVER_S)
    visitors = Visitors(queue)
    await visitors.come("a", "b")
    queue.done()
    await look_around()
    await visitors.come("c")

    assert (visitors.turns, visitors.refused) == (["a", "c"], ["b"])


@played
async def test_who_waits_too_long_is_refused_and_nobody_before():
    visitors = Visitors(open_queue(10, 5.0))
    await visitors.come("a", "b")
    pass_time(3)
    await visitors.come("c")
    assert visitors.refused == []

    pass_time(3)
    await look_around()
    assert visitors.refused == ["b"]

    pass_time(3)
    await look_around()
    assert (visitors.turns, visitors.refused) == (["a"], ["b", "c"])


async def offer(queue: Queue, turns: int, length_s: float, every_s: float) -> None:
    """Have *turns* come one after the other, *every_s* seconds, and each take *length_s*."""
    for _ in range(turns):
        await queue.turn()
        pass_time(length_s)
        queue.done()
        await look_around()
        pass_time(every_s - length_s)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@played
async def test_as_long_as_less_comes_than_can_be_done_a_burst_may_wait(share: float):
    queue = open_queue(10, FOR_EVER_S)
    await offer(queue, 200, 0.005, 0.005 / share)
    visitors = Visitors(queue)
    await visitors.come("turn", *map(str, range(20)))

    assert (queue.waiting, len(visitors.refused)) == (10, 10)


@played
async def test_a_turn_that_took_long_once_is_no_overload():
    queue = open_queue(10, FOR_EVER_S)
    await offer(queue, 200, 0.01, 0.05)
    await offer(queue, 1, 5.0, 5.0)
    await offer(queue, 20, 0.01, 0.02)
    visitors = Visitors(queue)
    await visitors.come("turn", *map(str, range(10)))

    assert (queue.waiting, visitors.refused) == (10, [])


async def press(comers: str, last: str = "") -> tuple[Queue, Visitors]:
    """
    A queue, and who came to it, after a time of overload.

    Each hundredth of a second *comers* come, one turn is done, and *last* come. Once the load is known nobody waits as
    a turn begins, and no turn is left out.
    """
    queue = open_queue(10, FOR_EVER_S)
    await offer(queue, 200, 0.01, 0.02)
    visitors = Visitors(queue)
    await visitors.come("turn")
    for number in range(150):
        done = len(visitors.turns)
        await visitors.come(*(f"{number}.{comer}" for comer in comers))
        pass_time(0.01)
        queue.done()
        await look_around()
        await visitors.come(*(f"{number}.{comer}" for comer in last))
        if number > 50:
            assert (queue.waiting, len(visitors.turns)) == (0, done + 1)
    return queue, visitors


@played
async def test_under_overload_one_may_wait_and_soon_after_it_a_burst_again():
    queue, visitors = await press("abc")
    assert len(visitors.refused) > 200
    await visitors.come("d", "e")
    assert queue.waiting == 1

    for _ in range(2):
        queue.done()
        await look_around()
    pass_time(1)
    await visitors.come("turn", *map(str, range(20)))
    assert queue.waiting == 10


@played
async def test_where_far_more_comes_than_can_be_done_nobody_waits_and_no_turn_is_left_out():
    _, visitors = await press("abcdefghi", last="z")
    assert {name.split(".")[1] for name in visitors.turns[-90:]} == {"z"}  # who comes as a turn ends


@played
async def test_a_turn_is_as_long_as_nobody_else_may_have_one():
    """What the loop does between the end of an answer and the next turn is time in which none is answered."""
    queue = open_queue(16, FOR_EVER_S)
    for _ in range(200):
        await queue.turn()
        queue.done()
        pass_time(0.01)
        await look_around()
    visitors = Visitors(queue)
    await visitors.come("turn", *map(str, range(30)))

    assert queue.waiting < 16  # the turns before took all the time that there was


@played
async def test_where_a_queue_stands_few_may_wait_until_it_was_empty():
    queue = open_queue(10, FOR_EVER_S)
    visitors = Visitors(queue)
    await visitors.come("turn", "a", "b", "c")
    for number in range(30):  # each hundredth of a second one comes, and one turn is done
        pass_time(0.01)
        queue.done()
        await visitors.come(str(number))
        assert bool(visitors.refused) == (number >= 24)
        if number > 25:
            assert queue.waiting in (WAIT_WHERE_IT_STANDS - 1, WAIT_WHERE_IT_STANDS)

    for _ in range(WAIT_WHERE_IT_STANDS + 1):
        queue.done()
        await look_around()
    await visitors.come("turn", *map(str, range(20)))
    assert queue.waiting == 10


@played
async def test_where_nobody_may_wait_nobody_may_under_overload():
    queue = open_queue(0, FOR_EVER_S)
    await offer(queue, 200, 0.01, 0.01)
    visitors = Visitors(queue)
    await visitors.come("turn", *map(str, range(100)))

    assert len(visitors.refused) == 100


@played
async def test_a_turn_that_came_in_time_is_not_taken_back():
    queue = open_queue(10, 5.0)
    visitors = Visitors(queue)
    await visitors.come("a", "b")
    queue.done()
    await look_around()
    pass_time(100)
    await look_around()

    assert (visitors.turns, visitors.refused) == (["a", "b"], [])


@played
async def test_a_turn_is_handed_on_only_after_the_loop_has_looked_around():
    """Else a busy engine would never let the loop read what came, or answer for health."""
    queue = open_queue(10, FOR_EVER_S)
    visitors, seen = Visitors(queue), []
    await visitors.come("a", "b")
    asyncio.get_running_loop().call_soon(lambda: seen.append(list(visitors.turns)))
    queue.done()
    asyncio.get_running_loop().call_soon(lambda: seen.append(list(visitors.turns)))
    assert visitors.turns == ["a"]
    await look_around()

    assert seen == [["a"], ["a"]]
    assert visitors.turns == ["a", "b"]


@played
async def test_who_comes_between_two_turns_queues_up_and_does_not_slip_in():
    queue = open_queue(10, FOR_EVER_S)
    visitors = Visitors(queue)
    await visitors.come("a", "b")
    queue.done()
    late = queue.turn()
    late.send(None)  # it waits, although nobody has the turn at this moment
    await look_around()
    assert (visitors.turns, queue.waiting) == (["a", "b"], 1)

    queue.done()
    await look_around()
    with pytest.raises(StopIteration):
        late.send(None)


@played
async def test_who_leaves_while_waiting_is_passed_over():
    queue = open_queue(10, FOR_EVER_S)
    visitors = Visitors(queue)
    await visitors.come("a", "b", "c")
    visitors.tasks["b"].cancel()
    await look_around()
    assert queue.waiting == 1

    queue.done()
    await look_around()
    assert visitors.turns == ["a", "c"]


@played
async def test_who_leaves_in_the_moment_of_getting_a_turn_hands_it_on():
    queue = open_queue(10, FOR_EVER_S)
    visitors = Visitors(queue)
    await visitors.come("a", "b", "c")
    queue.done()
    # By then the turn is b's, who does not know it yet.
    asyncio.get_running_loop().call_soon(visitors.tasks["b"].cancel)
    await look_around()

    assert visitors.tasks["b"].cancelled()
    assert visitors.turns == ["a", "c"]


@played
async def test_who_leaves_in_the_moment_of_being_refused_takes_no_turn_along():
    queue = open_queue(10, 5.0)
    visitors = Visitors(queue)
    await visitors.come("a", "b")
    pass_time(10)
    asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(visitors.tasks["b"].cancel))
    await look_around()
    assert queue.waiting == 0

    queue.done()
    await look_around()
    await visitors.come("c")
    assert visitors.turns == ["a", "c"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["come", "done", "look", "tick", "pass"]), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
    ),
    max_size=60,
)


class Crowd:
    """Many who ask for a turn, hold it until they are told to end it, and may leave at any moment."""

    def __init__(self, queue: Queue):
        self._queue = queue
        self._ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[str]] = []
        self.holding = 0

    async def do(self, what: str, which: int) -> None:
        match what:
            case "come":
                self.tasks.append(asyncio.create_task(self._visit()))
            case "done" if self._ends:
                self._ends[-1].set()
            case "look":
                await look_around()
            case "tick":
                await asyncio.sleep(0)
            case "pass":
                pass_time(3)
            case "leave" if which < len(self.tasks):
                self.tasks[which].cancel()

    async def end(self) -> None:
        """Have each that gets a turn end it."""
        for _ in range(2 * len(self.tasks)):
            for event in self._ends:
                event.set()
            await look_around()

    async def _visit(self) -> str:
        try:
            await self._queue.turn()
        except Overloaded:
            return "refused"
        self.holding += 1
        assert self.holding == 1
        self._ends.append(asyncio.Event())
        try:
            await self._ends[-1].wait()
        finally:
            self.holding -= 1
            self._queue.done()
        return "answered"


@given(STEPS, st.integers(0, 3))
@played
async def test_whatever_happens_one_holds_the_turn_at_most_and_in_the_end_it_is_free(
    steps: list[tuple[str, int]], max_waiting: int
):
    queue = open_queue(max_waiting, 5.0)
    crowd = Crowd(queue)
    for what, which in steps:
        await crowd.do(what, which)
        assert queue.waiting <= max_waiting
    await crowd.end()

    assert all(task.done() for task in crowd.tasks)
    assert all(task.cancelled() or task.result() in ("answered", "refused") for task in crowd.tasks)
    assert (queue.waiting, crowd.holding) == (0, 0)
    free = queue.turn()
    with pytest.raises(StopIteration):  # at once, without a wait
        free.send(None)
