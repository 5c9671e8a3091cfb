"""Cheap opinions of a caption, for a dataset nobody has labelled yet.

Three scores that need no model and often disagree: how much a caption says (distinct words), how
particular its words are (mean inverse document frequency over the pool) and how much it reads like
language (the share of its tokens that are plain words, less its commas). Where they disagree about two
captions, a rule cannot tell which is better and a person's answer teaches most: query by committee
(Seung, Opper and Sompolinsky, 1992).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

SCORES = ("says", "particular", "reads")
_TOKEN = re.compile(r"\S+")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
ENOUGH_WORDS = 20  # more distinct words than this say no more


def words_of(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def cheap_scores(texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """For each picture's k captions a float64 (k, 3) of `SCORES`, each in units of its spread over the pool."""
    flat = [text for group in texts for text in group]
    if not flat:
        return []
    frequency = Counter(word for text in flat for word in set(words_of(text)))
    raw = np.array([_scores(text, frequency, len(flat)) for text in flat]).reshape(len(flat), len(SCORES))
    spread = raw.std(axis=0)
    scaled = raw / np.where(spread > 0, spread, 1.0)
    bounds = np.cumsum([len(group) for group in texts])[:-1]
    return list(np.split(scaled, bounds))


def _scores(text: str, frequency: Counter[str], documents: int) -> tuple[float, float, float]:
    words = words_of(text)
    distinct = set(words)
    says = math.log1p(min(len(distinct), ENOUGH_WORDS))
    rarity = [math.log((1 + documents) / (1 + frequency[word])) for word in sorted(distinct)]
    tokens = _TOKEN.findall(text)
    plain = sum(bool(_WORD.fullmatch(token.strip(".,;:!?()\"'"))) for token in tokens)
    reads = (plain - text.count(",")) / max(len(tokens), 1)
    return says, sum(rarity) / max(len(rarity), 1), reads


def disagreement(scores: np.ndarray) -> np.ndarray:
    """(k, s) opinions of k captions -> (k, k) in [0, 1]: twice what the weaker side of the vote weighs.

    0 where no opinion contradicts another, also where none has anything to say: two captions that are all
    but the same teach nothing.
    """
    vote = np.tanh(scores[:, None, :] - scores[None, :, :])
    return np.asarray(2.0 * np.minimum(np.maximum(vote, 0).mean(axis=2), np.maximum(-vote, 0).mean(axis=2)))


def near_margin(rewards: np.ndarray) -> np.ndarray:
    """(k,) rewards -> (k, k) in [0, 1]: 4 p (1 - p) of Bradley-Terry's p = sigmoid(r_a - r_b), 1 at an even match.

    A caption without a reward (NaN) is as uncertain as can be.
    """
    p = 1.0 / (1.0 + np.exp(-np.clip(rewards[:, None] - rewards[None, :], -50, 50)))
    return np.nan_to_num(4.0 * p * (1.0 - p), nan=1.0)
