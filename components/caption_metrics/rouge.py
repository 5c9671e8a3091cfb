"""ROUGE-L (Lin, 2004), as COCO's evaluation computes it.

With l the longest common subsequence of a caption of c words and a reference of r: P = max l/c, R = max l/r, each over
the references, and F = (1 + b^2) P R / (R + b^2 P) with b = 1.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairwright.components.caption_metrics.ngrams import Tokens, check

BETA = 1.2


def rouge_l(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """F of each caption, float64 (captions,); of a corpus it is their mean.

    Raises:
        ValueError: a caption has no reference.
    """
    check(captions, references)
    return np.array([_f(said, held) for said, held in zip(captions, references, strict=True)], np.float64)


def _f(said: Tokens, references: Sequence[Tokens]) -> float:
    common = [longest_common(said, one) for one in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(said)
    recall = max(length / len(one) for length, one in zip(common, references, strict=True) if one)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(a: Tokens, b: Tokens) -> int:
    """Tokens of the longest common subsequence, in one row of memory."""
    before = [0] * (len(b) + 1)
    for one in a:
        row = [0]
        for j, other in enumerate(b):
            row.append(before[j] + 1 if one == other else max(before[j + 1], row[j]))
        before = row
    return before[-1]
