"""The interval over seeds and groups errs as often as it says, at the seeds in use, whichever source prevails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.verdict_error import SITUATIONS, differences, errors
from pairwright.components.evaluate.statistics.crossed import MIN_SEEDS, crossed
from pairwright.components.evaluate.statistics.student import t_quantile

TRIALS = 300


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("hits", [False, True])
def test_a_difference_of_nothing_is_called_in_five_trials_of_a_hundred(seeds: int, hits: bool) -> None:
    """300 trials of 5%: three standard errors are 3.8%. The pigeonhole bootstrap errs several times as often."""
    found = [errors(where, seeds, 0.05, TRIALS, hits=hits) for where in SITUATIONS]
    assert max(one["crossed"] for one in found) < 0.088
    assert np.mean([one["crossed"] for one in found]) < 0.06
    assert max(one["pigeonhole"] for one in found) > 0.09
    assert max(one["items alone"] for one in found) > 0.3


def test_the_one_sided_bound_of_not_worse_errs_in_five_of_a_hundred() -> None:
    """Truly worse by the margin, three seeds: "not worse" is said where the 90% interval's low end is above it."""
    random, margin = np.random.default_rng(1), 0.03
    for where in SITUATIONS:
        passed = 0
        for _ in range(TRIALS):
            values, groups = differences(where, 3, random, effect=-margin)
            passed += crossed(values, groups).interval(0.9)[0] > -margin
        assert passed / TRIALS < 0.088, where


def test_what_could_have_been_seen_is_seen_in_about_four_trials_of_five() -> None:
    random, where = np.random.default_rng(2), SITUATIONS[0]
    typical = np.median([crossed(*differences(where, 5, random)).detectable(0.95) for _ in range(200)])
    seen = [crossed(*differences(where, 5, random, effect=typical)).interval(0.95)[0] > 0 for _ in range(300)]
    assert 0.7 < np.mean(seen) < 0.92


def test_of_one_group_an_item_and_no_spread_but_of_seeds_it_is_students_interval() -> None:
    values = np.repeat(np.array([[0.1], [0.2], [0.6]]), 50, axis=1)
    found = crossed(values)
    assert found.half(0.95) == pytest.approx(t_quantile(0.975, 2) * np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3))


def test_of_one_seed_the_interval_is_over_its_groups_and_decides_nothing() -> None:
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(0.5, 1, 40), 3)
    found = crossed(values, np.repeat(np.arange(40), 3))
    assert found.half(0.95) == pytest.approx(t_quantile(0.975, 39) * np.std(values[::3], ddof=1) / np.sqrt(40))
    assert not found.decides
    assert [crossed(np.tile(values, (seeds, 1))).decides for seeds in (1, 2, 3)] == [False, False, True]
    assert MIN_SEEDS == 3
    assert crossed(np.ones((3, 4)), np.zeros(4)).half(0.95) == np.inf  # one group says nothing of others


@given(st.integers(1, 5), st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(0, 100))
def test_order_of_items_seeds_and_names_of_groups_change_nothing(seeds: int, groups: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    values, names = random.normal(size=(seeds, len(groups))), np.asarray(groups)
    order = random.permutation(len(groups))
    one, other = crossed(values, names), crossed(values[::-1][:, order], 10 - names[order])
    assert one.value == pytest.approx(values.mean())
    assert one.standard_error == pytest.approx(other.standard_error)
    assert one.half(0.99) >= one.half(0.9)


def test_p_is_where_the_interval_touches_zero() -> None:
    random = np.random.default_rng(5)
    found = crossed(random.normal(0.1, 1, (4, 80)))
    low, high = found.interval(1 - found.p)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)
    assert crossed(np.zeros((3, 5))).p == 1.0


def test_a_value_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        crossed(np.array([[0.0, np.nan]]))
    with pytest.raises(ValueError, match="finite"):
        crossed(np.zeros((0, 0)))
    with pytest.raises(ValueError, match="3 groups for 4 items"):
        crossed(np.zeros((2, 4)), [1, 2, 3])
