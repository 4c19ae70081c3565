"""Work that takes a while, in steps: whoever does it can see to something else between two of them."""

from collections.abc import Generator
from typing import TypeVar, cast

T = TypeVar("T")
Steps = Generator[None, None, T]


def finish(steps: Steps[T]) -> T:
    """Take all of *steps*, one after the other; returns what they come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(T, end.value)
