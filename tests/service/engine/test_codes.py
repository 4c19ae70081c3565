"""Codes give inner products within the errors that they state, the same whatever they are asked together with."""

from itertools import pairwise

import numpy as np
import pytest

from service.engine.codes import Codes, encode, even_axes


def vectors(n: int, n_factors: int, seed: int = 0) -> np.ndarray:
    """Vectors of many lengths, falling."""
    random = np.random.default_rng(seed)
    found = (random.standard_normal((n, n_factors)) * random.random((n, 1)) ** 3).astype(np.float32)
    return found[np.argsort(-np.linalg.norm(found, axis=1))]


def codes_of(*parts: np.ndarray) -> Codes:
    return Codes.of(parts, np.linalg.norm(np.hstack(parts), axis=1))


@pytest.mark.parametrize("n_factors", [1, 3, 16, 64, 128, 200])
def test_a_product_errs_by_little_more_than_the_error_of_its_shell(n_factors: int):
    rows, queries = vectors(3000, n_factors), vectors(40, n_factors, seed=1)
    rows[-1] = 0
    codes, lengths = codes_of(rows), np.linalg.norm(rows, axis=1)

    for query in queries:
        products, exact = codes.products(np.arange(3000), query), rows.astype(np.float64) @ query.astype(np.float64)
        bounds = np.linalg.norm(query) * (codes.of_each(codes.errors, 0, 3000) + 1e-3 * lengths)
        assert (np.abs(products - exact) <= bounds).all()
    assert (codes.of_each(codes.errors, 0, 2000) <= 0.02 * lengths[:2000]).all()  # the bound is worth something


def test_the_vectors_of_a_shell_have_about_the_same_length():
    rows = np.vstack((vectors(3000, 8), np.zeros((9, 8), np.float32)))
    lengths, shells = np.linalg.norm(rows, axis=1), codes_of(rows).shells

    assert (shells[0], shells[-1]) == (0, 3009)
    for first, last in pairwise(shells):
        assert lengths[last - 1] >= 0.86 * lengths[first]


def test_each_row_has_the_number_of_its_shell():
    codes = codes_of(vectors(3000, 8))
    numbers = np.arange(len(codes.steps))
    of_rows = codes.of_each(numbers, 0, 3000)

    assert len(set(of_rows)) > 5
    assert (codes.of_each(numbers, 700, 2100) == of_rows[700:2100]).all()
    assert all(codes.shells[of_rows[row]] <= row < codes.shells[of_rows[row] + 1] for row in range(3000))


def test_products_do_not_depend_on_what_they_are_asked_with():
    codes, query = codes_of(vectors(500, 48)), vectors(33, 48, seed=2)[5]
    together = codes.products(np.arange(500), query)

    for rows in ([7], [3, 4, 77, 499], list(range(0, 500, 3))):
        assert (codes.products(np.array(rows), query) == together[rows]).all()


@pytest.mark.parametrize("n_queries", [1, 2, 15, 16, 64])
@pytest.mark.parametrize("n_factors", [1, 50, 128])
def test_products_of_codes_are_sums_of_integers_for_any_number_of_queries(n_queries: int, n_factors: int):
    codes = codes_of(vectors(700, n_factors))
    queries, _ = encode(vectors(n_queries, n_factors, seed=3))

    found = codes.multiply(100, 600, queries)

    assert found.flags.writeable
    assert (found == queries.astype(np.int64) @ codes.values[100:600].astype(np.int64).T).all()


def test_a_query_without_length_has_products_of_nothing():
    assert not codes_of(vectors(20, 8)).products(np.arange(20), np.zeros(8, np.float32)).any()


def test_axes_in_parts_are_coded_as_one_vector():
    rows = vectors(70_000, 5)
    whole, parts = codes_of(rows), codes_of(rows[:, :2], rows[:, 2:])

    assert (whole.values == parts.values).all()
    assert (whole.errors == parts.errors).all()


def test_no_vectors_have_codes():
    codes = codes_of(np.empty((0, 5), np.float32))

    assert (codes.shells.tolist(), codes.values.shape) == ([0], (0, 5))


def test_turning_the_axes_changes_no_inner_product():
    rows = vectors(50, 12)
    turned = rows @ even_axes(12)

    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, atol=1e-5)


def test_turned_axes_carry_about_as_much():
    rows = vectors(2000, 64) * np.array([8] + [1] * 63, np.float32)

    before, after = (np.square(each).sum(axis=0) for each in (rows, rows @ even_axes(64)))

    assert before.max() > 20 * np.median(before)
    assert after.max() < 10 * np.median(after)
