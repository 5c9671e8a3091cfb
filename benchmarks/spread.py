"""Several runs of one measurement, as their least, middle and greatest value."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

Spread = dict[str, float]  # min, median, max


def spread(values: Sequence[float], digits: int = 3) -> Spread:
    """Least, median and greatest of the runs."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def ratios(of: Sequence[float], to: Sequence[float], digits: int = 3) -> Spread:
    """`of` over `to`, run by run: both sides of a run had the same machine, two medians need not have had."""
    return spread([a / b for a, b in zip(of, to, strict=True)], digits)
