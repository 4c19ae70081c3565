"""Controls, dislikes, filters, reasons and batches over HTTP are the engine's; bad ones are refused by field."""

import json
from typing import Any

import pytest

from service.api.playlists import BatchResponse, DiagnoseResponse, RecommendResponse
from service.engine import Controls, Options, Playlist, Plays, Recommender
from tests.service.serving import Service

WISHES: dict[str, Any] = {
    "max_per_artist": 2, "distinct": True, "discover": True, "popularity": -0.5, "diversity": 0.25, "vary": 7,
}  # fmt: skip


def recommend(service: Service, **body: Any) -> dict[str, Any]:
    response = service.client.post("/recommend", json=body)
    assert response.status_code == 200, response.text
    RecommendResponse.model_validate_json(response.content)
    return dict(response.json())


def seeds(recommender: Recommender) -> list[str]:
    return [track.id for track in recommender.recommend([Playlist(title="jazz")], Options(6))[0].found]


def test_controls_are_those_of_the_engine(open_service: Service, recommender: Recommender):
    tracks = seeds(recommender)

    answer = recommend(open_service, tracks=tracks, k=15, **WISHES)

    (expected,) = recommender.recommend([Playlist(tracks)], Options(15, controls=Controls(**WISHES)))
    assert [track["id"] for track in answer["tracks"]] == [track.id for track in expected.found]
    assert set(answer["tracks"][0]) == {"id", "name", "artist", "score"}


def test_weights_counts_and_dislikes_are_those_of_the_engine(open_service: Service, recommender: Recommender):
    first, second, third, *rest = seeds(recommender)
    artist = recommender.popular("artists", 3)[2].name

    answer = recommend(
        open_service,
        tracks=[{"track": first, "weight": 5}, {"track": second, "count": 3}, third],
        artists=[{"artist": artist, "weight": 0.5}],
        dislikes={"tracks": [rest[0], "?"], "artists": ["nobody"]},
        k=10,
    )

    playlist = Playlist(
        [Plays(first, weight=5.0), Plays(second, 3), third],
        [Plays(artist, weight=0.5)],
        disliked_tracks=[rest[0], "?"],
        disliked_artists=["nobody"],
    )
    (expected,) = recommender.recommend([playlist], Options(10))
    assert [track["score"] for track in answer["tracks"]] == [track.score for track in expected.found]
    assert answer["unknown"] == {"tracks": ["?"], "artists": ["nobody"], "title": False}
    (plain,) = recommender.recommend([Playlist([first, second, third], [artist])], Options(10))
    assert [track.score for track in expected.found] != [track.score for track in plain.found]


def test_an_answer_that_is_short_says_so(open_service: Service, recommender: Recommender):
    tracks = seeds(recommender)

    assert recommend(open_service, among=[*tracks, "?"], k=10)["short"] is True
    assert "short" not in recommend(open_service, among=tracks, k=6)
    assert recommend(open_service, among=[], k=1) | {"model": ""} == {
        "model": "", "strategy": "popular", "seeds": {"tracks": [], "artists": []},
        "unknown": {"tracks": [], "artists": [], "title": False}, "short": True, "tracks": [],
    }  # fmt: skip


def test_reasons_are_in_each_item(open_service: Service, recommender: Recommender):
    tracks = seeds(recommender)

    answer = recommend(open_service, tracks=tracks, title="Jazz", k=3, explain=True)

    for track in answer["tracks"]:
        assert set(track["reasons"]) == {"solve", "shares", "rest", "because"}
        assert all(text for text in track["reasons"]["because"])
        assert {name for share in track["reasons"]["shares"] for name in share} == {"share", "track", "artist", "title"}
        assert all(len(share) == 2 for share in track["reasons"]["shares"])
    assert "reasons" not in recommend(open_service, tracks=tracks, k=3)["tracks"][0]


def test_filters_hold_in_every_route_that_takes_them(open_service: Service, recommender: Recommender):
    track = recommender.popular("tracks", 1)[0]
    assert track.artist is not None
    where = {"artist": track.artist.name, "playlists": {"gte": 2}}

    answer = recommend(open_service, title="jazz", where=where, fields=["playlists"], k=500)
    text = json.dumps(where)
    found = [
        open_service.client.get("/search", params={"q": track.name, "where": text}),
        open_service.client.get("/similar", params={"track": seeds(recommender)[0], "where": text}),
    ]

    assert answer["tracks"]
    assert all(each["attributes"]["playlists"] >= 2 for each in answer["tracks"])
    for listed in (answer["tracks"], *(response.json()["tracks"] for response in found)):
        assert {each["artist"]["id"] for each in listed} == {track.artist.id}


def test_a_batch_has_the_answers_of_its_playlists_alone(open_service: Service, recommender: Recommender):
    tracks = seeds(recommender)
    playlists: list[dict[str, Any]] = [
        {"tracks": tracks, "k": 5},
        {"title": "metal", "k": 7, "rank": False},
        {"title": "jazz", "kind": "artists", "k": 3},
        {"tracks": tracks, "k": 5, **WISHES},
        {},
        {"title": "folk", "k": 7, "rank": False},
    ]

    response = open_service.client.post("/recommend/batch", json={"playlists": playlists})

    assert response.status_code == 200
    BatchResponse.model_validate_json(response.content)
    content = response.json()
    alone = [recommend(open_service, **playlist) for playlist in playlists]
    assert [{"model": content["model"], **answer} for answer in content["answers"]] == alone


