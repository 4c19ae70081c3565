"""Returning freed memory to the system."""

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only


def trim_memory() -> None:
    """
    Return freed memory to the system.

    glibc keeps it for later. One long request, or two versions side by side, would raise a worker's memory for good.
    """
    if _trim is not None:
        _trim(0)
