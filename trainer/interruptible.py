"""Long calls into compiled code that a signal can still end."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

# Set when a call was abandoned; it then runs until the process ends.
_abandoned = threading.Event()


def run_interruptibly(call: Callable[[], T]) -> T:
    """
    Return the result of *call*, which runs in its own thread.

    Python handles signals between two instructions of its main thread. Half an iteration of a large fit is one such
    instruction and takes minutes. So the main thread only waits here, and abandons *call* when a signal ends the wait.
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again in the main thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        _abandoned.set()
        raise
    if errors:
        raise errors[0]
    result: T = results[0]
    return result


def exit_process(code: int) -> NoReturn:
    """End the process with *code*, and with it any abandoned call."""
    sys.stdout.flush()
    sys.stderr.flush()
    if _abandoned.is_set():
        os._exit(code)
    sys.exit(code)
