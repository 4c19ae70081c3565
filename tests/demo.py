"""
`make demo` on a fresh clone, and the curl of the README. `.ci/run` runs it, `make test` does not.

    python -m pytest tests/demo.py
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITHIN_S = 180


@pytest.fixture(scope="module")
def demo() -> Iterator[None]:
    """The service that `make demo` trains and starts."""
    shutil.rmtree(ROOT / ".demo", ignore_errors=True)
    process = subprocess.Popen(["make", "demo"], cwd=ROOT, start_new_session=True)
    try:
        started = time.monotonic()
        while not ready():
            assert process.poll() is None, "make demo ended"
            assert time.monotonic() - started < WITHIN_S, f"make demo took over {WITHIN_S} s"
            time.sleep(0.5)
        print(f"ready after {time.monotonic() - started:.0f} s")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def ready() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8000/health/ready", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_the_curl_of_the_readme_returns_ten_named_tracks(demo: None):
    command = re.search(r"^    (curl .*/recommend.*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert command is not None

    answer = json.loads(subprocess.check_output(command[1], shell=True))

    print(json.dumps(answer, indent=1)[:2000])
    assert answer["strategy"] == "ranked"
    assert len(answer["tracks"]) == 10
    assert all(track["name"] and track["artist"]["name"] for track in answer["tracks"])


def test_an_invalid_request_gets_the_reason(demo: None):
    request = urllib.request.Request(
        "http://127.0.0.1:8000/recommend", b'{"k": 501}', {"Content-Type": "application/json"}
    )

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)

    assert refused.value.code == 422
    assert "body.k" in json.loads(refused.value.read())["detail"]
