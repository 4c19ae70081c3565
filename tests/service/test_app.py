"""Errors of the engine as statuses, and services whose model is missing, damaged or late."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.errors import STATUSES, status_of
from service.app import create_app
from service.engine import EngineError, Store
from service.settings import Settings


def a_client(models: Path) -> TestClient:
    return TestClient(create_app(Settings(models=models, watch_interval_s=0.01)), raise_server_exceptions=False)


def reason(client: TestClient) -> str:
    """Why the service is not ready, once it has tried."""
    for _ in range(10_000):
        response = client.get("/health/ready")
        if "being opened" not in response.text:
            break
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"]
    return str(response.json()["detail"])


def until_ready(client: TestClient) -> None:
    for _ in range(10_000):
        if client.get("/health/ready").status_code == 200:
            return
    raise AssertionError(client.get("/health/ready").text)


def refuses_everything(client: TestClient) -> bool:
    calls: list[Any] = [client.post("/recommend", json={}), client.get("/similar?track=x"), client.get("/model")]
    return all(call.status_code == 503 for call in calls)


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Path:
    """A copy of a store that a test may damage."""
    return Path(shutil.copytree(models, tmp_path / "models"))


def subclasses(error: type[EngineError]) -> set[type[EngineError]]:
    return {error}.union(*(subclasses(child) for child in error.__subclasses__()))


def test_every_error_of_the_engine_has_a_status():
    found = {error.__name__: int(status_of(error)) for error in subclasses(EngineError)}

    assert found == {
        "EngineError": 500,
        "PlaylistError": 422,
        "UnknownSeed": 404,
        "BadFilter": 422,
        "ModelError": 503,
        "NoModel": 503,
        "CorruptModel": 503,
        "UnsupportedFormat": 503,
        "ModelClosed": 503,
        "StoreBusy": 503,
        "StoreChanged": 503,
        "UnusableStore": 503,
    }
    assert set(STATUSES) <= subclasses(EngineError)


def test_before_a_model_is_published_the_service_is_live_not_ready_and_says_why(tmp_path: Path):
    with a_client(tmp_path / "missing") as client:
        assert client.get("/health/live").status_code == 200
        assert "missing does not exist" in reason(client)
        assert refuses_everything(client)


def test_an_empty_store_says_how_to_publish(tmp_path: Path):
    with a_client(tmp_path) as client:
        assert "python -m trainer train" in reason(client)
        assert "holds no published version" in reason(client)


def test_a_model_that_is_published_later_is_opened_without_a_restart(models: Path, tmp_path: Path):
    with a_client(tmp_path / "later") as client:
        assert "does not exist" in reason(client)
        shutil.copytree(models, tmp_path / "staging")
        (tmp_path / "staging").rename(tmp_path / "later")
        until_ready(client)
        assert len(client.post("/recommend", json={"k": 3}).json()["tracks"]) == 3


@pytest.mark.parametrize(
    "name", ["manifest.json", "vectors.npy", "tracks_ranking.npy", "tracks.ann", "catalogue.sqlite"]
)
def test_a_half_written_version_is_never_served(copy: Path, name: str):
    path = Store(copy).current() / name
    path.write_bytes(path.read_bytes()[:1000])

    with a_client(copy) as client:
        assert name in reason(client)
        assert refuses_everything(client)
        assert client.get("/health/live").status_code == 200


def test_a_file_that_does_not_match_its_checksum_is_never_served(copy: Path):
    path = Store(copy).current() / "vectors.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with a_client(copy) as client:
        assert "vectors.npy differs from its manifest" in reason(client)
        assert refuses_everything(client)


def test_a_version_that_is_only_staged_is_not_served(copy: Path):
    version = Store(copy).current()
    version.rename(copy / f".staging-{version.name}")

    with a_client(copy) as client:
        assert "not a version" in reason(client)


def test_a_model_that_replaces_a_damaged_one_is_opened_without_a_restart(copy: Path, models: Path):
    path = Store(copy).current() / "vectors.npy"
    path.write_bytes(path.read_bytes()[:1000])

    with a_client(copy) as client:
        assert "vectors.npy" in reason(client)
        shutil.copy(Store(models).current() / "vectors.npy", path)
        until_ready(client)


def test_an_unexpected_error_is_reported_and_tried_again(copy: Path):
    """A directory in the place of a file is damage that no check expects."""
    path = Store(copy).current() / "catalogue.sqlite"
    content = path.read_bytes()
    path.unlink()
    path.mkdir()

    with a_client(copy) as client:
        assert reason(client)
        path.rmdir()
        path.write_bytes(content)
        until_ready(client)


def test_a_manifest_nested_without_end_is_never_served(copy: Path):
    (Store(copy).current() / "manifest.json").write_text("[" * 100_000)

    with a_client(copy) as client:
        assert "not a readable manifest" in reason(client)
