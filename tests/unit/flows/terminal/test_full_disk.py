"""A full disk is one line, whoever met it: a stage, a thread, a database, an error that came as text."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pairwright.flows.terminal.full_disk import is_full

RUN = """
import logging, sqlite3, sys, threading
from pairwright.flows import cli
from pairwright.flows.terminal.full_disk import said_once

def full():
    with open("/dev/full", "wb") as stream:
        stream.write(b"x" * 100_000)

def database():
    opened = sqlite3.connect(sys.argv[1])
    opened.execute("PRAGMA max_page_count = 2")
    opened.execute("CREATE TABLE IF NOT EXISTS t (x)")
    opened.executemany("INSERT INTO t VALUES (?)", [("y" * 1000,)] * 100)

def work(*_, **__):
    with said_once():
        for target in (full, database):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        try:
            full()
        except OSError:
            logging.getLogger("mlflow").exception("a batch of metrics was lost")
            logging.getLogger("imported.late").addHandler(logging.StreamHandler())  # as MLflow does, in the middle
            logging.getLogger("imported.late").exception("the store could not be written")
        try:
            (full if sys.argv[2] == "file" else database)()
        except Exception as error:
            raise RuntimeError("the stage failed") from error

import pairwright.flows.start
pairwright.flows.start.run_from_command = work
cli.main(["run", "quickstart"])
"""


@pytest.mark.parametrize("where", ["file", "database"])
def test_a_disk_that_fills_is_one_line(tmp_path: Path, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "small.db"), where], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("WorkspaceError: the disk is full; free space or set PAIRWRIGHT_WORKSPACE elsewhere")


def test_other_errors_are_no_full_disk() -> None:
    assert is_full(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert is_full(RuntimeError("ray::score() OSError: [Errno 28] No space left on device"))
    assert not is_full(OSError(errno.EACCES, "no"))
    assert not is_full(sqlite3.OperationalError("database is locked"))
    looped = ValueError("a")
    looped.__context__ = KeyError("b")
    looped.__context__.__context__ = looped
    assert not is_full(looped)
    assert not is_full(None)
