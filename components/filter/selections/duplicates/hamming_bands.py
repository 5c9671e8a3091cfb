"""Which bits of two hashes must agree before the two are compared: a plan with a known recall.

    bands = Bands(count=16, width=16, flips=1)
    bands.recall(31)            # 1.0: of 31 errors in 16 bands, some band has at most one
    Bands(12, 21, 1).recall(31) # 0.9935, for a thirtieth of the comparisons

Multi-index hashing (Norouzi, Punjani and Fleet, 2012): two hashes are compared if in any of `count`
disjoint bands of `width` bits they differ in at most `flips` bits. With count (flips + 1) > radius
the pigeonhole principle makes that exact. With wider and fewer bands it is not, and what is missed is
counted, not guessed: the bits are laid into the bands in a fixed random order, so the d bits in which
two hashes differ fall anywhere with equal chance, and the share of the C(256, d) places in which every
band gets more than `flips` of them is a coefficient of a polynomial,

    1 - recall(d) = [x^d] (sum over k > flips of C(width, k) x^k)^count (1 + x)^(256 - count width) / C(256, d).

With one flip, over d uniform on 0..31 and at d = 31:

    width            16    17        18        19      20      21      22      23      24
    mean recall       1    1.0000    1.0000    1.0000  0.9998  0.9996  0.9984  0.9973  0.9928
    recall at 31      1    1.0000    1.0000    0.9995  0.9968  0.9935  0.9785  0.9657  0.9241
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np

BITS = 256
WIDEST = 24  # bits: 64 MiB of bucket starts
VISIT = 150  # comparisons that take as long as going to a bucket
COMPARISONS = 1e12  # what an exact search may cost: some four minutes on two cores
MEAN_RECALL = 0.99  # what a search that is not exact must reach over distances uniform on 0..radius

Exact = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Bands:
    """`count` disjoint bands of `width` bits; two hashes meet where one differs in at most `flips` bits."""

    count: int
    width: int
    flips: int

    @cached_property
    def masks(self) -> np.ndarray:
        """(m,) int64: what to xor a band's value with to reach every value it meets, itself first."""
        return np.array(
            [
                sum(1 << bit for bit in bits)
                for n in range(self.flips + 1)
                for bits in combinations(range(self.width), n)
            ],
            np.int64,
        )

    def exact(self, radius: int) -> bool:
        """Whether no pair within the radius is missed."""
        return self.count * (self.flips + 1) > radius

    def recall(self, distance: int) -> float:
        """Chance that two hashes this many bits apart meet in some band."""
        return _recalls(self, max(distance, 63))[distance]

    def mean_recall(self, radius: int) -> float:
        """Recall over distances uniform on 0..radius."""
        return sum(_recalls(self, max(radius, 63))[: radius + 1]) / (radius + 1)

    def cost(self, rows: int, meetings: float) -> float:
        """Comparisons for `rows` hashes of which `meetings` pairs meet, with the way to each bucket."""
        return meetings + VISIT * rows * self.count * len(self.masks) / 2


def choose_bands(radius: int, rows: int, meetings: Callable[[Bands], float], exact: Exact = "auto") -> Bands:
    """The bands to search with.

    "always": the cheapest exact ones. "auto": these too, unless they cost more than COMPARISONS; then
    the ones of best recall that do not, or else the cheapest that reach MEAN_RECALL. "never": the
    cheapest that reach it.

    Args:
        meetings: pairs that meet in given bands, of the hashes at hand; it decides for crowded ones.
    """
    sure = _exact_bands(radius, rows)
    costs = {bands: bands.cost(rows, meetings(bands)) for bands in sure}
    best = min(sure, key=costs.__getitem__)
    wide = [] if exact == "always" else _wide_bands(radius)
    if not wide or (exact == "auto" and costs[best] <= COMPARISONS):
        return best
    costs |= {bands: bands.cost(rows, meetings(bands)) for bands in wide}
    affordable = [bands for bands in wide if costs[bands] <= COMPARISONS] if exact == "auto" else []
    if affordable:
        return max(affordable, key=lambda bands: bands.mean_recall(radius))
    return min(wide, key=costs.__getitem__)


def _exact_bands(radius: int, rows: int) -> list[Bands]:
    """For each number of flips the fewest, widest bands that miss nothing; no wider than there are hashes to tell."""
    counts = {flips: radius // (flips + 1) + 1 for flips in range(radius // 16 + 1)}
    widest = min(max(rows.bit_length(), 8), WIDEST)
    return [Bands(count, min(BITS // count, widest), flips) for flips, count in counts.items() if count * 8 <= BITS]


def _wide_bands(radius: int) -> list[Bands]:
    """Fewer, wider bands than exactness needs that still reach MEAN_RECALL."""
    tried = [Bands(BITS // width, width, radius // 16) for width in range(16, WIDEST + 1)]
    return [bands for bands in tried if not bands.exact(radius) and bands.mean_recall(radius) >= MEAN_RECALL]


@functools.cache
def _recalls(bands: Bands, most: int) -> tuple[float, ...]:
    """Recall at distances 0..most."""
    crowded = [comb(bands.width, k) if k > bands.flips else 0 for k in range(most + 1)]
    missed = [comb(BITS - bands.count * bands.width, k) for k in range(most + 1)]
    for _ in range(bands.count):
        missed = _product(missed, crowded)
    return tuple(1 - many / comb(BITS, distance) for distance, many in enumerate(missed))


def _product(p: list[int], q: list[int]) -> list[int]:
    """Of two polynomials, as far as they are given."""
    return [sum(p[i] * q[power - i] for i in range(power + 1)) for power in range(len(p))]
