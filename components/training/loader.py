"""The loader: batches of a task, in the order's order, made ahead of the training thread.

    loader = Loader(population, order, task.collate, seed=0)
    for step, batch in loader.stream(first_step=120, steps=400):
        ...
    print(loader.times)        # 5,210 pairs/s, 3% of the time waited for data; ...
    print(loader.advice())     # a remedy where training waits more than a tenth of its time

Reading, decoding and `collate` (tokenising included) run in threads: libjpeg, OpenCV, Arrow and tokenizers let go of
the interpreter while they work. No thread has a state that decides what a batch is: that is a pure function of
(seed, step, rank), so any number of threads makes the same batches, and going on at a step is starting there.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import cv2
import torch

from pairwright.components.dataset.examples.clock import COLLATE, DECODE, READ, Clock
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.population import Population
from pairwright.components.errors import DatasetError
from pairwright.components.training.batch import Batch
from pairwright.components.training.order import Order

Collate = Callable[[Examples], Mapping[str, Any]]

SLOW = 0.1  # share of the time spent waiting beyond which there is something to do
AHEAD = 4  # batches
REMEDIES = {
    READ: "raise threads; keep shards and columns on a local disk, more of them in memory, or mix smaller windows",
    DECODE: "raise threads; use shards whose pictures are near the size asked for, or train from columns of features",
    COLLATE: "raise threads and ahead; what is the same each epoch belongs into the columns of a step",
}


@dataclass
class Times:
    """Where the time of a stream went.

    Attributes:
        pairs, batches: given to the trainer; `empty` batches had no example that could be read.
        first: seconds until the first batch was there, which is no waiting: it happens once.
        elapsed: seconds since then, of which `waited` for data.
        parts: seconds of all threads by part: read, decode, collate.
    """

    pairs: int = 0
    batches: int = 0
    empty: int = 0
    first: float = 0.0
    elapsed: float = 0.0
    waited: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def pairs_per_second(self) -> float:
        return self.pairs / self.elapsed if self.elapsed else 0.0

    @property
    def share_waited(self) -> float:
        return self.waited / self.elapsed if self.elapsed else 0.0

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in self.parts.items())
        return f"{self.pairs_per_second:,.0f} pairs/s, {self.share_waited:.0%} of the time waited for data; {parts}"


class Loader:
    """Batches of a task's examples.

    Args:
        collate: the task's; runs in several threads at once.
        ahead: batches made or being made while one trains.
        threads: that read and decode; 0 for one a core.
        device: with "cuda" batches lie in page-locked memory.
    """

    def __init__(
        self,
        population: Population,
        order: Order,
        collate: Collate,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        ahead: int = AHEAD,
        threads: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.population, self.order, self.collate = population, order, collate
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.ahead, self.threads = max(ahead, 1), threads or len(os.sched_getaffinity(0))
        self._pinned = torch.device(device).type == "cuda"
        self._clock = Clock()
        self.times = Times(parts=self._clock.seconds)

    def stream(self, first_step: int, steps: int) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for the steps first_step, ..., first_step + steps - 1; closing it ends the threads.

        A batch without a single example that could be read is left out, and counted in `times`.

        Raises:
            DatasetError: too many examples cannot be read; with several ranks, all of one rank's share.
            Whatever `collate` raises.
        """
        with self._threads() as (batches, decoding, holding):
            waiting: deque[tuple[int, Future[Batch | None]]] = deque()
            following, end = first_step, first_step + steps
            held = self.order.shards_at(first_step)
            self._hold(held, holding)
            while following < end or waiting:
                while following < end and len(waiting) < self.ahead:
                    waiting.append((following, batches.submit(self._batch, following, decoding)))
                    upcoming = self.order.shards_after(following, end)
                    if held != upcoming:
                        held = upcoming
                        self._hold(held, holding)
                    following += 1
                step, future = waiting.popleft()
                batch = self._wait(future)
                if batch is None:
                    self.times.empty += 1
                    continue
                self.times.pairs += len(batch)
                self.times.batches += 1
                start = time.perf_counter()
                yield step, batch
                self.times.elapsed += time.perf_counter() - start

    def advice(self) -> str:
        """Which part is slow and what to do about it, where more than a tenth of the time was waited; else ""."""
        if self.times.share_waited <= SLOW:
            return ""
        part = max(self.times.parts, key=lambda name: self.times.parts[name])
        share = f"{self.times.share_waited:.0%} of the time is spent waiting for data"
        return f"{share}, most of it to {part} ({self.threads} threads, {self.ahead} batches ahead): {REMEDIES[part]}"

    def _hold(self, shards: tuple[int, ...], holding: ThreadPoolExecutor) -> None:
        """Have a window's shards read one by one, so that closing the stream waits for one at most, and then joined."""
        for shard in shards:
            holding.submit(self.population.hold, (shard,))
        holding.submit(self.population.hold, shards)

    def _wait(self, future: Future[Batch | None]) -> Batch | None:
        start = time.perf_counter()
        try:
            return future.result()
        finally:
            spent = time.perf_counter() - start
            if self.times.first:
                self.times.waited += spent
                self.times.elapsed += spent
            else:
                self.times.first = spent

    def _batch(self, step: int, decoding: ThreadPoolExecutor) -> Batch | None:
        epoch, numbers = self.order.batch(step, self.rank, self.world_size)
        examples = self.population.read(numbers, epoch, self.seed, decoding, self._clock)
        if not len(examples):
            if self.world_size > 1:
                raise DatasetError(
                    f"none of the {len(numbers)} examples of rank {self.rank} in step {step} can be read, and other "
                    "ranks wait for it; raise batch_size, or drop such pairs by a keep-rule on a scorer that opens them"
                )
            return None
        with self._clock(COLLATE):
            fields = self.collate(examples)
            batch = Batch(fields, torch.from_numpy(examples.numbers), examples.keys, epoch)
            return batch.pinned() if self._pinned else batch

    @contextmanager
    def _threads(self) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor, ThreadPoolExecutor]]:
        """For batches, for decoding, and for holding the next window's shards; on leaving all have ended."""
        pools = (
            _narrow(min(self.ahead, self.threads)),
            ThreadPoolExecutor(self.threads, "decode", cv2.setNumThreads, (0,)),  # these are OpenCV's threads
            ThreadPoolExecutor(1, "hold"),
        )
        try:
            yield pools
        finally:
            for pool in pools:  # those that wait for decoding first: it goes on until they are done
                pool.shutdown(wait=True, cancel_futures=True)


def _narrow(threads: int) -> ThreadPoolExecutor:
    """Threads in which torch computes by one thread each; those beside them keep what they have.

    Else `collate` has the cores fought over: casting 256 features took 9 ms in place of 0.05 ms where two threads met.
    torch's setting is of a thread, and the default of those that have none yet, which is therefore put back.
    """
    own, all_started = torch.get_num_threads(), Barrier(threads)

    def one() -> None:
        torch.get_num_threads()  # the first call in a thread takes the default
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(threads, "loader", one)
    for started in [pool.submit(all_started.wait) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(own)
    return pool
