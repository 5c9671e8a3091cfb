"""CIDEr-D (Vedantam et al., 2015): agreement with the references, words weighed by how few pictures they are said of.

    g_k(c)   = tf * log(N / df), of runs of k words; df counts pictures one of whose references has the run, N all
    CIDEr-D_k(c, S) = 10/|S| sum_s exp(-(l_c - l_s)^2 / 2 sigma^2) min(g_k(c), g_k(s)) . g_k(s) / (|g_k(c)| |g_k(s)|)

and the mean of k = 1 to 4, sigma = 6. What pycocoevalcap calls CIDEr is this (its l counts runs of two words, whose
differences are those of words but for captions of none). A run that no reference has counts as if one had it.

Frequencies come from the references one is measured on, as COCO's are; of few pictures every word is rare and figures
do not compare with COCO's. A reward takes those of its training set (`frequencies=`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairwright.components.caption_metrics.ngrams import Ngrams, Tokens, check, ngrams

SIGMA = 6.0
LONGEST = 4  # words of a run


@dataclass(frozen=True)
class Frequencies:
    """In how many of N pictures' references each run of one to four words is."""

    pictures: int
    counts: Ngrams

    @classmethod
    def of(cls, references: Sequence[Sequence[Tokens]]) -> Frequencies:
        counts: Ngrams = Counter()
        for some in references:
            counts.update({run for one in some for k in range(1, LONGEST + 1) for run in ngrams(one, k)})
        return cls(len(references), counts)

    def weight(self, run: tuple[str, ...]) -> float:
        """log(N / df)."""
        return math.log(self.pictures) - math.log(max(1, self.counts[run]))


@dataclass(frozen=True)
class _Vector:
    """A caption's weighed runs by length, their norms, and its length."""

    runs: list[dict[tuple[str, ...], float]]
    norms: list[float]
    length: int

    @classmethod
    def of(cls, tokens: Tokens, frequencies: Frequencies) -> _Vector:
        counted = [ngrams(tokens, k) for k in range(1, LONGEST + 1)]
        runs = [{run: count * frequencies.weight(run) for run, count in some.items()} for some in counted]
        norms = [math.sqrt(sum(value * value for value in some.values())) for some in runs]
        return cls(runs, norms, max(0, len(tokens) - 1))


def cider_d(
    captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], frequencies: Frequencies | None = None
) -> np.ndarray:
    """CIDEr-D of each caption, float64 (captions,), from 0 to 10; of a corpus it is their mean.

    Args:
        frequencies: of runs of words; those of these references if none are given.

    Raises:
        ValueError: a caption has no reference.
    """
    check(captions, references)
    known = frequencies or Frequencies.of(references)
    found = []
    for said, held in zip(captions, references, strict=True):
        own = _Vector.of(said, known)
        found.append(10 * sum(_agreement(own, _Vector.of(one, known)) for one in held) / len(held))
    return np.array(found, np.float64)


def _agreement(said: _Vector, held: _Vector) -> float:
    """Of one reference: the mean over lengths of runs, from 0 to 1."""
    total = 0.0
    for own, other, a, b in zip(said.runs, held.runs, said.norms, held.norms, strict=True):
        if a and b:
            total += sum(min(value, other[run]) * other[run] for run, value in own.items() if run in other) / (a * b)
    return total / LONGEST * math.exp(-((said.length - held.length) ** 2) / (2 * SIGMA**2))
