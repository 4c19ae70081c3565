"""Calls in a thread of their own, and the steps of a run."""

import threading

import pytest

from trainer.steps import Steps
from trainer.threads import run_interruptibly


def test_the_result_comes_back_from_another_thread():
    assert run_interruptibly(threading.current_thread) is not threading.current_thread()


def test_an_error_is_raised_where_it_was_waited_for():
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run_interruptibly(fail)


def test_a_step_is_told_with_its_time_and_memory():
    steps = Steps()
    with steps.step("filling"):
        filled = bytearray(600 << 20)
    del filled
    with steps.step("resting"):
        pass

    assert [step.name for step in steps.done] == ["filling", "resting"]
    assert all(step.seconds >= 0 and step.peak_mib > 10 for step in steps.done)
    assert steps.done[0].peak_mib > steps.done[1].peak_mib + 400
    assert [line.split()[0] for line in str(steps).splitlines()] == ["filling", "resting", "in"]


def test_what_is_between_two_steps_counts_in_all():
    steps = Steps()
    steps.started -= 1000
    with steps.step("passing"):
        pass

    assert float(str(steps).split()[-2]) >= 1000


def test_a_step_that_fails_is_not_told():
    steps = Steps()
    with pytest.raises(ValueError, match="x"), steps.step("failing"):
        raise ValueError("x")

    assert steps.done == []
