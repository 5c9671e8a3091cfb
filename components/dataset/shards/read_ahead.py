"""Reading ahead of a model: many threads decode, one more makes batches, and the model waits for neither.

    for batch in in_background(read_pairs(shard, pixels=224, decode_threads=16)):
        model(batch)

Order is the source's own, whatever the threads do, and what is held is bounded by counts that are arguments.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

T = TypeVar("T")
LOOK_SECONDS = 0.1  # between looks whether anyone still reads


def mapped_ahead(
    work: Callable[[T], T], items: Iterator[T], threads: int, size_of: Callable[[T], int], most: int, most_bytes: int
) -> Iterator[T]:
    """`map(work, items)` in threads, in order, at most `most` items ahead and as many as fit in `most_bytes`.

    Args:
        size_of: bytes a finished item holds; the largest so far stands for those to come.
    """
    waiting: deque[Future[T]] = deque()
    largest = 1
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                room = min(max(2 * threads, most_bytes // largest), most)
                while len(waiting) > room:
                    done = waiting.popleft().result()
                    largest = max(largest, size_of(done))
                    yield done
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def in_background(source: Generator[T, None, None], ahead: int = 1) -> Generator[T, None, None]:
    """The items of `source`, made in a thread of their own: `ahead` wait ready while one more is being made.

    What `source` raises is raised here, at its place. Left early, it is closed before this returns.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(ahead)
    left = threading.Event()

    def put(entry: tuple[bool, Any]) -> bool:
        while not left.is_set():
            try:
                ready.put(entry, timeout=LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            with closing(source):
                for item in source:
                    if not put((True, item)):
                        return
                    del item  # else the thread holds it until the next is made
            put((False, None))
        except BaseException as error:
            put((False, error))

    maker = threading.Thread(target=make, name="read-ahead", daemon=True)
    maker.start()
    try:
        while True:
            made, item = ready.get()
            if not made:
                if item is not None:
                    raise item
                return
            yield item
            del item
    finally:
        left.set()
        maker.join()
