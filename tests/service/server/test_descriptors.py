"""The limit of open files: raised if the system allows it, otherwise fewer connections."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.server.descriptors import RESERVED

ROOT = Path(__file__).parents[3]
FIT = """
import json, resource, sys
from service.server.descriptors import fit_connections
from service.settings import Settings
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
try:
    fitted = fit_connections(Settings(max_connections=int(sys.argv[3]))).max_connections
except OSError as error:
    fitted = error.strerror
print(json.dumps([fitted, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""


def fit(soft: int, hard: int, connections: int) -> tuple[Any, int, str]:
    """Return the connections, or the error, the limit afterwards and the log of a process with these limits."""
    command = [sys.executable, "-c", FIT, *map(str, (soft, hard, connections))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    fitted, limit = json.loads(done.stdout)
    return fitted, limit, done.stderr


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "fitted", "limit"),
    [
        (1024, 4096, 100, 100, 1024),
        (1024, 4096, 1000, 1000, 1000 + RESERVED),
        (64, 4096, 1000, 1000, 1000 + RESERVED),
        (1024, 1024, 1000, 1024 - RESERVED, 1024),
        (256, 512, 2000, 512 - RESERVED, 512),
    ],
)
def test_connections_fit_the_limit_of_open_files(soft: int, hard: int, connections: int, fitted: int, limit: int):
    found, limit_after, log = fit(soft, hard, connections)

    assert (found, limit_after) == (fitted, limit)
    assert ("ulimit -n" in log) == (fitted < connections)
    assert len(log.splitlines()) == (fitted < connections)


def test_a_limit_that_allows_no_connection_is_refused():
    error, _, _ = fit(64, 100, 1000)

    assert f"(ulimit -n) is 100, and {RESERVED} are for other files: raise the limit" in error
