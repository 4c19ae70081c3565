"""The limit of open files, which has to fit the number of connections."""

import errno
import logging
import resource

from service.settings import Settings

log = logging.getLogger("segue")

# Two versions during a reload, the threads that verify one, metrics, logs, copies of the listening socket, libraries.
RESERVED = 150
NO_LIMIT = resource.RLIM_INFINITY


def fit_connections(settings: Settings) -> Settings:
    """
    Raise this process's limit of open files as far as the connections of a worker need. Workers inherit it.

    Returns:
        *settings*, with fewer connections if the system does not allow as many.

    Raises:
        OSError: the system allows too few for any connection.
    """
    allowed = _raise_limit(settings.max_connections + RESERVED) - RESERVED
    if allowed >= settings.max_connections:
        return settings
    limit = f"the limit of open files (ulimit -n) is {allowed + RESERVED}, and {RESERVED} are for other files"
    if allowed < 1:
        raise OSError(errno.EMFILE, f"{limit}: raise the limit, for example to {settings.max_connections + RESERVED}")
    log.warning(
        "each worker accepts %d connections instead of SEGUE_MAX_CONNECTIONS=%d: %s; raise the limit to %d",
        *(allowed, settings.max_connections, limit, settings.max_connections + RESERVED),
    )
    return settings.model_copy(update={"max_connections": allowed})


def _raise_limit(needed: int) -> int:
    """Return the limit, raised to *needed* or to the hard limit if it was lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == NO_LIMIT or soft >= needed:
        return needed
    limit = needed if hard == NO_LIMIT else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
