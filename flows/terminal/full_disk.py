"""A disk that fills in the middle of a run is one line, whichever library met it first.

Stages say it themselves (`storage.workspace_error`). Prefect's and MLflow's threads and databases meet it
too, each with a traceback of its own; what they would print is the same news again.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
WORDS = ("No space left on device", "database or disk is full", "Disk quota exceeded")  # of errors that came as text


def is_full(error: BaseException | None) -> bool:
    """The error, or one that led to it, says that a disk or a quota is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if any(word in str(error) for word in WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def said_once() -> Iterator[None]:
    """No thread and no log prints that the disk is full: the command will, as it ends."""
    in_thread, unraisable, raising = threading.excepthook, sys.unraisablehook, logging.raiseExceptions

    def of_thread(hook: Any) -> None:
        if not is_full(hook.exc_value):
            in_thread(hook)

    def of_nobody(hook: Any) -> None:
        if not is_full(hook.exc_value):
            unraisable(hook)

    def unless_full(handler: logging.Handler, record: logging.LogRecord) -> Any:
        return _not_full(record) and handle(handler, record)

    threading.excepthook, sys.unraisablehook = of_thread, of_nobody
    logging.raiseExceptions = False  # a handler that cannot write its record
    # Of every handler, those too that a library adds as it is imported in the middle of the run (MLflow's).
    handle, logging.Handler.handle = logging.Handler.handle, unless_full  # type: ignore[method-assign]
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook, logging.raiseExceptions = in_thread, unraisable, raising
        logging.Handler.handle = handle  # type: ignore[method-assign]


def _not_full(record: logging.LogRecord) -> bool:
    return not (record.exc_info and is_full(record.exc_info[1]))
