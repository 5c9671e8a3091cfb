"""Examples read beside training, in blocks and in their order: a vocabulary's texts, what a model is measured on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pairwright.components.dataset.examples.example import Examples
    from pairwright.components.dataset.examples.population import Population

READ_AT_ONCE = 1024  # examples


def in_blocks(population: Population, numbers: np.ndarray) -> Iterator[Examples]:
    """The examples of these numbers, as of epoch 0."""
    for start in range(0, len(numbers), READ_AT_ONCE):
        yield population.read(numbers[start : start + READ_AT_ONCE], 0, 0)


def spread(population: Population, most: int) -> Iterator[Examples]:
    """At most so many examples, evenly over the population: the same ones in every run."""
    count = min(population.size, most)
    return in_blocks(population, np.arange(count) * population.size // max(count, 1))
