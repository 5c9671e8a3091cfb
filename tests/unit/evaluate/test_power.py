"""How many items a difference needs: the formula keeps what it promises on drawn data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.evaluate.statistics.crossed import crossed
from pairwright.components.evaluate.statistics.power import Spread, needed, power, seen, spread_of

PARTS = [(0.0, 0.04, 0.04), (0.0004, 0.04, 0.02), (0.0009, 0.01, 0.09), (0.0, 0.0, 0.09)]


def spread(seed: float, group: float, both: float, per: float = 2.0) -> Spread:
    return Spread(seed, group, both, per, crossed(np.zeros((3, 4)) + np.arange(4)))


def told(one: Spread, groups: int, seeds: int, difference: float, trials: int) -> float:
    """The share of trials in which the test of the verdicts tells the difference, counted on drawn data."""
    draw = np.random.default_rng(7)
    found = 0
    for _ in range(trials):
        values = difference + math.sqrt(one.group) * draw.standard_normal((1, groups))
        values = values + math.sqrt(one.both) * draw.standard_normal((seeds, groups))
        values = values + math.sqrt(one.seed) * draw.standard_normal((seeds, 1)) * (seeds > 1)
        low, high = crossed(values).interval(0.95)
        found += low > 0 or high < 0
    return found / trials


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_groups_it_asks_for_show_the_difference_four_times_in_five(
    parts: tuple[float, float, float], seeds: int
) -> None:
    one = spread(*parts)
    difference = 0.15 if parts[0] else 0.08
    count = needed(one, difference, seeds)
    assert count is not None
    assert told(one, count, seeds, difference, 800) == pytest.approx(0.8, abs=0.05)
    assert told(one, max(count // 3, 2), seeds, difference, 400) < 0.7  # a third of them would not do


@pytest.mark.parametrize("parts", PARTS)
def test_power_is_what_is_counted_on_drawn_data_and_the_level_where_nothing_differs(
    parts: tuple[float, float, float],
) -> None:
    one = spread(*parts)
    for seeds, groups, difference in ((3, 40, 0.0), (3, 40, 0.1), (5, 120, 0.03)):
        counted = told(one, groups, seeds, difference, 1000)
        assert power(one, groups, seeds, difference) == pytest.approx(counted, abs=0.05)
    assert power(one, 60, 3, 0.0) < 0.06


@pytest.mark.slow
def test_it_keeps_its_promise_on_hits_and_misses_in_groups() -> None:
    """The variances are estimated on samples of 0 and 1, and the power counted on others."""
    draw = np.random.default_rng(4)

    def sample(groups: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
        codes = np.repeat(np.arange(groups), draw.integers(1, 4, groups))
        bar = draw.standard_normal(groups)[codes] * 0.7
        a = bar + draw.standard_normal((3, len(codes))) < gain
        b = bar + draw.standard_normal((3, len(codes))) < 0.0
        return a.astype(float) - b, codes

    gain = 0.2
    true = float(np.mean([sample(4000, gain)[0].mean() for _ in range(5)]))
    counts = [needed(spread_of(*sample(200, gain)), true, 3) or 0 for _ in range(25)]
    count = int(np.median(counts))
    hits = [crossed(*sample(count, gain)).interval(0.95)[0] > 0 for _ in range(400)]
    assert 0.72 < np.mean(hits) < 0.9
    low, high = np.quantile(counts, [0.2, 0.8])
    assert high < 1.5 * low  # samples of 200 groups say about as much


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.01), st.floats(0.001, 0.3), st.floats(0.001, 0.3), st.integers(2, 10), st.floats(0.02, 0.5))
def test_needed_is_the_fewest_and_falls_with_the_difference(
    seed: float, group: float, both: float, seeds: int, difference: float
) -> None:
    one = spread(seed, group, both)
    count = needed(one, difference, seeds)
    if count is None:
        assert power(one, 1_000_000, seeds, difference) < 0.8
        return
    assert power(one, count, seeds, difference) >= 0.79
    assert seen(one, count, seeds) <= difference
    assert count <= 2 or seen(one, count - 1, seeds) > difference
    more = needed(one, 2 * difference, seeds)
    assert more is not None
    assert more <= count


def test_seeds_that_differ_too_much_forbid_any_number_of_items() -> None:
    assert needed(spread(0.04, 0.1, 0.1), 0.05, 3) is None
    assert needed(spread(0.04, 0.1, 0.1), 0.05, 400) is not None
    with pytest.raises(ValueError, match="above 0"):
        needed(spread(0, 0.1, 0.1), 0.0, 3)
