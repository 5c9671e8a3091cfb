"""The inverted index: what a dense product finds, ties and all, and every word's part in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.errors import NotFinite
from pairwright.components.models.dual_encoders.inverted_index import InvertedIndex, SparseRows
from pairwright.components.models.dual_encoders.posting_kernels import best


def dense_best(queries: np.ndarray, items: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By a full product and a full sort: score down, number up."""
    scores = queries.astype(np.float64) @ items.astype(np.float64).T
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores), axis=1)[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def drawn(rows: int, width: int, seed: int, share: float = 0.2, steps: int = 4) -> np.ndarray:
    """Weights that are multiples of 1/steps, so that sums are exact whatever their order and ties abound."""
    draw = np.random.default_rng(seed)
    weights = draw.integers(-steps, steps + 1, (rows, width)) / steps
    return np.where(draw.random((rows, width)) < share, weights, 0).astype(np.float32)


@settings(deadline=None)  # the first example compiles
@given(
    st.integers(1, 40), st.integers(1, 30), st.integers(1, 12), st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.7])
)
def test_the_first_k_are_those_of_the_dense_product_ties_and_zeros_among_them(items, width, k, seed, share):
    gallery, queries = drawn(items, width, seed, share), drawn(5, width, seed + 1, 0.4)
    numbers, scores = InvertedIndex(SparseRows.of(gallery)).search(SparseRows.of(queries), k)
    wanted, of_wanted = dense_best(queries, gallery, k)
    assert np.array_equal(numbers, wanted)
    assert np.array_equal(scores, of_wanted)


def test_it_is_the_dense_top_10_of_vocabulary_sized_weights_and_equal_items_tie_by_number():
    draw = np.random.default_rng(0)
    gallery = np.where(draw.random((2000, 900)) < 0.05, draw.gamma(2.0, size=(2000, 900)), 0).astype(np.float32)
    gallery[1500:1520] = gallery[7]  # twenty more of one item
    queries = np.vstack([gallery[[7, 3]], drawn(30, 900, 1, 0.05)])
    numbers, scores = InvertedIndex(SparseRows.of(gallery)).search(SparseRows.of(queries), 10)
    assert numbers[0].tolist() == [7, *range(1500, 1509)]
    assert len(set(scores[0])) == 1
    wanted, of_wanted = dense_best(queries[1:], gallery, 10)
    assert np.array_equal(numbers[1:], wanted)
    assert np.allclose(scores[1:], of_wanted, rtol=1e-12)


def test_every_tokens_part_adds_up_to_the_score_to_the_bit():
    draw = np.random.default_rng(2)
    gallery, queries = (
        np.where(draw.random((n, 300)) < 0.3, draw.normal(size=(n, 300)), 0).astype(np.float32) for n in (50, 8)
    )
    index, asked = InvertedIndex(SparseRows.of(gallery)), SparseRows.of(queries)
    numbers, scores = index.search(asked, 5)
    for query in range(len(queries)):
        for item, score in zip(numbers[query], scores[query], strict=True):
            tokens, parts = index.contributions(asked, query, int(item))
            assert sum(parts.tolist()) == score  # no tolerance
            assert set(tokens) == set(np.flatnonzero(queries[query] * gallery[item]))
            assert np.array_equal(parts, queries[query, tokens].astype(np.float64) * gallery[item, tokens])


def test_only_the_querys_own_tokens_are_touched():
    gallery = drawn(30, 20, 3, 0.5)
    index = InvertedIndex(SparseRows.of(gallery))
    index._weight[index._starts[4] : index._starts[5]] = np.nan  # what is not asked for may be anything
    query = np.zeros((1, 20), np.float32)
    query[0, [2, 9]] = 1.0
    numbers, scores = index.search(SparseRows.of(query), 30)
    assert np.array_equal(numbers, dense_best(query, gallery, 30)[0])
    assert np.isfinite(scores).all()


def test_rows_in_parts_are_the_rows_and_what_fits_nothing_is_refused():
    gallery = drawn(12, 6, 4, 0.4)
    whole, parts = (SparseRows.of(gallery), [SparseRows.of(gallery[a:b]) for a, b in ((0, 5), (5, 5), (5, 12))])
    joined = SparseRows.concatenated(parts)
    for name in ("starts", "tokens", "weights"):
        assert np.array_equal(getattr(whole, name), getattr(joined, name))
    with pytest.raises(ValueError, match="two models' vectors"):
        InvertedIndex(whole).search(SparseRows.of(drawn(1, 7, 0)), 3)
    with pytest.raises(NotFinite):
        SparseRows.of(np.array([[np.nan]]))


def test_an_empty_query_and_more_than_there_is():
    index = InvertedIndex(SparseRows.of(drawn(3, 4, 5, 0.5)))
    numbers, scores = index.search(SparseRows.of(np.zeros((1, 4))), 10)
    assert numbers.tolist() == [[0, 1, 2]]
    assert not scores.any()
    assert best(np.array([1.0, 3.0, 3.0, 2.0]), 3).tolist() == [1, 2, 3]
    assert best(np.array([1.0]), 0).tolist() == []
