"""Scaling curves: how a metric grows with the number of pairs, y = a + b log n (SAIL-VL).

    law = fit_scaling([1000, 2000, 4000], [0.31, 0.34, 0.38])
    law.slope, law.slope_low, law.slope_high, law.at(100_000)
    scaling_figure({"raw": (n, y), "curated": (m, z)})     # a matplotlib figure

Dong et al., 2025, fit their models' scores so on a logarithmic axis of data. Ordinary least squares; 95%
intervals are Student's t with n - 2 degrees of freedom, so they hold for the fit's own error, not for what
lies beyond the sizes seen. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.evaluate.statistics.student import t_quantile


@dataclass(frozen=True)
class ScalingLaw:
    """y = intercept + slope * ln(n), natural logarithm, with 95% intervals.

    Attributes:
        slope: gain in y each time n grows e-fold; times ln 2 for each doubling.
        spread: standard deviation of what the line leaves over; 0 for an exact line.
        r2: share of y's variance that the line explains; 1 where y does not vary.
    """

    intercept: float
    intercept_low: float
    intercept_high: float
    slope: float
    slope_low: float
    slope_high: float
    spread: float
    r2: float
    points: int
    mean_log: float
    sum_squares: float  # of log n about its mean

    def at(self, n: float) -> tuple[float, float, float]:
        """The line's value at n pairs, with the 95% interval of the line (not of a new measurement)."""
        value = self.intercept + self.slope * math.log(n)
        error = self.spread * math.sqrt(1 / self.points + (math.log(n) - self.mean_log) ** 2 / self.sum_squares)
        half = t_quantile(0.975, self.points - 2) * error
        return value, value - half, value + half

    @property
    def doubling(self) -> float:
        """Gain in y each time n doubles."""
        return self.slope * math.log(2)


def fit_scaling(n: Sequence[float], y: Sequence[float]) -> ScalingLaw:
    """The line of y over ln n.

    Raises:
        ValueError: fewer than three points, sizes not above 0, all of one size, or a value that is no number.
    """
    sizes, values = np.asarray(n, np.float64), np.asarray(y, np.float64)
    if len(sizes) != len(values) or len(sizes) < 3:
        raise ValueError(f"a scaling curve needs three (n, y) points or more, not {len(sizes)} and {len(values)}")
    if not (sizes > 0).all() or not np.isfinite(values).all() or len(np.unique(sizes)) < 2:
        raise ValueError("a scaling curve needs sizes above 0, two different ones at least, and finite values")
    logs = np.log(sizes)
    centred = logs - logs.mean()
    squares = float((centred**2).sum())
    slope = float((centred * (values - values.mean())).sum() / squares)
    intercept = float(values.mean() - slope * logs.mean())
    left = values - intercept - slope * logs
    spread = math.sqrt(float((left**2).sum()) / (len(sizes) - 2))
    quantile = t_quantile(0.975, len(sizes) - 2)
    slope_half = quantile * spread / math.sqrt(squares)
    intercept_half = quantile * spread * math.sqrt(1 / len(sizes) + float(logs.mean()) ** 2 / squares)
    varied = float(((values - values.mean()) ** 2).sum())
    return ScalingLaw(
        intercept,
        intercept - intercept_half,
        intercept + intercept_half,
        slope,
        slope - slope_half,
        slope + slope_half,
        spread,
        1 - float((left**2).sum()) / varied if varied > 0 else 1.0,
        len(sizes),
        float(logs.mean()),
        squares,
    )


def scaling_figure(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], metric: str = "metric") -> Any:
    """Points, lines and intervals of each curve over the number of pairs, on a logarithmic axis."""
    from pairwright.components.models.figures import svg_axes

    figure, axes = svg_axes("pairs", metric)
    axes.set_xscale("log")
    for number, (name, (n, y)) in enumerate(curves.items()):
        law = fit_scaling(n, y)
        grid = np.geomspace(min(n), max(n), 50)
        line = np.array([law.at(size) for size in grid])
        colour = f"C{number}"
        axes.plot(n, y, "o", color=colour, markersize=4)
        axes.plot(grid, line[:, 0], color=colour, label=f"{name}: {law.doubling:+.3g} a doubling")
        axes.fill_between(grid, line[:, 1], line[:, 2], color=colour, alpha=0.15, linewidth=0)
    axes.legend(frameon=False, fontsize=8)
    return figure
