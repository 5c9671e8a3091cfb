"""Blocks held in memory: those of the shards used last, as many as fit.

held = Held(read, memory)          # read(shard) -> Block
block, start = held.find(7)        # shard 7's pairs begin at `start` of the block
held.join((7, 2, 5))               # one block of three: a batch that jumps among them is gathered at once
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from pairwright.components.dataset.examples.block import Block, joined


@dataclass(frozen=True)
class Unit:
    """A block and where each of its shards begins in it."""

    block: Block
    starts: dict[int, int]
    nbytes: int


class Held:
    """Shards' facts, read when they are asked for; several threads may ask.

    Args:
        read: a shard's facts, by its place in the dataset.
        memory: bytes; the block used last stays, however large it is.
    """

    def __init__(self, read: Callable[[int], Block], memory: int) -> None:
        self._read, self._memory = read, memory
        self._units: OrderedDict[int, Unit] = OrderedDict()
        self._unit_of: dict[int, int] = {}
        self._reading: dict[int, Future[Block]] = {}
        self._made = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many shards' facts are in memory."""
        return len(self._unit_of)

    @property
    def nbytes(self) -> int:
        return sum(unit.nbytes for unit in self._units.values())

    def find(self, shard: int) -> tuple[Block, int]:
        """The block that holds a shard, and where its pairs begin; one thread reads, others that want it wait."""
        with self._lock:
            known = self._unit_of.get(shard)
            if known is not None:
                self._units.move_to_end(known)
                return self._units[known].block, self._units[known].starts[shard]
            reading = self._reading.get(shard)
            if reading is None:
                mine: Future[Block] = Future()
                self._reading[shard] = mine
        if reading is not None:
            return reading.result(), 0
        try:
            block = self._read(shard)
        except BaseException as error:
            with self._lock:
                del self._reading[shard]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._reading[shard]
            self._keep(Unit(block, {shard: 0}, block.nbytes))
        mine.set_result(block)
        return block, 0

    def join(self, shards: Sequence[int]) -> None:
        """Have these shards in one block."""
        if len(shards) == 1:
            self.find(shards[0])
            return
        with self._lock:
            units = {self._unit_of.get(shard) for shard in shards}
            if len(units) == 1 and None not in units:
                return
        blocks = []
        for shard in shards:
            block, _ = self.find(shard)
            blocks.append(block if len(block.shards) == 1 else self._read(shard))
        sizes = np.array([len(block) for block in blocks])
        whole = joined(blocks)
        unit = Unit(whole, dict(zip(shards, (np.cumsum(sizes) - sizes).tolist())), whole.nbytes)
        with self._lock:
            self._keep(unit)

    def _keep(self, unit: Unit) -> None:
        """Hold a unit in place of what held its shards, and let go of what was not used for longest."""
        name = self._made
        self._made += 1
        for before in {self._unit_of[shard] for shard in unit.starts if shard in self._unit_of}:
            if self._units[before].starts.keys() <= unit.starts.keys():
                del self._units[before]
        self._units[name] = unit
        self._unit_of.update(dict.fromkeys(unit.starts, name))
        while len(self._units) > 1 and self.nbytes > self._memory:
            old, dropped = self._units.popitem(last=False)
            for shard in dropped.starts:
                if self._unit_of[shard] == old:
                    del self._unit_of[shard]
