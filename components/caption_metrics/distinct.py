"""distinct-n (Li et al., 2016): different runs of n words over all runs of n words, of all captions together.

1 where nothing is said twice, near 0 where all captions are one. It falls with the number of captions: compare equal
numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pairwright.components.caption_metrics.ngrams import Ngrams, Tokens, ngrams


def distinct_n(captions: Sequence[Tokens], n: int) -> float:
    """The share; 0 where no caption has n words."""
    every: Ngrams = Counter()
    for said in captions:
        every.update(ngrams(said, n))
    return len(every) / every.total() if every else 0.0


def distinct_shares(captions: Sequence[Tokens], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each caption its part in distinct-n, and its runs, both float64 (captions,): sums divided are the share.

    A run that is said k times by all captions counts 1/k each time it is said.
    """
    counted = [ngrams(said, n) for said in captions]
    every: Ngrams = Counter()
    for one in counted:
        every.update(one)
    parts = [sum(count / every[run] for run, count in one.items()) for one in counted]
    return np.array(parts, np.float64), np.array([one.total() for one in counted], np.float64)
