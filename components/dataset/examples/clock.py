"""Where the time of reading goes, over all threads.

clock = Clock()
with clock("decode"): ...
clock.seconds          # {"read": 1.2, "decode": 7.9, "collate": 0.4}
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

READ, DECODE, COLLATE = PARTS = ("read", "decode", "collate")


class Clock:
    """Seconds by part, summed over threads."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[part] += spent
