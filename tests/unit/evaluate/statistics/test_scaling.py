"""The fit recovers a planted slope, its intervals cover at their rate, and bad input says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.evaluate.statistics.scaling import fit_scaling, scaling_figure
from pairwright.components.models.figures import save_svg

SIZES = np.geomspace(1_000, 1_000_000, 12)


@settings(max_examples=100, deadline=None)
@given(st.floats(-5, 5), st.floats(0.05, 3), st.booleans(), st.integers(0, 10_000))
def test_a_planted_slope_is_recovered_within_five_percent(a: float, b: float, falls: bool, seed: int) -> None:
    slope = -b if falls else b
    noise = 0.05 * b * np.random.default_rng(seed).normal(size=len(SIZES))
    law = fit_scaling(SIZES, a + slope * np.log(SIZES) + noise)
    assert abs(law.slope - slope) <= 0.05 * b
    assert law.doubling == pytest.approx(law.slope * np.log(2))


def test_an_exact_line_is_exact() -> None:
    law = fit_scaling([10, 100, 1000], [1 + 2 * np.log(n) for n in (10, 100, 1000)])
    assert (law.intercept, law.slope, law.spread, law.r2) == pytest.approx((1, 2, 0, 1), abs=1e-9)
    assert law.at(10_000) == pytest.approx((1 + 2 * np.log(10_000),) * 3, abs=1e-6)


def test_intervals_hold_the_truth_about_ninety_five_times_in_a_hundred() -> None:
    random = np.random.default_rng(0)
    slope, line = 0, 0
    for _ in range(1000):
        law = fit_scaling(SIZES[:6], 0.2 + 0.05 * np.log(SIZES[:6]) + 0.02 * random.normal(size=6))
        slope += law.slope_low <= 0.05 <= law.slope_high
        _, low, high = law.at(5_000)
        line += low <= 0.2 + 0.05 * np.log(5_000) <= high
    assert 925 <= slope <= 975
    assert 925 <= line <= 975


def test_the_interval_widens_beyond_the_sizes_seen() -> None:
    law = fit_scaling([1e3, 1e4, 1e5, 1e6], [0.1, 0.22, 0.28, 0.41])
    widths = [high - low for _, low, high in (law.at(n) for n in (3e4, 1e6, 1e9))]
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("n", "y"),
    [
        ([1, 2], [1, 2]),
        ([1, 2, 3], [1, 2]),
        ([0, 1, 2], [1, 2, 3]),
        ([5, 5, 5], [1, 2, 3]),
        ([1, 2, 3], [1, 2, np.nan]),
    ],
)
def test_points_that_make_no_line_are_refused(n: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="a scaling curve needs"):
        fit_scaling(n, y)


def test_the_figure_shows_every_curve_and_is_the_same_each_time(tmp_path: Path) -> None:
    curves = {"raw": ([10, 20, 40], [0.1, 0.2, 0.31]), "curated": ([10, 20, 40], [0.2, 0.3, 0.41])}
    for name in ("a.svg", "b.svg"):
        save_svg(scaling_figure(curves, "recall"), tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "raw: " in text
    assert "curated: " in text
