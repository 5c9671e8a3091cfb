"""The order of examples: a pure function of (seed, epoch), so that a place in the data is one integer, the step.

    order = Order(population.sizes, 256, seed=0, window=population.window)
    epoch, numbers = order.batch(step, rank, world_size)

A joint batch is the next `batch_size` of the epoch's order, and each rank takes its slice: the same keys for any
number of ranks. Where the window holds every shard, the order is one permutation of all examples. Else the shards
come in an order of (seed, epoch), are gathered into windows, and only a window's examples are permuted: whoever
reads holds the shards of two windows and no more. Going on from a checkpoint is arithmetic, not replay. Batches of
one kind, and batches without duplicates, are made of one permutation and are as pure.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from pairwright.components.errors import InvalidRecipe

WINDOW = 1 << 20  # examples
# What a stream is for, beside seed and epoch. Not 0: numpy's SeedSequence takes [1, 2] and [1, 2, 0] for the same.
SHARDS, DEALING, FIRST_WINDOW = 1, 2, 3
MIXING = 1 << 40  # beyond any window's number


class Order:
    """Batches of example numbers.

    Args:
        sizes: examples of each shard, in canonical order: shard i holds the numbers from sum(sizes[:i]).
        batch_size: examples a step over all ranks; what is left of an epoch below it is dropped.
        window: examples among which the order is mixed; a shard is never cut for it.
        distinct: a group of every example, int64 (examples,); then no joint batch holds two of one group.
        kinds: a kind of every example, int64 (examples,); then a joint batch holds examples of one kind alone, and
            what is left of each kind below a batch is dropped.

    Raises:
        InvalidRecipe: either is given for more examples than a window holds; a kind has fewer than a batch, or a
            group more than its kind has steps in an epoch.
    """

    def __init__(
        self,
        sizes: np.ndarray | list[int],
        batch_size: int,
        seed: int,
        window: int = WINDOW,
        distinct: np.ndarray | None = None,
        kinds: np.ndarray | None = None,
    ) -> None:
        self.sizes = np.asarray(sizes, np.int64)
        self.examples = int(self.sizes.sum())
        self.batch_size, self.seed, self.window = batch_size, seed, window
        self._starts = np.cumsum(self.sizes) - self.sizes
        self._whole = self.examples <= window
        self._distinct, self._kinds = distinct, kinds
        self._plans: dict[int, Plan] = {}
        self._rows: dict[tuple[int, int], np.ndarray] = {}
        self._lock = threading.Lock()
        self.steps_per_epoch = sum(len(members) // batch_size for members in self._members(np.arange(self.examples)))
        if distinct is not None or kinds is not None:
            self._check_batches()

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
            return order if self._distinct is None and self._kinds is None else self._batched(order, epoch)
        numbers = np.concatenate([np.arange(self._starts[s], self._starts[s] + self.sizes[s]) for s in shards])
        return generator(self.seed, epoch, FIRST_WINDOW + window).permutation(numbers)

    def _members(self, numbers: np.ndarray) -> list[np.ndarray]:
        """These examples by kind, in the order given; all of them where there are no kinds."""
        if self._kinds is None:
            return [numbers]
        of_each = self._kinds[numbers]
        return [numbers[of_each == kind] for kind in np.unique(of_each)]

    def _batched(self, order: np.ndarray, epoch: int) -> np.ndarray:
        """The epoch's examples in batches of one kind, without two of one group: whichever of the two is asked."""
        batches = []
        for kind, members in enumerate(self._members(order)):
            random = generator(self.seed, epoch, DEALING, *([kind] if kind else []))
            taken = members[: len(members) // self.batch_size * self.batch_size]
            dealt = taken if self._distinct is None else self._dealt(taken, self._distinct[taken], random)
            batches.append(dealt.reshape(-1, self.batch_size))
        mixed = np.concatenate(batches)
        return (mixed if self._kinds is None else generator(self.seed, epoch, MIXING).permutation(mixed)).reshape(-1)

    def _dealt(self, taken: np.ndarray, groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Examples dealt to their batches like cards, group by group: no batch gets two of one group."""
        steps = len(taken) // self.batch_size
        _, first, group = np.unique(groups, return_index=True, return_inverse=True)
        cards = taken[np.argsort(first[group], kind="stable")]  # groups in random order, each side by side
        batches = cards.reshape(self.batch_size, steps).T[random.permutation(steps)]
        return random.permuted(batches, axis=1).reshape(-1)

    def _check_batches(self) -> None:
        for said in (self._distinct, self._kinds):
            assert said is None or len(said) == self.examples, f"{len(said)} values of {self.examples} examples"
        if not self._whole:
            raise InvalidRecipe(
                f"batches without two of one group, or of one kind alone, need all {self.examples} examples in a "
                f"window, which holds {self.window}; raise the window"
            )
        for members in self._members(np.arange(self.examples)):
            steps = len(members) // self.batch_size
            if not steps:
                raise InvalidRecipe(
                    f"{len(members)} examples are of one kind and a batch has {self.batch_size}: they would never be "
                    "seen; lower batch_size, or leave them out"
                )
            if self._distinct is None:
                continue
            largest = int(np.unique(self._distinct[members], return_counts=True)[1].max(initial=0))
            if largest > steps:
                raise InvalidRecipe(
                    f"{largest} examples are of one group and an epoch has {steps} steps: some batch would "
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
    kinds: np.ndarray | None = None,
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
    return Order(sizes, size, seed, window, distinct, kinds)
