"""`make demo` twice in a fresh workspace: the first run's time, and that of a run where nothing changed.

    python -m benchmarks.demo               at most 15 minutes, then at most 30 s, on 2 cores

Prints every stage's seconds, and the second run's share of the first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from benchmarks.machine import machine_facts

FIRST_LIMIT, AGAIN_LIMIT = 15 * 60.0, 30.0


def run(workspace: str) -> tuple[float, dict[str, float], set[str]]:
    """Wall-clock seconds of the whole command, seconds by stage, and the statuses that occurred."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pairwright.flows.cli", "run", "quickstart", "--json"],
        env={**os.environ, "PAIRWRIGHT_WORKSPACE": workspace},
        check=True,
        stdout=subprocess.PIPE,
    )
    seconds = time.perf_counter() - started
    stages = json.loads(done.stdout)["stages"]
    return seconds, {s["name"]: round(s["seconds"], 2) for s in stages}, {s["status"] for s in stages}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pairwright-demo-") as workspace:
        first, stages, _ = run(workspace)
        again, reused, statuses = run(workspace)
    assert statuses == {"reused"}, statuses
    answer = {
        "first_s": round(first, 1),
        "again_s": round(again, 1),
        "ratio": round(again / first, 4),
        "stages_first": stages,
        "stages_again": reused,
        "machine": machine_facts(),
    }
    print(json.dumps(answer, indent=1))
    sys.exit(first > FIRST_LIMIT or again > AGAIN_LIMIT)


if __name__ == "__main__":
    main()
