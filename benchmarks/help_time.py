"""`pairwright --help` against `python -c pass`: the ratio of their best wall-clock times.

python -m benchmarks.help_time          must be at most 12
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.machine import machine_facts

RUNS = 15
LIMIT = 12.0


def best_seconds(*command: str) -> float:
    """The fastest of RUNS runs: what the command costs when nothing disturbs it."""
    best = float("inf")
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    nothing = best_seconds(sys.executable, "-c", "pass")
    ours = best_seconds(sys.executable, "-m", "pairwright.flows.cli", "--help")
    ratio = ours / nothing
    print(
        json.dumps(
            {"help_s": ours, "pass_s": nothing, "ratio": ratio, "limit": LIMIT, "machine": machine_facts()}, indent=1
        )
    )
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
