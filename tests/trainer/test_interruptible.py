"""Calls in a thread of their own."""

import threading

import pytest

from trainer.interruptible import run_interruptibly


def test_the_result_comes_back_from_another_thread():
    assert run_interruptibly(threading.current_thread) is not threading.current_thread()


def test_an_error_is_raised_in_the_main_thread():
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run_interruptibly(fail)
