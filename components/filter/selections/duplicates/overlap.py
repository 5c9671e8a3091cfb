"""Reading ahead and writing behind a stream, so that both cores work and the order stays.

    for table in ahead(read, shards, depth=4): ...
    with behind(writer.write_batch) as write:
        for batch in batches: write(batch)

At most `depth` items are read ahead and one is written behind, so memory does not grow with the data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from pairwright.components.environment import usable_cores

T = TypeVar("T")
R = TypeVar("R")


def ahead(read: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """`map(read, items)`, with up to `depth` items being read while the caller is busy with one."""
    with ThreadPoolExecutor(min(depth, usable_cores())) as threads:
        coming: deque[Future[R]] = deque()
        try:
            for item in items:
                coming.append(threads.submit(read, item))
                if len(coming) > depth:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()


@contextmanager
def behind(write: Callable[[T], Any]) -> Iterator[Callable[[T], None]]:
    """A `write` that returns at once; it waits, and raises what went wrong, on the next call and at the end."""
    with ThreadPoolExecutor(1) as thread:
        last: list[Future[Any]] = []

        def later(item: T) -> None:
            if last:
                last.pop().result()
            last.append(thread.submit(write, item))

        yield later
        if last:
            last.pop().result()
