"""Spearman's correlation is scipy's, ties and all, and an item that counts twice counts as two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pairwright.components.errors import NotFinite
from pairwright.components.evaluate.metrics.spearman import parts, spearman

VALUES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 4)), min_size=3, max_size=40)


@settings(deadline=None)
@given(VALUES)
def test_it_is_scipys_with_ties_and_with_items_that_count_several_times(values: list[tuple[int, int, int]]) -> None:
    x, y, times = (np.array(side, float) for side in zip(*values, strict=True))
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert np.isclose(spearman(x, y), spearmanr(x, y).statistic)
        repeated = [np.repeat(side, times.astype(int)) for side in (x, y)]
        assert np.isclose(spearman(x, y, times), spearmanr(*repeated).statistic)
        assert np.isclose(parts(x, y).mean(), spearman(x, y))
    else:
        assert spearman(x, y) == 0


def test_order_is_one_its_reverse_is_minus_one_and_what_is_not_finite_is_an_error() -> None:
    x = np.array([3.0, 1.0, 2.0, 5.0])
    assert np.isclose(spearman(x, np.exp(x)), 1)
    assert np.isclose(spearman(x, -x), -1)
    with pytest.raises(NotFinite):
        spearman(x, [1.0, np.nan, 2.0, 3.0])
