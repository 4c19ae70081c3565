"""Freed memory is returned to the system."""

import os
import platform
import weakref

import pytest

from service.memory import trim_memory
from service.telemetry.metrics import private_bytes

BLOCK_BYTES, BLOCKS = 1000, 50_000  # too long for Python's own allocator, too short for a mapping each


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_freed_memory_below_a_used_block_is_returned():
    blocks = [bytes(BLOCK_BYTES) for _ in range(BLOCKS)]
    kept = blocks[::1000]  # the C library itself returns only the memory above the last used block
    before = private_bytes(os.getpid())
    del blocks
    trim_memory()
    after = private_bytes(os.getpid())

    assert before is not None
    assert after is not None
    assert before - after > BLOCKS * BLOCK_BYTES / 2
    assert len(kept) == BLOCKS // 1000


def test_garbage_in_a_cycle_is_freed():
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    gone = weakref.ref(Cycle())
    trim_memory()

    assert gone() is None
