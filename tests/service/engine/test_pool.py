"""The pool: candidates of neighbours and of the solve, without what an answer must not contain."""

import numpy as np
import pytest

from service.engine import INPUTS, Options, Playlist, Recommender
from service.engine.exact import RankingVectors
from service.engine.inputs import ItemFacts, Query
from service.engine.playlists import Playlists
from service.engine.pool import LEAST, POOLED, SCORED, Pooling, sums_of


def pool_of(recommender: Recommender, playlist: Playlist) -> set[str]:
    (pool,) = recommender.pools([playlist])
    assert pool is not None
    assert (np.diff(pool.rows) > 0).all()
    assert len(pool.rows) == len(pool.solve) == len(pool.inputs)
    assert np.isfinite(pool.inputs).all()
    return {item.id for item in recommender.items("tracks", pool.rows.tolist())}


@pytest.mark.parametrize("title", ["jazz", "late night jazz", "metal"])
def test_a_pool_has_the_best_of_the_solve_and_more(recommender: Recommender, title: str):
    (solved,) = recommender.recommend([Playlist(title=title)], Options(100, rank=False))
    found = pool_of(recommender, Playlist(title=title))

    assert LEAST <= len(found) <= POOLED
    assert len(found & {track.id for track in solved.found}) > 90


def test_seeds_and_exclusions_are_no_candidates(recommender: Recommender):
    seeds, excluded = (
        [track.id for track in recommender.popular("tracks", 60)[start : start + 30]] for start in (0, 30)
    )

    assert not pool_of(recommender, Playlist(tracks=seeds, exclude=excluded)) & {*seeds, *excluded}


def test_blocked_items_are_no_candidates(recommender: Recommender):
    blocked = [track.id for track in recommender.recommend([Playlist(title="jazz")], Options(50))[0].found]
    try:
        recommender.block(blocked)
        assert not pool_of(recommender, Playlist(title="jazz")) & set(blocked)
    finally:
        recommender.block([])


def test_unknown_seeds_and_titles_are_among_the_inputs(recommender: Recommender):
    known = recommender.popular("tracks", 1)[0].id
    pools = recommender.pools([Playlist(tracks=[known, "unknown"], title="qqqq"), Playlist(tracks=[known])])

    names = ("known_share", "titled", "terms")
    described = [[float(pool.inputs[0, INPUTS.index(name)]) for name in names] for pool in pools if pool is not None]
    assert described == [[0.5, 1, 0], [1, 0, 0]]


def test_candidates_keep_their_votes_when_most_items_are_left_out():
    """Playlist n of ten has 399 (n + 1) items, those of the one before among them, and is the nearer."""
    n_items, random = 4000, np.random.default_rng(0)
    lengths = [399 * (n + 1) for n in range(10)]
    shuffled = random.permutation(n_items - 1).astype(np.int32)
    items = np.concatenate([shuffled[:length] for length in lengths])
    playlists = Playlists(
        np.concatenate(([0], np.cumsum(lengths))), items, np.array([0, 10]), np.arange(10, dtype=np.int32),
        np.linspace(1, 2, 10, dtype=np.float32), np.ones(1, np.float32),
    )  # fmt: skip
    vectors = random.standard_normal((n_items, 8)).astype(np.float32)
    vectors = vectors[np.argsort(-np.linalg.norm(vectors, axis=1))]
    facts = ItemFacts(
        RankingVectors.of(vectors), np.ones(n_items, np.int32), np.full(n_items, -1, np.int32), np.empty(0, np.int32)
    )
    query = Query(vectors[0], [3999], np.ones(1, np.float32), [], 0, 0, False)
    features = np.zeros(1, np.int32), np.ones(1, np.float32)

    pool = Pooling(facts, playlists, 10, None).pool(query, features, [3999], None, 100)

    assert len(pool.rows) == POOLED
    assert (pool.rows > SCORED).any()
    votes = sums_of(pool.rows, playlists.vote(*features, 10))
    ratios, by_title = (pool.inputs[:, INPUTS.index(name)] for name in ("votes_ratio", "titles_ratio"))
    np.testing.assert_allclose(ratios / ratios[0], votes / votes[0], rtol=1e-5)
    assert not by_title.any()


def test_nothing_known_has_no_pool(recommender: Recommender):
    assert recommender.pools([Playlist(), Playlist(tracks=["unknown"])]) == [None, None]


def test_a_catalogue_with_everything_excluded_has_an_empty_pool(recommender: Recommender):
    everything = [track.id for track in recommender.popular("tracks", recommender.manifest.shape.tracks)]

    assert pool_of(recommender, Playlist(title="jazz", exclude=everything)) == set()
    (answer,) = recommender.recommend([Playlist(title="jazz", exclude=everything)], Options(5))
    assert answer.found == []


def test_an_answer_alone_is_the_answer_in_a_batch(recommender: Recommender):
    tracks = [track.id for track in recommender.popular("tracks", 300)]
    playlists = [
        Playlist(tracks[start : start + 1 + start // 10], title="jazz" * (start % 2)) for start in range(0, 200, 7)
    ]

    together = recommender.recommend([*playlists, Playlist()], Options(50))

    assert together == [recommender.recommend([playlist], Options(50))[0] for playlist in [*playlists, Playlist()]]


def test_a_thousand_seeds_and_unknown_ones_are_ranked(recommender: Recommender):
    tracks = [track.id for track in recommender.popular("tracks", 1000)]

    answers = recommender.recommend([Playlist(tracks), Playlist([tracks[0], "nowhere"], title="jazz")], Options(100))

    assert [(answer.strategy, len(answer.found)) for answer in answers] == [("ranked", 100)] * 2
    assert not {item.id for item in answers[0].found} & set(tracks)
