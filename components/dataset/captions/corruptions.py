"""Corruptions of a caption's words that leave no grammatical caption: what a grammar head learns to tell.

    corrupted(["a", "red", "boat"], "repeat", draws, others)        # ["a", "red", "boat", "red", "boat"]

CLIP Reward's five (Cho et al., 2022). None is ever the caption itself; one that a caption is too short for is None.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

DRAWS = 4  # numbers in [0, 1) that a corruption needs, at most
Words = Sequence[str]


def corrupted(words: Words, kind: str, draws: Sequence[float], others: Words) -> list[str] | None:
    """The words after a corruption of this kind, None where it would change nothing.

    Args:
        draws: four numbers in [0, 1) that decide it.
        others: words that `insert` takes from.
    """
    found = CORRUPTIONS[kind](list(words), draws, others)
    return None if found is None or found == list(words) else found


def _place(draw: float, count: int) -> int:
    return min(int(draw * count), count - 1)


def _repeat(words: list[str], draws: Sequence[float], others: Words) -> list[str] | None:
    """A run of one to three words is said again, one to three times over, at its place."""
    if not words:
        return None
    length = 1 + _place(draws[0], min(3, len(words)))
    first = _place(draws[1], len(words) - length + 1)
    run = words[first : first + length]
    return words[: first + length] + run * (1 + _place(draws[2], 3)) + words[first + length :]


def _remove(words: list[str], draws: Sequence[float], others: Words) -> list[str] | None:
    """A run of words is left out, at most half of them, and one stays."""
    if len(words) < 2:
        return None
    length = 1 + _place(draws[0], len(words) // 2)
    first = _place(draws[1], len(words) - length + 1)
    return words[:first] + words[first + length :]


def _insert(words: list[str], draws: Sequence[float], others: Words) -> list[str] | None:
    """One or two words of elsewhere come between."""
    if not others or not words:
        return None
    found = list(words)
    for draw in draws[: 1 + _place(draws[2], 2)]:
        found.insert(_place(draws[3], len(found) + 1), others[_place(draw, len(others))])
    return found


def _swap(words: list[str], draws: Sequence[float], others: Words) -> list[str] | None:
    """Two words that differ change places."""
    able = [(i, j) for i in range(len(words)) for j in range(i + 1, len(words)) if words[i] != words[j]]
    if not able:
        return None
    i, j = able[_place(draws[0], len(able))]
    found = list(words)
    found[i], found[j] = found[j], found[i]
    return found


def _shuffle(words: list[str], draws: Sequence[float], others: Words) -> list[str] | None:
    """All words in another order, drawn; of three at least, so that it is not `swap`."""
    if len(words) < 3:
        return None
    found = list(words)
    random.Random(draws[0]).shuffle(found)
    return found


CORRUPTIONS: dict[str, Callable[[list[str], Sequence[float], Words], list[str] | None]] = {
    "repeat": _repeat,
    "remove": _remove,
    "insert": _insert,
    "swap": _swap,
    "shuffle": _shuffle,
}
