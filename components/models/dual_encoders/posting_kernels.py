"""The two loops of an inverted index, compiled by numba on first use: add lists up, keep the k best.

    scores = np.zeros(items)
    add_lists(starts, item, weight, tokens, weights, scores)
    numbers = best(scores, 10)

Both release the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pairwright.components.compiled import COMPILED


@njit(**COMPILED)
def add_lists(starts, item, weight, tokens, weights, scores):  # type: ignore[no-untyped-def]
    """Add each token's list to `scores` (items,) float64, token by token in the order given.

    A list is starts[token]..starts[token + 1] of `item` and `weight`. A product of two float32 is exact in float64,
    so a fused multiply-add, where the processor has one, rounds as the two steps do.
    """
    for at in range(len(tokens)):
        share = np.float64(weights[at])
        for i in range(starts[tokens[at]], starts[tokens[at] + 1]):
            scores[item[i]] += share * np.float64(weight[i])


@njit(**COMPILED)
def best(scores, k):  # type: ignore[no-untyped-def]
    """int64 (k,), k at most len(scores): numbers of the k largest, largest first; of equal ones the smaller number."""
    numbers, values = np.zeros(k, np.int64), np.full(k, -np.inf)
    for number in range(len(scores) if k else 0):
        value = scores[number]
        if number < k:
            place = number
        elif value > values[k - 1]:  # not as large: an equal one that came before has the smaller number
            place = k - 1
        else:
            continue
        while place > 0 and value > values[place - 1]:
            values[place], numbers[place] = values[place - 1], numbers[place - 1]
            place -= 1
        values[place], numbers[place] = value, number
    return numbers
