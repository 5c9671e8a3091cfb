"""Runs of n tokens, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[str]
Ngrams = Counter[tuple[str, ...]]


def ngrams(tokens: Tokens, n: int) -> Ngrams:
    """How often each run of exactly n tokens occurs."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def check(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
    """Raises ValueError unless each caption has a reference."""
    if len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions are held against the references of {len(references)}")
    without = [i for i, some in enumerate(references) if not len(some)]
    if without:
        raise ValueError(f"caption {without[0]} of {len(captions)} has no reference; leave it out")
