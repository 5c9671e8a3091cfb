"""How far what a model was taught in lies from what it is asked in: KL of their runs of words.

    D_n = KL(Q_n || P_n) = sum over runs g of n words of q(g) log(q(g) / p(g)), in nats

with q of the prompts and p of the captions that were trained on, so that a run which prompts have and captions never
had costs most. Both are smoothed by ALPHA over all runs that either has. 0 where they are the same; it rises with the
number of different runs, so compare equal numbers of texts. RECAP (Segalis et al., 2023) names the skew train-inference
discrepancy, and measures it on pictures alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from pairwright.components.models.words import words_of

ALPHA = 0.5


def discrepancy(captions: Iterable[str], prompts: Iterable[str], n: int) -> float:
    """D_n in nats.

    Raises:
        ValueError: one side has no run of n words.
    """
    taught, asked = _runs(captions, n), _runs(prompts, n)
    if not taught or not asked:
        raise ValueError(f"no {'caption' if not taught else 'prompt'} has {n} words")
    every = sorted(taught.keys() | asked.keys())
    p, q = (np.array([counts[run] for run in every]) + ALPHA for counts in (taught, asked))
    p, q = p / p.sum(), q / q.sum()
    return float((q * np.log(q / p)).sum())


def _runs(texts: Iterable[str], n: int) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = words_of(text)
        found.update(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    return found
