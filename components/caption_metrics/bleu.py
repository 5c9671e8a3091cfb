"""BLEU-1 to BLEU-4 (Papineni et al., 2002), as COCO's evaluation computes them.

BLEU-n = BP prod_k p_k^(1/n), k = 1 to n: p_k is the share of the captions' runs of k words that some reference of
theirs has, each counted as often as the reference that has it most; BP = exp(1 - r/c) if all captions are c words and
their references, of each the one nearest in length, r > c. Of a corpus counts are summed before they are divided,
so it is no mean over captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairwright.components.caption_metrics.ngrams import Ngrams, Tokens, check, ngrams

TINY, SMALL = 1e-15, 1e-9  # pycocoevalcap's, so that nothing is divided by nothing


@dataclass(frozen=True)
class Bleu:
    """Counts of each caption, from which BLEU of any of them together is made.

    Attributes:
        right, all: (captions, n) runs of k words that a reference has, and all of them.
        said, held: (captions,) words of the caption, and of the reference nearest in length.
    """

    right: np.ndarray
    all: np.ndarray
    said: np.ndarray
    held: np.ndarray

    def corpus(self, weight: np.ndarray | None = None) -> np.ndarray:
        """BLEU-1 to n of all captions (n,), each counted `weight` times."""
        times = np.ones(len(self.said)) if weight is None else weight
        return _bleu(*(times @ counts for counts in (self.right, self.all, self.said, self.held)))

    def each(self) -> np.ndarray:
        """BLEU-1 to n of each caption by itself (captions, n)."""
        return _bleu(self.right, self.all, self.said, self.held)


def bleu(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], n: int = 4) -> Bleu:
    """Counts of captions, each held against its references.

    Raises:
        ValueError: a caption has no reference.
    """
    check(captions, references)
    counts = [_counted(said, held, n) for said, held in zip(captions, references, strict=True)]
    right, every, words, nearest = zip(*counts, strict=True) if counts else ((), (), (), ())
    shape = (len(counts), n)
    return Bleu(
        np.array(right, np.float64).reshape(shape),
        np.array(every, np.float64).reshape(shape),
        np.array(words, np.float64),
        np.array(nearest, np.float64),
    )


def _counted(said: Tokens, references: Sequence[Tokens], n: int) -> tuple[list[int], list[int], int, int]:
    right = []
    for k in range(1, n + 1):
        most = Ngrams()
        for reference in references:
            most |= ngrams(reference, k)
        right.append((ngrams(said, k) & most).total())
    every = [max(0, len(said) - k + 1) for k in range(1, n + 1)]
    return right, every, len(said), min((abs(len(one) - len(said)), len(one)) for one in references)[1]


def _bleu(right: np.ndarray, every: np.ndarray, said: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(..., n) and (...) counts -> (..., n)."""
    precision = np.cumprod((right + TINY) / (every + SMALL), axis=-1)
    ratio = (said + TINY) / (held + SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.maximum(ratio, TINY)), 1.0)
    found: np.ndarray = precision ** (1 / np.arange(1, right.shape[-1] + 1)) * np.asarray(brevity)[..., None]
    return np.where(np.asarray(said)[..., None] > 0, found, 0.0)
