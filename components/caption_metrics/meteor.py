"""METEOR of 2007 (Lavie & Agarwal), by words, stems and, where a lexicon is given, synonyms. Not METEOR 1.5.

Words of caption and reference are matched one to one, in stages: equal, of equal Porter stem, of a common sense. With m
matches, P = m / words of the caption, R = m / words of the reference,

    METEOR = (1 - 0.5 (chunks / m)^3) P R / (0.9 P + 0.1 R)

where chunks are runs of matches adjacent on both sides; of several references the best counts. Within a stage the last
word of the caption takes the last free word of the reference that fits, as NLTK does: the paper takes the alignment
that crosses least, which differs where a word recurs. NLTK with the same stemmer and without WordNet gives the same to
1e-6. METEOR 1.5, which COCO's papers report, weighs kinds of words and has paraphrases; it needs Java and its tables,
and its figures are not these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from pairwright.components.caption_metrics.ngrams import Tokens, check
from pairwright.components.caption_metrics.porter import stem
from pairwright.components.caption_metrics.wordnet import Lexicon

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5
Fits = Callable[[str, str], bool]


def meteor(
    captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], lexicon: Lexicon | None = None
) -> np.ndarray:
    """METEOR of each caption, float64 (captions,), from 0 to 1; of a corpus it is their mean.

    Args:
        lexicon: word -> senses (wordnet.py); without one, words and stems alone are matched.

    Raises:
        ValueError: a caption has no reference.
    """
    check(captions, references)
    pairs = zip(captions, references, strict=True)
    return np.array([max(_score(said, one, lexicon) for one in held) for said, held in pairs], np.float64)


def _score(said: Tokens, held: Tokens, lexicon: Lexicon | None) -> float:
    matches = aligned(said, held, lexicon)
    m = len(matches)
    if not m:
        return 0.0
    precision, recall = m / len(said), m / len(held)
    chunks = 1 + sum((i + 1, j + 1) != after for (i, j), after in pairwise(matches))
    return (1 - GAMMA * (chunks / m) ** BETA) * precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)


def aligned(said: Tokens, held: Tokens, lexicon: Lexicon | None = None) -> list[tuple[int, int]]:
    """Places of matched words in the caption and in the reference, in the caption's order."""
    stages: list[Fits] = [lambda a, b: a == b, lambda a, b: stem(a) == stem(b)]
    if lexicon is not None:
        none: frozenset[str] = frozenset()
        stages.append(lambda a, b: not lexicon.get(a, none).isdisjoint(lexicon.get(b, none)))
    left, right = list(range(len(said)))[::-1], list(range(len(held)))[::-1]
    found = []
    for fits in stages:
        for i in left.copy():
            j = next((j for j in right if fits(said[i], held[j])), None)
            if j is not None:
                found.append((i, j))
                left.remove(i)
                right.remove(j)
    return sorted(found)
