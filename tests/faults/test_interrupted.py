"""Ctrl-C and SIGTERM in the middle of a run say one line and print nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)])
def test_a_signal_in_the_middle_of_a_run_is_one_line(tmp_path: Path, number: int, name: str, code: int) -> None:
    recipe = tiny_project(tmp_path, pairs=960, shards=40)
    errors = tmp_path / "stderr"
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "pairwright.flows.cli", "run", str(recipe), "--only", "curate"],
            cwd=tmp_path,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    deadline = time.monotonic() + 200
    while process.poll() is None and not list((tmp_path / "workspace").glob("columns/**/*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.poll() is None, errors.read_text()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal sends it
    else:
        process.send_signal(number)
    process.wait(60)
    said = errors.read_text().splitlines()
    assert process.returncode == code, said
    assert said[-1] == f"stopped by {name}; the same command goes on where this one stopped"
    assert all(line.startswith(("  ", "tiny on raw")) for line in said[:-1]), said
