"""Limits of requests: settings, enforced and documented from one place."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.playlists import RecommendRequest
from service.api.routing import bounded
from service.app import create_app
from service.settings import Settings

LIMITS = {"max_tracks": 3, "max_artists": 4, "max_exclude": 5, "max_title": 6, "max_k": 7, "max_batch": 2}


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    """A client on a service with small limits."""
    with TestClient(create_app(Settings(models=models, watch_interval_s=0.01, **LIMITS))) as opened:
        for _ in range(10_000):
            if opened.get("/health/ready").status_code == 200:
                break
        yield opened


@pytest.fixture(scope="module")
def description(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def faults(client: TestClient, body: Any) -> list[dict[str, str]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post("/recommend", content=content)
    assert response.status_code == 422, response.text[:300]
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()["errors"]


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("tracks", ["x"] * 3),
        ("artists", ["x"] * 4),
        ("exclude", ["x"] * 5),
        ("title", "x" * 6),
        ("k", 7),
        ("among", ["x"] * 5),
    ],
)
def test_each_limit_is_kept_to_the_last_one(field: str, most: Any, client: TestClient):
    assert client.post("/recommend", json={field: most}).status_code == 200

    more = 8 if field == "k" else most + most[:1]
    (fault,) = faults(client, {field: more})
    assert fault["field"] == f"body.{field}"


def test_dislikes_and_batches_have_limits_too(client: TestClient):
    for field, most in (("tracks", ["x"] * 3), ("artists", ["x"] * 4)):
        assert client.post("/recommend", json={"dislikes": {field: most}}).status_code == 200
        (fault,) = faults(client, {"dislikes": {field: [*most, "x"]}})
        assert fault["field"] == f"body.dislikes.{field}"
    assert client.post("/recommend/batch", json={"playlists": [{}] * 2}).status_code == 200
    assert client.post("/recommend/batch", json={"playlists": [{}] * 3}).status_code == 422


@pytest.mark.parametrize(
    ("query", "limit", "field"),
    [("/similar?" + "&".join(["track=x"] * 4), 3, "query.track"), ("/search?q=xxxxxxx", 6, "query.q"),
     ("/search?q=x&k=8", 7, "query.k"), ("/similar?track=x&k=8", 7, "query.k"),
     ("/similar?" + "&".join(["artist=x"] * 5), 4, "query.artist")],
)  # fmt: skip
def test_queries_have_the_same_limits(query: str, limit: int, field: str, client: TestClient):
    response = client.get(query)

    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["field"] == field
    assert str(limit) in fault["reason"]


def test_the_description_says_the_limits_that_are_enforced(description: dict[str, Any]):
    fields = description["components"]["schemas"]["RecommendRequest"]["properties"]

    assert [fields[name]["maxItems"] for name in ("tracks", "artists", "exclude")] == [3, 4, 5]
    assert fields["title"]["maxLength"] == 6
    assert (fields["k"]["minimum"], fields["k"]["maximum"], fields["k"]["default"]) == (1, 7, 7)
    found = {
        (path, parameter["name"]): parameter["schema"]
        for path in ("/similar", "/search")
        for parameter in description["paths"][path]["get"]["parameters"]
    }
    assert found["/similar", "track"]["maxItems"] == 3
    assert found["/similar", "artist"]["maxItems"] == 4
    assert found["/similar", "k"]["maximum"] == found["/search", "k"]["maximum"] == 7
    assert found["/search", "q"]["maxLength"] == 6


def test_fields_keep_their_texts_and_defaults_within_limits(description: dict[str, Any]):
    bound = description["components"]["schemas"]["RecommendRequest"]

    assert bound["additionalProperties"] is False
    assert bound["description"]
    assert bound["examples"]
    for name, field in RecommendRequest.model_fields.items():
        assert bound["properties"][name]["description"] == field.description
    assert set(bound["properties"]) == set(RecommendRequest.model_fields)


def test_limits_of_one_service_are_not_those_of_another():
    assert bounded(RecommendRequest, {"k": 2})(k=2).k == 2
    assert bounded(RecommendRequest, {"k": 500})(k=500).k == 500
    assert RecommendRequest(k=10**6).k == 10**6


def test_a_default_stays_within_its_limit(client: TestClient):
    answers = [client.post("/recommend", json={}), client.get("/search?q=love")]
    track = answers[0].json()["tracks"][0]["id"]
    answers.append(client.get("/similar", params={"track": track}))

    assert [len(answer.json()["tracks"]) for answer in answers] == [7] * 3


@pytest.mark.parametrize(
    "body",
    [{"tracks": [0] * 500_000}, {"artists": [0] * 500_000}, {"exclude": [None] * 200_000}, {"tracks": ["x"] * 250_000}],
    ids=["tracks", "artists", "exclude", "too many"],
)
def test_of_a_million_faults_the_first_is_told(body: Any, client: TestClient):
    content = json.dumps(body, separators=(",", ":")).encode()  # as many as a body holds

    (fault,) = faults(client, content)
    ((name, items),) = body.items()
    assert fault["field"] == f"body.{name}{'' if items[0] == 'x' else '.0'}"


@pytest.mark.parametrize("place", ["body", "artist"])
def test_of_very_many_unknown_fields_their_number_is_told_and_none_of_them(place: str, client: TestClient):
    fields = {f"field{number}": 0 for number in range(50_000)}

    (fault,) = faults(client, fields if place == "body" else {"artists": [fields]})
    assert "field1" not in json.dumps(fault)


def test_of_some_faults_the_first_twenty_are_told_by_name(client: TestClient):
    found = faults(client, {f"field{number}": 0 for number in range(100)})

    assert len(found) == 20
    assert all(len(fault["field"]) < 120 for fault in faults(client, {"x" * 10_000: 0}))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 10_000, b'{"k":' + b"9" * 100_000 + b"}", b'{"k": NaN}', b"null",
     b'{"k": 1e400}', b'{"title": "\\ud800"}', b'{"artists": [{"artist": "x", "count": 1e10}]}', b'{"tracks": {}}',
     b'{"k": true}', b'{"k": "5"}', b'{"artists": [{"artist": "x", "count": 0}]}', b'{"artists": [["x"]]}'],
)  # fmt: skip
def test_no_body_is_an_error_of_ours(content: bytes, client: TestClient):
    assert len(faults(client, content)) == 1


@pytest.mark.parametrize("query", ["track=%ff", "track=%00", "track=%ed%a0%80", "track=" + "x" * 20_000])
def test_ids_of_any_bytes_are_unknown_and_no_error_of_ours(query: str, client: TestClient):
    assert client.get(f"/similar?{query}").status_code == 404
    assert client.get("/search?q=%ed%a0%80").status_code == 200
