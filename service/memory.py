"""Returning freed memory to the system."""

import ctypes
import gc

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only


def trim_memory() -> None:
    """
    Return freed memory to the system.

    glibc keeps it for later. One long request, or two versions side by side, would raise a worker's memory for good.
    Garbage in cycles is freed first: FastAPI leaves the body of an invalid request in one, with the error about it.
    """
    gc.collect()  # quick, since what a worker keeps is frozen
    if _trim is not None:
        _trim(0)
