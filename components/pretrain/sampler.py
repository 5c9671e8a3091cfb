"""Which pairs a step trains on: a pure function of (seed, step), whatever the number of workers.

The order of an epoch is a permutation by (seed, epoch); a global batch is the next `batch_size` of
it, and each rank takes its slice. So the place in the data is (epoch, position), and going on from a
checkpoint is arithmetic, not replay.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pairwright.components.errors import InvalidRecipe


@dataclass
class Sampler:
    """Batches of pair numbers.

    Attributes:
        pairs: how many pairs there are.
        batch_size: pairs a step over all ranks; what is left of an epoch below it is dropped.
    """

    pairs: int
    batch_size: int
    seed: int
    _epoch: int = field(default=-1, repr=False)
    _order: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    @property
    def steps_per_epoch(self) -> int:
        return self.pairs // self.batch_size

    def place(self, step: int) -> tuple[int, int]:
        """(epoch, position in its order) where this step begins; `step` counts from 0."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        return epoch, batch * self.batch_size

    def order(self, epoch: int) -> np.ndarray:
        """The epoch's permutation, int64 (pairs,)."""
        if epoch != self._epoch:
            random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
            self._epoch, self._order = epoch, random.permutation(self.pairs)
        return self._order

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """This rank's slice of the step's batch: int64 (batch_size / world_size,)."""
        epoch, position = self.place(step)
        share = self.batch_size // world_size
        return self.order(epoch)[position + rank * share : position + (rank + 1) * share]


def sampler_for(pairs: int, batch_size: int, seed: int, world_size: int = 1) -> Sampler:
    """A sampler; a batch larger than the data becomes all of it that divides by the ranks.

    Raises:
        InvalidRecipe: the batch does not divide by the ranks, or there are fewer pairs than ranks.
    """
    if batch_size % world_size:
        raise InvalidRecipe(
            f"batch_size {batch_size} does not divide by {world_size} training workers; make it a multiple"
        )
    size = min(batch_size, pairs - pairs % world_size)
    if size < max(2, world_size):
        raise InvalidRecipe(f"{pairs} pairs are too few to train on; loosen the keep-rules or add data")
    return Sampler(pairs, size, seed)
