"""Repetition within a caption: what share of its runs of n words it has said before (rep-n; Welleck et al., 2020).

0 of a caption that says nothing twice, near 1 of one that runs on; 0 also of one too short to have two runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairwright.components.caption_metrics.ngrams import Tokens, ngrams


def repetition(captions: Sequence[Tokens], n: int = 4) -> np.ndarray:
    """1 - different runs / runs of each caption, float64 (captions,)."""
    counted = [ngrams(said, n) for said in captions]
    return np.array([1 - len(one) / one.total() if one else 0.0 for one in counted], np.float64)
