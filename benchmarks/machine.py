"""Facts of the machine a number was measured on, and the one way a benchmark prints its result."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def machine_facts(libraries: Sequence[str] = ()) -> dict[str, Any]:
    """CPU, memory in GiB, load, system, Python, commit and the versions of `libraries`."""
    return {
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "libraries": {name: importlib.metadata.version(name) for name in libraries},
    }


def add_output_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write the result there as well as to the terminal")


def publish(result: dict[str, Any], file: str | None, libraries: Sequence[str] = ()) -> None:
    """Print the result with the machine's facts as JSON, and write it to `file` if one is named."""
    text = json.dumps(result | {"machine": machine_facts(libraries)}, indent=1)
    print(text)
    if file:
        Path(file).write_text(text + "\n")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    json.dump(machine_facts(), sys.stdout, indent=1)
