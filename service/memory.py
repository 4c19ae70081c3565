"""Returning freed memory to the system."""

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only


def trim_memory() -> None:
    """
    Return freed memory to the system.

    glibc keeps it for later, and so keeps for good the peak of one long request or of two versions side by side.
    """
    if _trim is not None:
        _trim(0)
