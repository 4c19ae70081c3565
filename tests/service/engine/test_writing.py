"""A version is written in the order that searches rely on, and its manifest describes it."""

from pathlib import Path

import numpy as np

from service.engine import Artifacts, Manifest, Recommender, amend_version


def test_the_manifest_describes_every_other_file(version: Path):
    described = Manifest.read(version).files

    assert set(described) == {path.name for path in version.iterdir()} - {"manifest.json"}
    assert {"vectors.npy", "tracks.ann", "artists.ann", "catalogue.sqlite", "metrics.json"} <= set(described)


def test_every_number_that_changes_an_answer_is_in_the_manifest(version: Path):
    numbers = Manifest.read(version).numbers

    assert {"factors", "alpha", "regularization", "beta", "artist_weight", "title_weight", "gram_weight"} <= set(
        numbers
    )
    assert {"iterations", "seed", "trees", "tracks_effort", "artists_effort"} <= set(numbers)


def test_tracks_are_written_by_falling_norm_then_popularity_then_id(version: Path):
    recommender = Recommender.open(version)
    artifacts = recommender.artifacts
    tracks = recommender.items("tracks", range(artifacts.space.n_tracks))
    candidates = artifacts.candidates["tracks"]
    keys = [
        (-norm, -track.popularity, track.id)
        for norm, track in zip(candidates.ranking.norms.tolist(), tracks, strict=True)
    ]

    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    popular = [(-tracks[row].popularity, tracks[row].id) for row in candidates.popular]
    assert popular == sorted(popular)
    assert (candidates.popular_ranks[candidates.popular] == np.arange(len(tracks))).all()
    recommender.close()


def test_ranking_vectors_add_a_share_of_the_artist(version: Path):
    artifacts = Artifacts.open(version)
    tracks = artifacts.candidates["tracks"]
    (ranking,) = tracks.ranking.parts
    n_tracks, beta = artifacts.space.n_tracks, artifacts.manifest.numbers["beta"]
    expected = artifacts.vectors[:n_tracks] + beta * artifacts.vectors[n_tracks + artifacts.space.track_artists]

    np.testing.assert_allclose(ranking, expected, atol=1e-5)
    artifacts.close()


def test_a_file_that_is_added_is_described_with_the_facts_about_it(version: Path):
    before = Manifest.read(version)
    (version / "extra.json").write_text("{}")

    after = amend_version(version, {"note": 1}, {"ndcg": 0.5})

    assert after == Manifest.read(version)
    assert set(after.files) - set(before.files) == {"extra.json"}
    assert after.training == {**before.training, "note": 1}
    assert after.metrics == {"ndcg": 0.5}
    assert amend_version(version, {}).metrics == {"ndcg": 0.5}
    Artifacts.open(version).close()
