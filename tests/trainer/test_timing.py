"""The steps of a run."""

import pytest

from trainer.timing import Stopwatch


def test_a_step_has_its_time_and_the_peak_memory_so_far():
    stopwatch = Stopwatch()
    with stopwatch.step("filling"):
        filled = bytearray(600 << 20)
    del filled
    with stopwatch.step("resting"):
        pass

    filling, resting = stopwatch.done
    assert (filling.name, resting.name) == ("filling", "resting")
    assert min(filling.seconds, resting.seconds) >= 0
    assert 600 < filling.peak_mib <= resting.peak_mib
    assert [line.split()[0] for line in str(stopwatch).splitlines()] == ["filling", "resting", "in"]


def test_the_total_includes_time_between_steps():
    stopwatch = Stopwatch()
    stopwatch.started -= 1000
    with stopwatch.step("passing"):
        pass

    assert float(str(stopwatch).split()[-2]) >= 1000


def test_a_step_that_fails_is_not_listed():
    stopwatch = Stopwatch()
    with pytest.raises(ValueError, match="x"), stopwatch.step("failing"):
        raise ValueError("x")

    assert stopwatch.done == []
