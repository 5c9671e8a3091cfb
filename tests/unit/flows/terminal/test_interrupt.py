"""A signal during a run: one line, nothing after it, and the exit code a shell gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pairwright.components.engine.cluster import LONGEST_SOCKET, SOCKET_PATH_BYTES, check_socket_paths
from pairwright.components.errors import EngineError

RUN = """
import atexit, signal, sys, threading, time, types
from pairwright.flows import cli
from pairwright.flows.terminal import interrupt
from pairwright.flows.terminal.interrupt import answer_again, answered_signals

def work(**_):
    with answered_signals():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))  # as Prefect and Ray do
        answer_again()
        atexit.register(print, "a leak", file=sys.stderr)
        print("at work", flush=True)
        try:
            time.sleep(60)
        finally:
            print("a traceback", file=sys.stderr)
            print("a result", flush=True)
            if "{ending}" == "stuck":
                while True:
                    time.sleep(1)
            if "{ending}" == "error":
                raise RuntimeError("what a library makes of it")

interrupt.PATIENCE_SECONDS = 0.5
import pairwright.flows.start
pairwright.flows.start.run_from_command = lambda *a, **k: work()
cli.main(["run", "quickstart"])
"""


@pytest.mark.parametrize("ending", ["plain", "error", "stuck"])
@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)])
def test_a_signal_is_one_line_and_its_own_exit_code(number: int, name: str, code: int, ending: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.replace("{ending}", ending)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert err == f"stopped by {name}; the same command goes on where this one stopped\n"
    assert out == ""
    assert process.returncode == code


def test_a_temporary_folder_too_long_for_a_socket_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    fits = "/" + "x" * (SOCKET_PATH_BYTES - len(LONGEST_SOCKET) - 2)
    monkeypatch.setenv("TMPDIR", fits)
    check_socket_paths()
    monkeypatch.setenv("TMPDIR", fits + "xyz")
    with pytest.raises(EngineError, match=r"is 3 bytes too long for Ray's sockets .*; set RAY_TMPDIR"):
        check_socket_paths()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_socket_paths()
