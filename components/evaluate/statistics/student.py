"""Student's t: its tail and its quantile, for whole degrees of freedom, in closed form.

    t_quantile(0.975, 2)      # 4.303, the two-sided 95% quantile of three seeds

Abramowitz & Stegun, Handbook of Mathematical Functions (1964): 26.7.3 and 26.7.4, and 26.7.5 for the quantile
of many degrees of freedom. Here, since the numerical core stands on numpy alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

MANY = 30  # degrees of freedom from which the expansion about the normal quantile is right to four digits
BISECTIONS = 60


def t_inside(t: float, freedom: int) -> float:
    """P(|T| < t) of Student's t with `freedom` >= 1 degrees of freedom; t >= 0."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    if freedom == 1:
        return 2 * angle / math.pi
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term
    for k in range(2 + odd, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: int) -> float:
    """t with P(T < t) = probability, for 0.5 <= probability < 1.

    Raises:
        ValueError: another probability, or no degree of freedom.
    """
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"no quantile of Student's t at {probability} with {freedom} degrees of freedom")
    if freedom > MANY:
        return _expanded(NormalDist().inv_cdf(probability), freedom)
    inside, low, high = 2 * probability - 1, 0.0, 1.0
    while t_inside(high, freedom) < inside:
        high *= 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if t_inside(middle, freedom) < inside else (low, middle)
    return high


def _expanded(z: float, freedom: int) -> float:
    """The quantile as a series in 1 / freedom about the normal one."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
