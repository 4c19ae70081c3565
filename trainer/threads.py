"""Long calls into compiled code that a signal can still end."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Whether a call was left behind that goes on until the process ends.
abandoned = threading.Event()


def run_interruptibly(call: Callable[[], T]) -> T:
    """
    The result of *call*, made in a thread of its own.

    Python looks at signals between two steps of its main thread, and half an iteration of a large fit is one step that
    takes minutes. The main thread waits here instead, and leaves *call* behind when a signal tells it to go.
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again where it was waited for
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        abandoned.set()
        raise
    if errors:
        raise errors[0]
    result: T = results[0]
    return result