def test_the_fault_of_a_playlist_costs_the_others_nothing(open_service: Service):
    playlists: list[Any] = [
        {"title": "jazz", "k": 3},
        {"k": 0},
        "jazz",
        {"title": "jazz", "k": 3, "where": {"colour": "red"}},
        {"title": "jazz", "k": 3, "where": {"playlists": {"gte": 1}}},
    ]

    response = open_service.client.post("/recommend/batch", json={"playlists": playlists})

    answers = response.json()["answers"]
    assert [set(answer) == {"error"} for answer in answers] == [False, True, True, True, False]
    assert answers[0] == answers[4]
    assert [answers[place]["error"]["status"] for place in (1, 2, 3)] == [422] * 3
    assert answers[1]["error"]["errors"] == [{"field": "k", "reason": "Input should be greater than or equal to 1"}]
    assert "no attribute 'colour'" in answers[3]["error"]["detail"]


def test_a_batch_asks_for_so_many_items_in_all(open_service: Service):
    many = {"playlists": [{"k": 500}] * 21}

    response = open_service.client.post("/recommend/batch", json=many)

    assert response.status_code == 422
    assert "may ask for 10,000 items, and this one asks for 10,500" in response.json()["detail"]
    assert open_service.client.post("/recommend/batch", json={"playlists": [{"k": 500}] * 7}).status_code == 200


def test_a_batch_of_playlists_that_all_have_faults_is_answered(open_service: Service):
    bad = {"title": "jazz", "where": {"colour": "red"}}

    response = open_service.client.post("/recommend/batch", json={"playlists": [bad, bad]})

    assert response.status_code == 200
    assert ["error" in answer for answer in response.json()["answers"]] == [True, True]
    assert open_service.client.post("/recommend/batch", json={"playlists": []}).json()["answers"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_per_artist": 0}, "max_per_artist"),
        ({"max_per_artist": 1.5}, "max_per_artist"),
        ({"distinct": 1}, "distinct"),
        ({"popularity": 1.1}, "popularity"),
        ({"popularity": "0"}, "popularity"),
        ({"popularity": True}, "popularity"),
        ({"diversity": -0.1}, "diversity"),
        ({"vary": -1}, "vary"),
        ({"vary": 2**53 + 1}, "vary"),
        ({"dislikes": ["a"]}, "dislikes"),
        ({"dislikes": {"tracks": [1]}}, "dislikes.tracks.0"),
        ({"dislikes": {"albums": []}}, "dislikes.albums"),
        ({"among": "a"}, "among"),
        ({"tracks": [{"track": "a", "weight": 0}]}, "tracks.0.plays.weight"),
        ({"tracks": [{"track": "a", "weight": 101}]}, "tracks.0.plays.weight"),
        ({"tracks": [{"track": "a", "count": 0}]}, "tracks.0.plays.count"),
        ({"tracks": [{"artist": "a"}]}, "tracks.0.plays.track"),
        ({"where": [1]}, "where"),
        ({"fields": "year"}, "fields"),
        ({"fields": ["year"] * 51}, "fields"),
        ({"explain": "yes"}, "explain"),
    ],
)
def test_a_wish_that_is_none_is_refused_by_its_field(open_service: Service, body: dict[str, Any], field: str):
    response = open_service.client.post("/recommend", json=body)

    assert response.status_code == 422
    assert f"body.{field}" in [fault["field"] for fault in response.json()["errors"]]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"colour": "red"}, "no attribute 'colour'; this version has artist, playlists"),
        ({"playlists": {"gte": "many"}}, "takes a number, and 'many' came"),
        ({"playlists": {}}, "condition on 'playlists' is empty"),
    ],
)
def test_a_filter_that_is_none_is_refused_with_those_there_are(open_service: Service, where: Any, said: str):
    asked = [
        open_service.client.post("/recommend", json={"where": where}),
        open_service.client.get("/search", params={"q": "a", "where": json.dumps(where)}),
    ]

    for response in asked:
        assert response.status_code == 422
        assert said in response.json()["detail"]


def test_a_filter_in_a_query_is_json(open_service: Service):
    response = open_service.client.get("/search", params={"q": "a", "where": "year>2000"})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "query.where"


def test_a_diagnosis_names_the_stranger_and_what_is_lacking(open_service: Service, recommender: Recommender):
    jazz = [track.id for track in recommender.recommend([Playlist(title="jazz")], Options(10))[0].found]
    stranger = recommender.recommend([Playlist(title="metal")], Options(1))[0].found[0]

    response = open_service.client.post("/diagnose", json={"tracks": [*jazz, stranger.id, "?"], "k": 4})

    assert response.status_code == 200
    DiagnoseResponse.model_validate_json(response.content)
    answer = response.json()
    assert answer["tracks"][0]["id"] == stranger.id
    diagnosis = recommender.diagnose(Playlist([*jazz, stranger.id]))
    assert [track["odd"] for track in answer["tracks"]] == [fit is not None and fit.low for fit in diagnosis.fits]
    assert [track["fit"]["value"] for track in answer["tracks"]] == [fit.value for fit in diagnosis.fits if fit]
    assert set(answer["tracks"][0]) == {"id", "name", "artist", "fit", "odd"}
    assert answer["unknown"]["tracks"] == ["?"]
    (expected,) = recommender.recommend([Playlist([*jazz, stranger.id])], Options(4))
    assert [track["id"] for track in answer["lacks"]] == expected.found.ids
    assert open_service.client.post("/diagnose", json={"tracks": ["?"]}).status_code == 422
    assert open_service.client.post("/diagnose", json={"tracks": ["?"] * 201}).status_code == 422
