"""
Real containers with a fresh volume, tested over HTTP: `make test-compose`.

It needs a Docker engine with Compose v2. `make test` leaves it out, and so its name does not begin with `test_`.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from trainer.synthetic.playlists import synthesize

ROOT = Path(__file__).parents[1]
PORT = 18000
UP_WITHIN_S = 1200


def compose(*arguments: str, data: Path | None = None, **settings: str) -> str:
    environment = {**os.environ, "SEGUE_PORT": str(PORT), "COMPOSE_PROJECT_NAME": "segue-test", **settings}
    environment |= {"SEGUE_DATA": str(data)} if data else {}
    done = subprocess.run(
        ["docker", "compose", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, f"docker compose {' '.join(arguments)} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    """A client of the service after `docker compose up` on a clone without a model."""
    try:
        compose("up", "--build", "--detach")
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=30) as client:
            wait_until_ready(client)
            yield client
    finally:
        print(compose("logs", "--no-color", "--tail", "30"))
        compose("--profile", "trainer", "--profile", "retrain", "down", "--volumes", "--timeout", "5")


def wait_until_ready(client: httpx.Client) -> str:
    """Wait until a model is served and return its version."""
    deadline = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < deadline:
        try:
            response = client.get("/health/ready")
            if response.status_code == 200:
                return str(response.json()["model"])
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"not ready within {UP_WITHIN_S} s")


def test_a_fresh_clone_serves_ten_named_tracks(service: httpx.Client):
    answer = service.post("/recommend", json={"title": "late night jazz", "k": 10}).json()

    assert answer["strategy"] == "ranked"
    assert len(answer["tracks"]) == 10
    assert all(track["name"] and track["artist"]["name"] for track in answer["tracks"])


def test_the_other_endpoints_answer(service: httpx.Client):
    track = service.post("/recommend", json={"k": 1}).json()["tracks"][0]

    assert len(service.get("/similar", params={"track": track["id"]}).json()["tracks"]) == 20
    assert len(service.get("/similar", params={"artist": track["artist"]["name"]}).json()["artists"]) == 20
    assert service.get("/model").json()["metrics"]["ndcg"] > 0.1
    assert service.get("/nope").headers["content-type"] == "application/problem+json"


def test_the_image_has_the_page_and_its_files(service: httpx.Client):
    assert service.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert service.get("/page/page.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_the_image_of_the_service_has_no_trainer_no_compiler_and_no_root(service: httpx.Client):
    look = "import importlib.util as u, os, shutil, json; print(json.dumps([bool(u.find_spec('trainer')), "
    look += "bool(u.find_spec('implicit')), shutil.which('g++'), shutil.which('gcc'), os.getuid()]))"

    assert json.loads(compose("exec", "-T", "service", "python", "-c", look)) == [False, False, None, None, 10001]


def test_the_service_cannot_write_to_its_models(service: httpx.Client):
    attempt = "import pathlib\ntry: pathlib.Path('/models/x').touch()\nexcept OSError: print('refused')"

    assert compose("exec", "-T", "service", "python", "-c", attempt).strip() == "refused"


def test_the_trainer_reads_the_files_of_the_user_and_the_service_serves_its_model(
    service: httpx.Client, tmp_path: Path
):
    before = wait_until_ready(service)
    synthesize(tmp_path / "data" / "mine", 300, seed=5)

    run = ("--profile", "trainer", "run", "--build", "--rm", "-T", "trainer")
    # The quality gate would refuse three hundred playlists after ten thousand.
    options = ("--profile", "small", "--factors", "16", "--force")
    output = compose(*run, "train", "/data/mine", *options, data=tmp_path / "data")
    compose("restart", "--timeout", "5", "service")

    assert wait_until_ready(service) == output.split()[-1] != before


def test_the_schedule_retrains_repeatedly_and_stops_cleanly(service: httpx.Client, tmp_path: Path):
    synthesize(tmp_path / "data" / "mine", 300, seed=5)
    # Of three hundred playlists two dozen are held out, and their quality varies by chance.
    settings = {
        "SEGUE_RETRAIN_EVERY_S": "1",
        "SEGUE_RETRAIN_KEEP": "2",
        "SEGUE_RETRAIN_OPTIONS": "--profile small --factors 16 --tolerance 0.5",
    }

    compose("--profile", "retrain", "up", "--build", "--detach", "retrain", data=tmp_path / "data", **settings)
    deadline = time.monotonic() + UP_WITHIN_S
    while (output := compose("logs", "--no-color", "retrain")).count("ended with exit code 0") < 3:
        assert time.monotonic() < deadline, output
        time.sleep(1)
    assert "warm start from" in output
    compose("stop", "--timeout", "30", "retrain", data=tmp_path / "data")

    assert json.loads(compose("ps", "--all", "--format", "json", "retrain"))["ExitCode"] == 0
    listed = compose("--profile", "trainer", "run", "--rm", "-T", "trainer", "models", "list").splitlines()
    assert len(listed) - 1 <= 2 + 2  # two kept, one published since, and one that the service has open


def test_another_up_keeps_the_published_model(service: httpx.Client):
    before = wait_until_ready(service)

    compose("up", "--detach")

    assert wait_until_ready(service) == before
    assert "published already" in compose("logs", "--no-color", "first-model")
