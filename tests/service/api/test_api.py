"""The endpoints: the contract of docs/api.md, on a service that is ready."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.playlists import KnownSeeds, RecommendResponse, SimilarResponse
from service.app import create_app
from service.engine import KINDS, Kind, Recommender
from service.settings import Settings
from tests.conftest import wait_until_ready

ODD_IDS = ["", " ", "a\0b", "🎵", "'; DROP TABLE tracks; --", "../../etc/passwd", "x" * 10_000, "\u202e", "%00", "null"]


@pytest.fixture(scope="module")
def ids(recommender: Recommender) -> list[str]:
    """Ids of popular tracks."""
    return [track.id for track in recommender.popular("tracks", 50)]


def recommend(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/recommend", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer: dict[str, Any] = response.json()
    return answer


def test_every_kind_of_playlist_gets_k_tracks(client: TestClient, ids: list[str], recommender: Recommender):
    version = recommender.manifest.version
    for body, strategy in (
        ({"tracks": ids[:5]}, "ranked"),
        ({"title": "late night jazz"}, "ranked"),
        ({"tracks": ids[:5], "title": "jazz"}, "ranked"),
        ({"artists": [recommender.popular("tracks", 1)[0].artist.name]}, "ranked"),
        ({}, "popular"),
        ({"tracks": ["unknown"]}, "popular"),
    ):
        answer = recommend(client, **body, k=25)
        assert set(answer) == {"model", "strategy", "seeds", "unknown", "tracks"}
        assert (answer["model"], answer["strategy"], len(answer["tracks"])) == (version, strategy, 25)
        assert set(answer["tracks"][0]) == {"id", "name", "artist", "score"}
        assert set(answer["tracks"][0]["artist"]) == {"id", "name"}


def test_the_ranker_can_be_left_out(client: TestClient, models: Path, ids: list[str]):
    ranked, solved = (recommend(client, tracks=ids[:5], rank=rank) for rank in (True, False))
    with TestClient(create_app(Settings(models=models, ranker=False))) as off:
        wait_until_ready(off)
        never = recommend(off, tracks=ids[:5], rank=True)

    assert (ranked["strategy"], solved["strategy"]) == ("ranked", "fold-in")
    assert never == solved
    assert ranked["tracks"] != solved["tracks"]


def test_k_is_100_unless_given_and_up_to_500(client: TestClient):
    assert len(recommend(client)["tracks"]) == 100
    assert len(recommend(client, k=1)["tracks"]) == 1
    assert len(recommend(client, k=500, title="jazz")["tracks"]) == 500


def test_the_same_question_has_one_answer(client: TestClient, ids: list[str]):
    first = client.post("/recommend", json={"tracks": ids[:7], "title": "folk"}).content

    assert all(client.post("/recommend", json={"tracks": ids[:7], "title": "folk"}).content == first for _ in range(5))


def test_odd_ids_are_merely_unknown(client: TestClient):
    answer = recommend(client, tracks=ODD_IDS, artists=ODD_IDS, exclude=ODD_IDS, title="\0\u202e🦄", k=3)

    assert answer["unknown"] == {"tracks": ODD_IDS, "artists": ODD_IDS, "title": True}
    assert len(answer["tracks"]) == 3


def test_seeds_given_twice_count_once_and_never_come_back(client: TestClient, ids: list[str]):
    once, twice = recommend(client, tracks=ids[:3]), recommend(client, tracks=[*ids[:3], *ids[:3]])

    assert once == twice
    assert not {track["id"] for track in once["tracks"]} & set(ids[:3])


def test_exclusions_never_come_back(client: TestClient, ids: list[str]):
    answer = recommend(client, tracks=ids[:3], exclude=ids, k=500)

    assert len(answer["tracks"]) == 500
    assert not {track["id"] for track in answer["tracks"]} & set(ids)


def test_the_largest_request_that_is_allowed_is_answered(client: TestClient, ids: list[str]):
    many = [f"t{i}" for i in range(10_000)]
    answer = recommend(client, tracks=[*ids[:1], *many[:999]], artists=many[:1000], exclude=many, title="x" * 1000)

    assert len(answer["unknown"]["tracks"]) == 999
    assert len(answer["tracks"]) == 100


def test_exclusions_that_leave_fewer_than_k_are_answered_with_what_is_left(
    client: TestClient, recommender: Recommender
):
    everything = [track.id for track in recommender.popular("tracks", recommender.manifest.shape.tracks)]

    answer = recommend(client, exclude=everything[:-500], tracks=everything[-500:-5], k=500)

    assert {track["id"] for track in answer["tracks"]} == set(everything[-5:])


BODIES: list[tuple[str | bytes, str]] = [
    ("", "not valid JSON"),
    ("{", "not valid JSON"),
    ("[]", "or object"),
    ("null", "body"),
    ('"x"', "or object"),
    ('{"k": 0}', "body.k"),
    ('{"k": 501}', "body.k"),
    ('{"k": "many"}', "body.k"),
    ('{"k": "10"}', "body.k"),
    ('{"k": 10.5}', "body.k"),
    ('{"k": true}', "body.k"),
    ('{"k": null}', "body.k"),
    ('{"k": NaN}', "not valid JSON"),
    ('{"tracks": null}', "body.tracks"),
    ('{"tracks": "t"}', "body.tracks"),
    ('{"tracks": [1]}', "body.tracks.0"),
    ('{"tracks": [null]}', "body.tracks.0"),
    ('{"tracks": {"a": 1}}', "body.tracks"),
    ('{"artists": [["a"]]}', "body.artists.0"),
    ('{"title": null}', "body.title"),
    ('{"title": 5}', "body.title"),
    ('{"exclude": 5}', "body.exclude"),
    ('{"trakcs": []}', "body.trakcs"),
    ('{"tracks": ["\\ud800"]}', "not valid JSON"),
    ('{"\\ud800": 1}', "not valid JSON"),
    (b'{"title": "\xff"}', "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ('{"k": ' + "9" * 5000 + "}", "body"),
    (json.dumps({"tracks": ["t"] * 10_000}), "body.tracks"),
    (json.dumps({"artists": ["t"] * 1001}), "body.artists"),
    (json.dumps({"exclude": ["t"] * 10_001}), "body.exclude"),
    (json.dumps({"title": "x" * 2**19}), "body.title"),
]


@pytest.mark.parametrize(("body", "said"), BODIES, ids=[str(body[:30]) for body, _ in BODIES])
def test_a_body_that_is_not_of_the_contract_is_refused_by_name(client: TestClient, body: str | bytes, said: str):
    response = client.post("/recommend", content=body, headers={"content-type": "application/json"})

    assert_problem(response, 422, said)


def test_a_body_is_read_as_json_whatever_it_is_called(client: TestClient):
    """As `curl -d` sends it, for one."""
    form = {"content-type": "application/x-www-form-urlencoded"}

    assert client.post("/recommend", content='{"k": 3}').status_code == 200
    assert client.post("/recommend", content='{"k": 3}', headers=form).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/recommend", 405),
        ("DELETE", "/similar", 405),
        ("POST", "/health/live", 405),
        ("POST", "/", 405),
        ("GET", "/nope", 404),
        ("POST", "/recommend/", 404),
        ("GET", "/similar/../../etc/passwd", 404),
    ],
)
def test_a_method_or_path_that_does_not_exist_is_a_problem(client: TestClient, method: str, path: str, status: int):
    assert_problem(client.request(method, path), status, "/docs")


def test_neighbours_of_a_track(client: TestClient, ids: list[str], recommender: Recommender):
    answer = client.get("/similar", params={"track": ids[0]}).json()

    assert answer["model"] == recommender.manifest.version
    assert len(answer["tracks"]) == 20
    assert set(answer["tracks"][0]) == {"id", "name", "artist", "score"}
    assert ids[0] not in {track["id"] for track in answer["tracks"]}


def test_neighbours_of_several_tracks_together(client: TestClient, ids: list[str]):
    answer = client.get("/similar", params={"track": ids[:3], "k": 500}).json()

    assert len(answer["tracks"]) == 500
    assert not {track["id"] for track in answer["tracks"]} & set(ids[:3])


def test_neighbours_of_an_artist_by_id_name_or_case(client: TestClient, recommender: Recommender):
    artist = recommender.popular("tracks", 1)[0].artist
    assert artist is not None
    answers = [
        client.get("/similar", params={"artist": name}).json() for name in (artist.id, artist.name, artist.name.upper())
    ]

    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]["artists"]) == 20
    assert set(answers[0]["artists"][0]) == {"id", "name", "score"}


def test_answers_name_the_seeds_that_they_took(client: TestClient, recommender: Recommender):
    track, artist = recommender.popular("tracks", 1)[0], recommender.popular("artists", 1)[0]
    assert track.artist is not None
    tracks = [f"{track.artist.name} - {track.name}".upper(), "nope"]
    artists = [f"name:{artist.name}", {"artist": artist.id, "count": 3}]
    of_track = {"id": track.id, "name": track.name, "artist": vars(track.artist), "popularity": track.popularity}
    of_artist = {"id": artist.id, "name": artist.name, "popularity": artist.popularity}

    answer = recommend(client, tracks=tracks, artists=artists)
    assert answer["seeds"] == {"tracks": [of_track], "artists": [of_artist]}
    assert answer["unknown"]["tracks"] == ["nope"]
    assert client.get("/similar", params={"track": track.id}).json()["seeds"] == {"tracks": [of_track]}
    assert client.get("/similar", params={"artist": artists[0]}).json()["seeds"] == {"artists": [of_artist]}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_have_the_shape_that_is_documented(client: TestClient, recommender: Recommender, kind: Kind):
    item = recommender.popular(kind, 1)[0]

    answer = client.post("/recommend", json={kind: [item.id], "kind": kind}).content
    similar = client.get("/similar", params={kind.removesuffix("s"): item.id}).content
    assert RecommendResponse.model_validate_json(answer, strict=True).seeds == KnownSeeds(**{kind: [item]})
    assert SimilarResponse.model_validate_json(similar, strict=True).seeds == KnownSeeds(**{kind: [item]})


@pytest.mark.parametrize("params", [{"track": "nope"}, {"artist": "nope"}, {"track": "\0"}, {"artist": ""}])
def test_neighbours_of_what_is_not_known_are_not_found(client: TestClient, params: dict[str, str]):
    assert_problem(client.get("/similar", params=params), 404, "does not know")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "one or more"),
        ("k=5", "one or more"),
        ("track=a&artist=b", "one or more"),
        ("track=a&k=0", "query.k"),
        ("track=a&k=501", "query.k"),
        ("track=a&k=many", "query.k"),
        ("track=a&kk=5", "query.kk"),
        ("&".join(f"track={i}" for i in range(1001)), "query.track"),
    ],
)
def test_a_query_that_is_not_of_the_contract_is_refused_by_name(client: TestClient, query: str, said: str):
    assert_problem(client.get(f"/similar?{query}"), 422, said)


def test_search_finds_the_ids_that_other_calls_take(client: TestClient, recommender: Recommender):
    track = recommender.popular("tracks", 1)[0]
    assert track.artist is not None

    found = client.get("/search", params={"q": f"{track.name} {track.artist.name}".upper()}).json()["tracks"]

    assert found[0] == {
        "id": track.id,
        "name": track.name,
        "artist": {"id": track.artist.id, "name": track.artist.name},
        "popularity": track.popularity,
    }
    assert client.get("/search", params={"q": "qqqq"}).json()["tracks"] == []
    assert_problem(client.get("/search"), 422, "query.q")


def test_the_model_is_described_by_its_manifest(client: TestClient, recommender: Recommender):
    answer = client.get("/model").json()

    assert answer == json.loads(json.dumps(recommender.manifest.content()))
    assert answer["metrics"]["ndcg"] > 0


def test_health_says_live_and_ready(client: TestClient, recommender: Recommender):
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready", "model": recommender.manifest.version}


def test_the_examples_of_the_description_work_when_pasted(client: TestClient):
    paths = client.get("/openapi.json").json()["paths"]

    examples = paths["/recommend"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        answer = client.post("/recommend", json=example["value"]).json()
        assert len(answer[example["value"].get("kind", "tracks")]) == example["value"].get("k", 100)
        assert answer["unknown"]["tracks"] == answer["unknown"]["artists"] == []
    for path, name in (("/similar", "track"), ("/search", "q")):
        parameter = next(p for p in paths[path]["get"]["parameters"] if p["name"] == name)
        assert client.get(path, params={name: parameter["example"]}).json()["tracks"]


def test_the_description_tells_of_problems_in_the_one_shape(client: TestClient):
    description = client.get("/openapi.json").json()

    assert "HTTPValidationError" not in description["components"]["schemas"]
    for path in description["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]


def assert_problem(response: Any, status: int, said: str) -> None:
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert {"type", "title", "status", "detail"} <= set(problem) <= {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status
    assert said in problem["detail"], problem
    assert len(response.content) < 10_000


def test_artists_are_recommended_where_they_are_asked_for(client: TestClient, ids: list[str]):
    for body, strategy in (({"tracks": ids[:5]}, "fold-in"), ({"title": "jazz"}, "fold-in"), ({}, "popular")):
        answer = recommend(client, **body, kind="artists", k=7)
        assert set(answer) == {"model", "strategy", "seeds", "unknown", "artists"}
        assert (answer["strategy"], len(answer["artists"])) == (strategy, 7)
        assert set(answer["artists"][0]) == {"id", "name", "score"}


def test_artists_may_come_with_plays(client: TestClient, recommender: Recommender):
    name = recommender.popular("artists", 1)[0].name

    answer = recommend(
        client, artists=[{"artist": name, "count": 500}, "nobody", {"artist": "nor me", "count": 1}], k=3
    )
    assert answer["strategy"] == "ranked"
    assert answer["unknown"]["artists"] == ["nobody", "nor me"]


@pytest.mark.parametrize(
    ("artists", "field"),
    [
        ([5], "body.artists.0"),
        ([None], "body.artists.0"),
        ([["a"]], "body.artists.0"),
        ([{"count": 1}], "body.artists.0.plays.artist"),
        ([{"artist": "a", "count": 0}], "body.artists.0.plays.count"),
        ([{"artist": "a", "count": -1}], "body.artists.0.plays.count"),
        ([{"artist": "a", "count": 1.5}], "body.artists.0.plays.count"),
        ([{"artist": "a", "count": 10**10}], "body.artists.0.plays.count"),
        ([{"artist": 1, "count": 1}], "body.artists.0.plays.artist"),
        ([{"artist": "a", "count": 1, "x": 1}], "body.artists.0.plays.x"),
    ],
)
def test_a_mention_that_is_none_is_refused_by_its_place(client: TestClient, artists: list[Any], field: str):
    response = client.post("/recommend", json={"artists": artists})

    assert response.status_code == 422
    assert [fault["field"] for fault in response.json()["errors"]] == [field]


def test_artists_are_searched_where_they_are_asked_for(client: TestClient, recommender: Recommender):
    artist = recommender.popular("artists", 1)[0]

    found = client.get("/search", params={"q": artist.name, "kind": "artists"}).json()["artists"]
    assert found[0] == {"id": artist.id, "name": artist.name, "popularity": artist.popularity}


def test_a_kind_that_is_none_is_refused(client: TestClient):
    assert client.post("/recommend", json={"kind": "albums"}).status_code == 422
    assert client.get("/search", params={"q": "x", "kind": "albums"}).status_code == 422
