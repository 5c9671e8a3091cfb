"""The most recently used results, up to a weight: masks, orders and thumbnails are asked for again and again.

masks = Recent(64 << 20, weight=lambda mask: mask.nbytes)
mask = masks.get(key, lambda: evaluate(text))
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Least recently used results are dropped first. Who asks for what another thread is making waits for it."""

    def __init__(self, capacity: int, weight: Callable[[T], int]) -> None:
        self._capacity, self._weight = capacity, weight
        self._held: OrderedDict[Hashable, T] = OrderedDict()
        self._making: dict[Hashable, Future[T]] = {}
        self._lock = threading.Lock()
        self.weight = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result for `key`, made if it is not held. An exception of `make` is told all who wait, and forgotten."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            others = self._making.get(key)
            own = self._making.setdefault(key, Future())
        if others is not None:
            return others.result()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            own.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._held[key] = made
            self.weight += self._weight(made)
            own.set_result(made)
            while self.weight > self._capacity and len(self._held) > 1:
                self.weight -= self._weight(self._held.popitem(last=False)[1])
        return made

    def __len__(self) -> int:
        return len(self._held)
