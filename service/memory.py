"""Memory that a worker has no use for any more, and that the system would not get back by itself."""

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; other C libraries have none


def give_back() -> None:
    """
    Give back to the system what was freed.

    glibc keeps it for the next time, and so for good what one long request took, or two versions side by side.
    """
    if _trim is not None:
        _trim(0)
