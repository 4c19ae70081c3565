"""What was freed goes back to the system."""

import os

import pytest

from service import memory
from service.metrics import private_bytes

BLOCK_BYTES, BLOCKS = 1000, 50_000  # too long for Python's own allocator, too short for a mapping each


@pytest.mark.skipif(memory._trim is None, reason="only glibc keeps it")
def test_what_was_freed_below_what_is_held_is_given_back():
    blocks = [bytes(BLOCK_BYTES) for _ in range(BLOCKS)]
    held = blocks[::1000]  # the C library gives back by itself only what nothing lies above
    before = private_bytes(os.getpid())
    del blocks
    memory.give_back()
    after = private_bytes(os.getpid())

    assert before is not None
    assert after is not None
    assert before - after > BLOCKS * BLOCK_BYTES / 2
    assert len(held) == BLOCKS // 1000
