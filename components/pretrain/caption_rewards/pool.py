"""Pictures of the population by a retriever's vectors, and those most like another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

READ_AT_ONCE = 4096  # examples


class Pool:
    """Vectors (p, d) of unit norm and the numbers (p,) of their examples.

    Args:
        same: cosine beyond which two pictures are the same one, as copies and variants of a picture are.
    """

    def __init__(self, numbers: Tensor, vectors: Tensor, same: float) -> None:
        self.numbers, self.vectors, self.same = numbers, vectors, same

    @classmethod
    def of(cls, population: Any, features: str, encode: Callable[[Tensor], Tensor], most: int, same: float) -> Self:
        """At most so many pictures, evenly over the population: the same ones in every run and on every rank."""
        count = min(population.size, most)
        numbers = np.arange(count) * population.size // max(count, 1)
        vectors = []
        for at in range(0, count, READ_AT_ONCE):
            seen = population.read(numbers[at : at + READ_AT_ONCE], 0, 0)
            vectors.append(encode(torch.from_numpy(np.asarray(seen.column(features), np.float32))))
        found = torch.cat(vectors)
        return cls(torch.from_numpy(numbers).to(found.device), found, same)

    def nearest(self, vectors: Tensor, numbers: Tensor, count: int) -> dict[str, Tensor]:
        """Of pictures (n, d) with these numbers (n,): the nearest others as `near` (n, k, d), the nearest first.

        Their `number` (n, k) is -1 where there are fewer than k = min(count, p) that are no copies.
        """
        cosines = vectors @ self.vectors.T
        own = self.numbers[None] == numbers.to(self.numbers.device)[:, None]
        cosines = cosines.masked_fill(own | (cosines > self.same), -torch.inf)
        best = cosines.topk(min(count, len(self.vectors)), dim=1)
        found = torch.where(best.values > -torch.inf, self.numbers[best.indices], -1)
        return {"near": self.vectors[best.indices], "number": found}
