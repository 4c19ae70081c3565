"""What each error becomes, and a service whose model is not there, not whole, or not yet."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import STATUSES, create_app, status_of
from service.engine import EngineError, Store
from service.settings import Settings


def a_client(models: Path) -> TestClient:
    return TestClient(create_app(Settings(models=models, open_interval_s=0.01)), raise_server_exceptions=False)


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
        "ModelError": 503,
        "NoModel": 503,
        "CorruptModel": 503,
        "UnsupportedFormat": 503,
        "StoreBusy": 503,
    }
    assert set(STATUSES) <= subclasses(EngineError)


def test_an_unexpected_error_is_a_problem_that_tells_nothing_of_the_inside(
    models: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("service.engine.Recommender.recommend", fail)
    with a_client(models) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        response = client.post("/recommend", json={})

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


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
        while client.get("/health/ready").status_code != 200:
            pass
        assert len(client.post("/recommend", json={"k": 3}).json()["tracks"]) == 3


@pytest.mark.parametrize("name", ["manifest.json", "vectors.npy", "heads.npy", "tracks.ann", "catalogue.sqlite"])
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
