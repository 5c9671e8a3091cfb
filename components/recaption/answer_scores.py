"""How well a predicted answer agrees with those people gave, as PromptCap weighs candidates (Hu et al., 2023).

    soft(predicted, answers) = min(1, mean of the three largest 1 - CER)        hard = min(1, 0.3 exact matches)

CER is the character error rate: edits that make the prediction an answer, over the answer's characters. VQA's own rule
gives 1 at three exact matches, this gives 0.9. The released code compares gold answers as they were written, so that
one with an article never hits (`normalised=False`); here both sides lose case, punctuation and article.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from pairwright.components.dataset.splits import normalise

BEST, EACH = 3, 0.3


def soft_score(predicted: str, answers: Sequence[str], normalised: bool = True) -> float:
    """Up to 1; below 0 where an answer is shorter than what is wrong of the prediction. 0 without an answer."""
    said, golds = _compared(predicted, answers, normalised)
    rates = [1 - character_error_rate(said, gold) for gold in golds]
    best = heapq.nlargest(BEST, rates)
    return min(1.0, sum(best) / len(best)) if best else 0.0


def hard_score(predicted: str, answers: Sequence[str], normalised: bool = True) -> float:
    """0, 0.3, 0.6, 0.9 or 1."""
    said, golds = _compared(predicted, answers, normalised)
    return min(1.0, round(EACH * sum(said == gold for gold in golds), 9))


def character_error_rate(predicted: str, answer: str) -> float:
    """Insertions, deletions and substitutions by characters, over the answer's length (1 at least)."""
    row = list(range(len(answer) + 1))
    for at, character in enumerate(predicted, 1):
        above, row[0] = row[0], at
        for place, other in enumerate(answer, 1):
            above, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, above + (character != other))
    return row[-1] / max(len(answer), 1)


def _compared(predicted: str, answers: Sequence[str], normalised: bool) -> tuple[str, list[str]]:
    return normalise(predicted), [normalise(one) if normalised else one for one in answers]
