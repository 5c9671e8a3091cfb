"""The most recently used results, up to a weight: masks, orders and thumbnails are asked for again and again.

masks = Recent(64 << 20, weight=lambda mask: mask.nbytes)
mask = masks.get(key, lambda: evaluate(text))
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Least recently used results are dropped first; two threads may make the same one at once, never wait."""

    def __init__(self, capacity: int, weight: Callable[[T], int]) -> None:
        self._capacity, self._weight = capacity, weight
        self._held: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()
        self.weight = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result for `key`, made if it is not held. An exception of `make` is not remembered."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = make()
        with self._lock:
            if key not in self._held:
                self._held[key] = made
                self.weight += self._weight(made)
            while self.weight > self._capacity and len(self._held) > 1:
                self.weight -= self._weight(self._held.popitem(last=False)[1])
        return made

    def __len__(self) -> int:
        return len(self._held)
