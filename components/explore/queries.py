"""What a person writes is worked out in processes of their own, which are killed when they take too much.

    with Queries(folder) as queries:
        said, data = queries.ask({"filter": ..., "columns": ..., "filled": ...})

PROCESSES are kept warm, so that a filter that never ends holds up no other; whichever dies or is killed is
renewed at once. A server has a few dozen threads: so that some are always left for pictures and pages, only
WAITING questions wait for a process, and one more is told to come again.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pairwright.components.environment import usable_cores
from pairwright.components.errors import PairwrightError
from pairwright.components.explore.query_process import receive, send

SECONDS = 20.0  # after which a query is given up
MEMORY = 2 << 30  # bytes of one process
PROCESSES = 2
WAITING = 8
START_SECONDS = 60.0  # for a process to begin: on a busy machine its imports take seconds
MOST_THREADS = 8  # of one process; each has a stack that counts as memory
ROOT = Path(__file__).parents[3]


class QueryFailed(PairwrightError):
    """A query of the explorer that cannot be answered, in one line."""


class TooMuch(QueryFailed):
    """A query that takes more time or memory than it may."""


class Queries:
    """The processes over one scratch folder. Every method may be called from any thread."""

    def __init__(self, folder: str | Path, *, processes: int = PROCESSES) -> None:
        self._folder = str(folder)
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        self._waiting = threading.BoundedSemaphore(processes + WAITING)
        self._places = processes + WAITING
        # First in, first out: the one just renewed is still starting, and the spare is ready. None: closed.
        self._idle: queue.Queue[subprocess.Popen[bytes] | None] = queue.Queue()
        for _ in range(processes):
            self._idle.put(self._start())

    def ask(self, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """What a process answers (`filtering.Filtering.answer`).

        Raises:
            TooMuch: it took longer than SECONDS or more than MEMORY.
            QueryFailed: every process is busy, or the explorer is closing.
        """
        seconds = SECONDS
        busy = QueryFailed("other filters are being worked out; ask again in a moment")
        if not self._waiting.acquire(blocking=False):
            raise busy
        try:
            try:
                process = self._idle.get(timeout=2 * seconds)
            except queue.Empty:
                raise busy from None
            if process is None or process.poll() is not None:  # closed, or it died while nobody asked
                process = self._renewed(process)
            try:
                return _answer(process, asked | {"seconds": seconds}, seconds)
            finally:
                if process.poll() is not None and not self._closed:
                    process = self._renewed(process)
                self._idle.put(process)
        finally:
            self._waiting.release()

    def close(self) -> None:
        """End every process; who waits for one is told that it is over."""
        with self._lock:
            self._closed = True
            ended, self._alive = self._alive, set()
        for process in ended:
            process.kill()
            process.wait()
        for _ in range(self._places):
            self._idle.put(None)

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = [self._folder, str(MEMORY), str(min(usable_cores(), MOST_THREADS))]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with self._lock:
            if self._closed:
                raise QueryFailed("the explorer is closing")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pairwright.components.explore.query_process", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the system's last words on a failed allocation are no news to anybody
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C reaches the server alone
            )
            self._alive.add(process)
        return process

    def _renewed(self, process: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        if process is not None:
            with self._lock:
                self._alive.discard(process)
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
        return self._start()


def _answer(process: subprocess.Popen[bytes], asked: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytes]:
    """Ask one process; it is dead afterwards if it took too much."""
    assert process.stdin is not None, "it was started with pipes"
    assert process.stdout is not None, "it was started with pipes"
    with _killed_after(process, START_SECONDS):
        ready = receive(process.stdout)  # type: ignore[arg-type]
    answer = None
    with _killed_after(process, seconds) as late, suppress(OSError):  # a pipe breaks if it is killed meanwhile
        if ready is not None:
            send(process.stdin, asked)  # type: ignore[arg-type]
            answer = receive(process.stdout)  # type: ignore[arg-type]
    if answer is None or "memory" in answer[0] or late.is_set():
        process.kill()
        process.wait()
    if answer is not None and "memory" not in answer[0]:
        return answer
    if late.is_set():
        raise TooMuch(f"this takes longer than {seconds:g} s; ask for less at once")
    raise TooMuch(f"this needs more than {MEMORY >> 30} GB of memory; ask for less at once")


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Kill the process unless this is left in time; the event says whether it was."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    alarm = threading.Timer(seconds, end)
    alarm.daemon = True
    alarm.start()
    try:
        yield late
    finally:
        alarm.cancel()
        alarm.join()
