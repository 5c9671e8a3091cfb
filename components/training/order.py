"""The order of examples: a pure function of (seed, epoch), so that a place in the data is one integer, the step.

    order = Order(population.sizes, 256, seed=0, window=population.window)
    epoch, numbers = order.batch(step, rank, world_size)

A joint batch is the next `batch_size` of the epoch's order, and each rank takes its slice: the same keys for any
number of ranks. Where the window holds every shard, the order is one permutation of all examples. Else the shards
come in an order of (seed, epoch), are gathered into windows, and only a window's examples are permuted: whoever
reads holds the shards of two windows and no more. Going on from a checkpoint is arithmetic, not replay.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from pairwright.components.errors import InvalidRecipe

WINDOW = 1 << 20  # examples
# What a stream is for, beside seed and epoch. Not 0: numpy's SeedSequence takes [1, 2] and [1, 2, 0] for the same.
SHARDS, DEALING, FIRST_WINDOW = 1, 2, 3


class Order:
    """Batches of example numbers.

    Args:
        sizes: examples of each shard, in canonical order: shard i holds the numbers from sum(sizes[:i]).
        batch_size: examples a step over all ranks; what is left of an epoch below it is dropped.
        window: examples among which the order is mixed; a shard is never cut for it.
        distinct: a group of every example, int64 (examples,); then no joint batch holds two of one group.

    Raises:
        InvalidRecipe: `distinct` is given for more examples than a window holds, or a group has more of them than
            an epoch has steps.
    """

    def __init__(
        self,
        sizes: np.ndarray | list[int],
        batch_size: int,
        seed: int,
        window: int = WINDOW,
        distinct: np.ndarray | None = None,
    ) -> None:
        self.sizes = np.asarray(sizes, np.int64)
        self.examples = int(self.sizes.sum())
        self.batch_size, self.seed, self.window = batch_size, seed, window
        self._starts = np.cumsum(self.sizes) - self.sizes
        self._whole = self.examples <= window
        self._distinct = distinct
        self._plans: dict[int, Plan] = {}
        self._rows: dict[tuple[int, int], np.ndarray] = {}
        self._lock = threading.Lock()
        if distinct is not None:
            self._check_distinct(distinct)

    @property
    def steps_per_epoch(self) -> int:
        return self.examples // self.batch_size

    def place(self, step: int) -> tuple[int, int]:
        """(epoch, position in its order) where this step begins; `step` counts from 0."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        return epoch, batch * self.batch_size

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> tuple[int, np.ndarray]:
        """The epoch, and this rank's slice of the step's joint batch: int64 (batch_size / world_size,)."""
        epoch, position = self.place(step)
        share = self.batch_size // world_size
        return epoch, self.numbers(epoch, position + rank * share, position + (rank + 1) * share)

    def numbers(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Positions start..stop of an epoch's order, int64."""
        plan = self._plan(epoch)
        first, last = plan.window_at(start), plan.window_at(stop - 1)
        parts = [
            self._window(epoch, at, plan.windows[at])[max(start - plan.starts[at], 0) : stop - plan.starts[at]]
            for at in range(first, last + 1)
        ]
        return np.concatenate(parts)  # a copy: what is kept is no caller's to change

    def shards_at(self, step: int) -> tuple[int, ...]:
        """Shards of the window in which `step` begins; none where all are in one window."""
        if self._whole:
            return ()
        epoch, position = self.place(step)
        plan = self._plan(epoch)
        return tuple(plan.windows[plan.window_at(position)].tolist())

    def shards_after(self, step: int, end: int) -> tuple[int, ...]:
        """Shards of the window after the one in which `step` ends, so that they are read before they are needed.

        None where all shards are in one window, and where the steps before `end` do not get there.
        """
        if self._whole:
            return ()
        epoch, position = self.place(step)
        plan = self._plan(epoch)
        following = plan.window_at(position + self.batch_size - 1) + 1
        last_epoch, last_position = self.place(end - 1)
        if following < len(plan.windows):
            reached = last_epoch > epoch or last_position + self.batch_size > plan.starts[following]
            return tuple(plan.windows[following].tolist()) if reached else ()
        return tuple(self._plan(epoch + 1).windows[0].tolist()) if last_epoch > epoch else ()

    def _plan(self, epoch: int) -> Plan:
        with self._lock:
            if epoch not in self._plans:
                while len(self._plans) >= 2:
                    self._plans.pop(min(self._plans))
                self._plans[epoch] = self._planned(epoch)
            return self._plans[epoch]

    def _planned(self, epoch: int) -> Plan:
        if self._whole:
            return Plan([np.arange(len(self.sizes))], np.zeros(1, np.int64))
        shards = generator(self.seed, epoch, SHARDS).permutation(len(self.sizes))
        windows, lengths = [], []
        current: list[int] = []
        held = 0
        for shard in shards[self.sizes[shards] > 0]:
            if current and held + self.sizes[shard] > self.window:
                windows.append(np.array(current))
                lengths.append(held)
                current, held = [], 0
            current.append(int(shard))
            held += int(self.sizes[shard])
        windows.append(np.array(current))
        lengths.append(held)
        return Plan(windows, np.cumsum(lengths) - lengths)

    def _window(self, epoch: int, window: int, shards: np.ndarray) -> np.ndarray:
        """A window's numbers in their order; the two used last are kept."""
        with self._lock:
            known = self._rows.get((epoch, window))
            if known is None:
                known = self._permuted(epoch, window, shards)
                while len(self._rows) >= 2:
                    self._rows.pop(next(iter(self._rows)))
                self._rows[epoch, window] = known
            return known

    def _permuted(self, epoch: int, window: int, shards: np.ndarray) -> np.ndarray:
        if self._whole:
            order = generator(self.seed, epoch).permutation(self.examples)
            return order if self._distinct is None else self._dealt(order, epoch)
        numbers = np.concatenate([np.arange(self._starts[s], self._starts[s] + self.sizes[s]) for s in shards])
        return generator(self.seed, epoch, FIRST_WINDOW + window).permutation(numbers)

    def _dealt(self, order: np.ndarray, epoch: int) -> np.ndarray:
        """The epoch's examples dealt to its batches like cards, group by group: no batch gets two of one group."""
        steps = self.steps_per_epoch
        taken = order[: steps * self.batch_size]
        assert self._distinct is not None
        _, first, group = np.unique(self._distinct[taken], return_index=True, return_inverse=True)
        cards = taken[np.argsort(first[group], kind="stable")]  # groups in random order, each side by side
        random = generator(self.seed, epoch, DEALING)
        batches = cards.reshape(self.batch_size, steps).T[random.permutation(steps)]
        return random.permuted(batches, axis=1).reshape(-1)

    def _check_distinct(self, groups: np.ndarray) -> None:
        assert len(groups) == self.examples, f"{len(groups)} groups of {self.examples} examples"
        if not self._whole:
            raise InvalidRecipe(
                f"batches without two of one group need all {self.examples} examples in a window, which holds "
                f"{self.window}; raise the window"
            )
        largest = int(np.unique(groups, return_counts=True)[1].max(initial=0))
        if largest > self.steps_per_epoch:
            raise InvalidRecipe(
                f"{largest} examples are of one group and an epoch has {self.steps_per_epoch} steps: some batch would "
                "hold two of them; lower batch_size, or drop duplicates first"
            )


@dataclass(frozen=True)
class Plan:
    """An epoch's windows: the shards of each, and the positions where they begin."""

    windows: list[np.ndarray]
    starts: np.ndarray

    def window_at(self, position: int) -> int:
        return int(np.searchsorted(self.starts, position, side="right")) - 1


def generator(seed: int, *said: int) -> np.random.Generator:
    """A stream of (seed, ...) alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *said])))


def order_of(
    sizes: np.ndarray | list[int],
    batch_size: int,
    seed: int,
    world_size: int = 1,
    window: int = WINDOW,
    distinct: np.ndarray | None = None,
) -> Order:
    """An order; a batch larger than the data becomes all of it that divides by the ranks.

    Raises:
        InvalidRecipe: the batch does not divide by the ranks, or there are fewer examples than ranks, or as `Order`.
    """
    if batch_size % world_size:
        raise InvalidRecipe(
            f"batch_size {batch_size} does not divide by {world_size} training workers; make it a multiple"
        )
    examples = int(np.sum(sizes))
    size = min(batch_size, examples - examples % world_size)
    if size < max(2, world_size):
        raise InvalidRecipe(f"{examples} pairs are too few to train on; loosen the keep-rules or add data")
    return Order(sizes, size, seed, window, distinct)
