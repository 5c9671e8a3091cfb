"""The recall of a plan of bands is what an experiment finds, and the plan chosen keeps its promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.filter.selections.duplicates.hamming_bands import (
    BITS,
    COMPARISONS,
    MEAN_RECALL,
    WIDEST,
    Bands,
    choose_bands,
)


@pytest.mark.parametrize(
    "bands", [Bands(12, 21, 1), Bands(10, 24, 1), Bands(12, 20, 0), Bands(3, 8, 0), Bands(16, 16, 1)]
)
@pytest.mark.parametrize("distance", [1, 16, 24, 31, 40])
def test_recall_is_the_share_of_error_patterns_that_leave_a_band_alone(bands: Bands, distance: int) -> None:
    trials, random = 4000, np.random.default_rng(distance)
    errors = np.argsort(random.random((trials, BITS)), axis=1) < distance
    inside = errors[:, : bands.count * bands.width].reshape(trials, bands.count, bands.width).sum(axis=2)
    found = (inside.min(axis=1) <= bands.flips).mean()
    expected = bands.recall(distance)
    assert abs(found - expected) <= 4 * np.sqrt(max(expected * (1 - expected), 1e-4) / trials)


def test_the_table_of_the_docstring_is_what_the_formula_gives() -> None:
    said = {17: (1.0, 1.0), 18: (1.0, 1.0), 19: (1.0, 0.9995), 20: (0.9998, 0.9968), 21: (0.9996, 0.9935)}
    said |= {22: (0.9984, 0.9785), 23: (0.9973, 0.9657), 24: (0.9928, 0.9241)}
    for width, (mean, last) in said.items():
        bands = Bands(BITS // width, width, 1)
        assert (round(bands.mean_recall(31), 4), round(bands.recall(31), 4)) == (mean, last), width


def test_the_masks_are_all_values_within_the_flips_and_begin_with_none() -> None:
    masks = Bands(16, 16, 2).masks.tolist()
    assert masks[0] == 0
    assert sorted(masks) == [value for value in range(1 << 16) if value.bit_count() <= 2]


@settings(max_examples=40, deadline=None)
@given(radius=st.integers(0, 63), rows=st.integers(1, 10**9), crowding=st.floats(1, 1e4))
def test_the_chosen_bands_fit_the_hash_and_keep_their_promise(radius: int, rows: int, crowding: float) -> None:
    def meetings(bands: Bands) -> float:
        return crowding * rows**2 / 2 * bands.count * len(bands.masks) / 2**bands.width

    for exact in ("auto", "always", "never"):
        bands = choose_bands(radius, rows, meetings, exact)  # type: ignore[arg-type]
        assert bands.count * bands.width <= BITS
        assert bands.width <= WIDEST
        sure = bands.exact(radius)
        assert sure == (bands.recall(radius) == 1.0)
        assert sure or (exact != "always" and bands.mean_recall(radius) >= MEAN_RECALL)
        if exact == "auto" and not sure:
            always = choose_bands(radius, rows, meetings, "always")
            assert always.cost(rows, meetings(always)) > COMPARISONS


def test_ten_million_even_hashes_are_searched_exactly_and_a_hundred_million_nearly_so() -> None:
    def chosen(rows: int) -> Bands:
        return choose_bands(31, rows, lambda b: rows**2 / 2 * b.count * len(b.masks) / 2**b.width)

    assert chosen(10_000_000).exact(31)
    assert not chosen(40_000_000).exact(31)
    assert chosen(40_000_000).mean_recall(31) > 0.9995
    assert chosen(100_000_000).mean_recall(31) > MEAN_RECALL
