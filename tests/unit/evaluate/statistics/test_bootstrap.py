"""Intervals that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from pairwright.components.errors import NotFinite
from pairwright.components.evaluate.statistics.bootstrap import (
    bootstrap_mean,
    bootstrap_median,
    bootstrap_statistic,
    paired_bootstrap,
)


@pytest.mark.slow
def test_the_interval_covers_the_truth_19_times_of_20() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        found = bootstrap_mean(random.random(80) < 0.3, seed=seed)
        hits += found.low <= 0.3 <= found.high
    assert 0.89 <= hits / 200 <= 0.985


def test_groups_widen_the_interval_of_repeated_items() -> None:
    values = np.random.default_rng(1).random(50) < 0.5
    repeated, groups = np.repeat(values, 10), np.repeat(np.arange(50), 10)
    alone, grouped = bootstrap_mean(repeated), bootstrap_mean(repeated, groups)
    once = bootstrap_mean(values)
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)  # sqrt(10) = 3.2
    assert np.isclose(grouped.low, once.low, atol=1e-9)


def test_a_median_lies_in_its_interval_and_ignores_one_outlier() -> None:
    ranks = np.r_[np.arange(1, 100), 10_000]
    found = bootstrap_median(ranks)
    assert found.value == 50.5
    assert 30 < found.low < 50.5 < found.high < 71


def test_a_tie_is_no_difference_and_a_real_one_is_found() -> None:
    random = np.random.default_rng(2)
    a = (random.random(200) < 0.5).astype(float)
    same = paired_bootstrap(a, a)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    better = np.maximum(a, random.random(200) < 0.3)
    found = paired_bootstrap(better, a)
    assert found.low > 0
    assert found.p < 0.01
    assert paired_bootstrap(a, better).high < 0


def test_pairing_finds_what_two_separate_intervals_hide() -> None:
    random = np.random.default_rng(3)
    hard = random.random(300)
    a, b = (hard < 0.50).astype(float), (hard < 0.53).astype(float)
    assert paired_bootstrap(b, a).low > 0
    assert bootstrap_mean(b).low < bootstrap_mean(a).high


def test_a_statistic_that_is_a_mean_has_the_means_interval_and_draws_are_not_changed_between_metrics() -> None:
    random = np.random.default_rng(4)
    values, groups = random.normal(size=60), [str(i // 3) for i in range(60)]
    mean = bootstrap_mean(values, groups, seed=2)
    asked = bootstrap_statistic(lambda weight: float(np.average(values, weights=weight)), groups, seed=2)
    assert np.allclose([asked.value, asked.low, asked.high], [mean.value, mean.low, mean.high])
    bootstrap_median(values, groups, seed=2)
    assert bootstrap_mean(values, groups, seed=2) == mean
    assert bootstrap_mean(values, groups, seed=3) != mean
    with pytest.raises(NotFinite):
        bootstrap_statistic(lambda weight: float("nan"), groups)
