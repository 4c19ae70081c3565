"""The JSON of items: ready in the version, or made from its catalogue, and what Python gets of it."""

import json
from pathlib import Path

import numpy as np

from service.engine import Artist, CountedArtist, Items, Options, Playlist, Recommender, ScoredTrack, Track
from service.engine.catalogue import Catalogue, write_catalogue
from service.engine.items import item_fields, scored_items
from service.engine.records import CatalogueRecords, MappedRecords

NAMES = ['quotes " and \\', "Jóga 日本", "", "\x00\x1f\u2028 😀", "},{"]


def test_records_are_those_of_the_catalogue(tmp_path: Path):
    artists = [(f"a:{n}", name, 9 - n, n) for n, name in enumerate(NAMES)]
    tracks = [(f"t:{n}", name, n if n % 2 else None, n + 1, n) for n, name in enumerate(NAMES)]
    write_catalogue(tmp_path / "c.sqlite", tracks, artists, [], [])
    of_artists = [("artist", f"a:{n}", name) for n, name in enumerate(NAMES)]
    fields = {
        "artists": [item_fields("artists", id_, name) for _, id_, name in of_artists],
        "tracks": [
            item_fields("tracks", id_, name, *(() if artist is None else (artists[artist][:2])))
            for id_, name, artist, *_ in tracks
        ],
    }
    popularity = {"artists": np.array([9, 8, 7, 6, 5], np.int32), "tracks": np.arange(1, 6, dtype=np.int32)}
    catalogue = Catalogue.open(tmp_path / "c.sqlite")

    for kind in ("tracks", "artists"):
        mapped = MappedRecords.of(fields[kind], popularity[kind]).read([4, 0, 3])
        read = CatalogueRecords(catalogue, kind).read([4, 0, 3])
        assert [list(map(bytes, mapped[0])), mapped[1]] == [list(read[0]), read[1]]
        assert [json.loads(b"{" + bytes(text) + b"}") for text in mapped[0]] == [fields[kind][n] for n in (4, 0, 3)]
    catalogue.close()


def test_items_are_the_objects_that_their_json_says():
    records = [b'"id":"t","name":"n","artist":{"id":"a","name":"b"}', b'"id":"u","name":"","artist":null']

    found = scored_items("tracks", records, [1.5, -0.25])

    assert found == [ScoredTrack("t", "n", Artist("a", "b"), 1.5), ScoredTrack("u", "", None, -0.25)]
    assert json.loads(found.json) == [
        {"id": "t", "name": "n", "artist": {"id": "a", "name": "b"}, "score": 1.5},
        {"id": "u", "name": "", "artist": None, "score": -0.25},
    ]
    assert (len(found), found[1].id, [item.id for item in found[:1]]) == (2, "u", ["t"])


def test_no_items_are_an_empty_list():
    found: Items[ScoredTrack] = scored_items("tracks", [], [])

    assert (list(found), found.json) == ([], b"[]")


def test_each_kind_comes_with_its_own_fields(recommender: Recommender):
    (track,), (artist,) = recommender.popular("tracks", 1), recommender.popular("artists", 1)
    (answer,) = recommender.recommend([Playlist([track.id])], Options(3))

    assert isinstance(track, Track)
    assert isinstance(artist, CountedArtist)
    assert [list(item) for item in json.loads(answer.found.json)] == [["id", "name", "artist", "score"]] * 3
