"""Taking turns: many requests, one model, and none waits for all of another.

    texts = Turns("text", encode, most_items=64)
    vectors = await texts.ask(["a red car", "an owl"])

A batch is made whenever a worker is free, of what waits at that moment, one item of each request in
rotation until it is full. So nothing lingers for company: a request alone is worked on at once, at any
time, whatever came before it (an estimate of the model's speed would have to be unlearnt). Requests that
arrive while a batch runs share the next, and a request of thousands of items leaves room for a small one
in every batch. A request that is cancelled leaves the queue and is let go of; what is being worked on
then is at most a batch.

Everything here runs on the event loop of one server; only `work` runs in threads.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from pairwright.serving.limits import MAX_BULK, MAX_WAIT_S, MAX_WAITING, Refusal

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class _Asked(Generic[T, R]):
    """One request: its items, how many were handed out, what came back."""

    items: Sequence[T]
    answered: asyncio.Future[list[R]]
    since: float = field(default_factory=time.monotonic)
    handed: int = 0
    results: dict[int, R] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.handed == len(self.items) or self.answered.done()


class Turns(Generic[T, R]):
    """A queue of requests before `workers` threads that each do `work` on a batch.

    Args:
        work: items -> one result an item, in order; what it raises is raised in every request of the batch.
        most_items: in a batch.
        weight: of an item, where items differ much in cost; with `most_weight` it limits a batch too.
        bulk_above: a request of more items is a bulk, and only MAX_BULK of those may wait at once.
        observe: told the size of each batch.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], Sequence[R]],
        *,
        most_items: int = 1,
        weight: Callable[[T], int] = lambda item: 1,
        most_weight: float = math.inf,
        workers: int = 1,
        bulk_above: float = math.inf,
        observe: Callable[[int], Any] = lambda size: None,
    ) -> None:
        self._work, self._weight, self._observe = work, weight, observe
        self._most_items, self._most_weight, self._bulk_above = most_items, most_weight, bulk_above
        self._waiting: deque[_Asked[T, R]] = deque()
        self._idle = workers
        self._open = self._bulks = 0
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)

    async def ask(self, items: Sequence[T]) -> list[R]:
        """The results, in order.

        Raises:
            Refusal: 429 where too many requests wait already.
        """
        if not items:
            return []
        bulk = len(items) > self._bulk_above
        if self._open >= MAX_WAITING or (bulk and self._bulks >= MAX_BULK) or self._late():
            raise Refusal(429, "too many requests are waiting; ask again in a moment")
        loop = asyncio.get_running_loop()
        asked = _Asked[T, R](items, loop.create_future())
        self._open, self._bulks = self._open + 1, self._bulks + bulk
        self._waiting.append(asked)
        loop.call_soon(self._dispatch)  # what arrives in the same moment shares the batch
        try:
            return await asked.answered
        finally:
            asked.answered.cancel()  # nothing where it is answered
            self._open, self._bulks = self._open - 1, self._bulks - bulk

    def _late(self) -> bool:
        """Whether a request has waited too long for its first turn."""
        latest = time.monotonic() - MAX_WAIT_S
        return any(asked.handed == 0 and asked.since < latest and not asked.done for asked in self._waiting)

    def _dispatch(self) -> None:
        """Give every idle worker a batch, while anything waits."""
        while self._idle and (batch := self._batch()):
            self._idle -= 1
            self._observe(len(batch))
            running = asyncio.get_running_loop().run_in_executor(
                self._threads, self._work, [asked.items[number] for asked, number in batch]
            )
            running.add_done_callback(partial(self._finish, batch))

    def _batch(self) -> list[tuple[_Asked[T, R], int]]:
        """One item of each waiting request in rotation, until the batch is full."""
        batch: list[tuple[_Asked[T, R], int]] = []
        weight = 0
        while self._waiting and len(batch) < self._most_items:
            asked = self._waiting[0]
            if asked.done:
                self._waiting.popleft()
                continue
            more = self._weight(asked.items[asked.handed])
            if batch and weight + more > self._most_weight:
                break
            weight += more
            batch.append((asked, asked.handed))
            asked.handed += 1
            self._waiting.rotate(-1)
        return batch

    def _finish(self, batch: list[tuple[_Asked[T, R], int]], running: asyncio.Future[Sequence[R]]) -> None:
        self._idle += 1
        error = asyncio.CancelledError() if running.cancelled() else running.exception()
        for place, (asked, number) in enumerate(batch):
            if asked.answered.done():
                continue
            if error is not None:
                asked.answered.set_exception(error)
                continue
            asked.results[number] = running.result()[place]
            if len(asked.results) == len(asked.items):
                asked.answered.set_result([asked.results[i] for i in range(len(asked.items))])
        self._dispatch()

    def close(self) -> None:
        """End the threads once what they work on is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)
