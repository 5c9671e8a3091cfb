"""Ctrl-C and SIGTERM during a run: one line, then silence, and an exit code that tells which it was.

    with answered_signals():
        flow(...)

What Prefect, Ray, MLflow and DuckDB say while they are taken apart under way is no news to anybody, so
nothing is printed after the line; a second signal, or libraries that do not end in time, end the process
at once. All that a run had committed stands, whatever moment it was.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE_SECONDS = 20.0  # for the servers and sessions that this process started to be ended
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LINE = "stopped by {name}; the same command goes on where this one stopped\n"

_answering = False
_ended_by: int | None = None


@contextmanager
def answered_signals() -> Iterator[None]:
    """Answer the signals until the end of the block; outside the main thread they are somebody else's."""
    global _answering
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _answering = True
    answer_again()
    try:
        yield
    finally:
        _answering = False
        if _ended_by is None:
            for number, handler in before.items():
                signal.signal(number, handler)


def answer_again() -> None:
    """Take the signals back from a library that has taken them, if they were ours."""
    if _answering and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _end)


def exit_code() -> int | None:
    """128 and the signal's number once one has come, as a shell has it."""
    return None if _ended_by is None else 128 + _ended_by


def _end(number: int, frame: FrameType | None) -> None:
    global _ended_by
    if _ended_by is not None:
        os._exit(128 + _ended_by)
    _ended_by = number
    sys.stderr.flush()
    os.write(2, LINE.format(name="Ctrl-C" if number == signal.SIGINT else "SIGTERM").encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    late = threading.Timer(PATIENCE_SECONDS, os._exit, (128 + number,))
    late.daemon = True
    late.start()
    raise KeyboardInterrupt
