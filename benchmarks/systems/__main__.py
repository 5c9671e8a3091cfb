"""Run claims and write the page: `python -m benchmarks.systems --help`."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, machine_facts
from benchmarks.systems.claim import Claim, found_of
from benchmarks.systems.page import FOUND, PAGE, PICTURES, claim_names, code_digest, is_of, page, read_found
from benchmarks.systems.place import Place


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.systems", description=__doc__)
    parser.add_argument("names", nargs="*", help="recipes' names; if none, all that changed since they were run")
    parser.add_argument("--place", default=str(ROOT / "workspace" / "benchmarks" / "systems"), help="what is shared")
    parser.add_argument("--page", action="store_true", help="write docs/systems.md from what was found, run nothing")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(claim_names()):
        parser.error(f"no claim is called {', '.join(sorted(unknown))}; there are {', '.join(claim_names())}")
    if not asked.page:
        place = Place(asked.place)
        for name in asked.names or claim_names():
            claim = importlib.import_module(f"benchmarks.systems.{name}").CLAIM
            if asked.names or not is_of(claim, read_found(name)):
                try_claim(claim, place)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def try_claim(claim: Claim, place: Place) -> dict[str, Any]:
    """Measure both sides of every seed and keep what was found, and its picture."""
    started, sides = time.perf_counter(), []
    for seed in claim.seeds:
        sides.append(claim.measure(place, seed))
        print(f"{claim.system}: seed {seed}, {time.perf_counter() - started:.0f} s", flush=True)
    facts = machine_facts()
    found = {
        "declared": claim.declared(),
        **{name: _rounded(value) for name, value in found_of(claim, sides).items()},
        "code": code_digest(claim.system),
        "seconds": round(time.perf_counter() - started),
        "commit": facts["commit"] + (" with changes" if _changed() else ""),
        "machine": f"{facts['cpus']} cores, {facts['memory_gib']:.0f} GiB, Python {facts['python']}",
    }
    FOUND.mkdir(exist_ok=True)
    (FOUND / f"{claim.system}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if claim.picture is not None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / f"{claim.system}.svg").write_text(claim.picture(sides), encoding="utf-8")
    print(f"{claim.system}: {found['verdict']}, {found['ours']} against {found['baseline']}", flush=True)
    return found


def _rounded(value: Any) -> Any:
    """Four digits that count."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return {name: _rounded(one) for name, one in value.items()} if isinstance(value, dict) else value


def _changed() -> bool:
    """Whether the code that is run differs from the commit; what was found before does not count."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "status", "--porcelain"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return any(Path(line[3:]).suffix not in {".json", ".svg", ".md"} for line in listed)


if __name__ == "__main__":
    sys.exit(main())
