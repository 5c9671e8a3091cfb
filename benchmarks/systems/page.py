"""docs/systems.md from what was found: a line a system, and below it what each line means."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import yaml

import benchmarks.systems
from benchmarks.machine import ROOT
from benchmarks.systems.claim import Claim
from pairwright.components.hashing import sha256_text

HERE = Path(__file__).resolve().parent
FOUND = HERE / "found"
PAGE = ROOT / "docs" / "systems.md"
PICTURES = ROOT / "docs" / "pictures" / "systems"
REMARKS = HERE / "remarks.yaml"
OURS = {
    *("__main__", "claim", "page", "pictures", "place"),
    *("captions", "relabelled", "scene_facts", "subsets", "text_captions"),
}

HEAD = """# The papers in miniature

Each system here follows a published paper. Does what the paper promises happen in ours, on small real data that it
was not tuned on? Claim, baseline, metric, margin and seeds were written down before the run; "better" and "worse" are
said only where the 95% interval of the difference, over seeds and groups of items together, leaves the margin. A
system that does not beat its baseline here is listed like any other. What a miniature cannot show is the paper's own
figure: none is reproduced unless its line says so. At a dagger (†) figures beside the declared one take something from
the verdict: what, its part says.

This page is written by `python -m benchmarks.systems`; one line again: `python -m benchmarks.systems dbl`. How a claim
is declared: `benchmarks/systems/claim.py`.
"""


def claim_names() -> list[str]:
    """The systems that have a claim, by name."""
    return sorted(name for _, name, _ in pkgutil.iter_modules(benchmarks.systems.__path__) if name not in OURS)


def read_found(name: str) -> dict[str, Any] | None:
    """What was found of a claim, or None if it was never run."""
    path = FOUND / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def remarks() -> dict[str, str]:
    """What figures beside a verdict take from it, by system."""
    read: dict[str, str] = yaml.safe_load(REMARKS.read_text(encoding="utf-8"))
    return read


def is_of(claim: Claim, found: dict[str, Any] | None) -> bool:
    """Whether it was found under this declaration and by this file."""
    return found is not None and found["declared"] == claim.declared() and found["code"] == code_digest(claim.system)


def code_digest(name: str) -> str:
    """Of what a claim's file says, comments and layout aside."""
    return sha256_text(ast.dump(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))))[:16]


def page() -> str:
    """The page, from every claim and what was found of it."""
    lines, parts = [], []
    for name in claim_names():
        claim: Claim = importlib.import_module(f"benchmarks.systems.{name}").CLAIM
        found = read_found(name)
        if found is None or not is_of(claim, found):
            lines.append(f"| [{name}](#{name}) | not yet run as declared | | | | |")
            found = None
        else:
            lines.append(_line(claim, found))
        parts.append(_part(claim, found))
    head = "| system | verdict | metric | ours | baseline | difference, 95% |\n| --- | --- | --- | ---: | ---: | --- |"
    return "\n".join([HEAD, head, *lines, "", *parts])


def _line(claim: Claim, found: dict[str, Any]) -> str:
    dagger = " †" if claim.system in remarks() else ""
    arrow = "" if claim.higher_is_better else " (less is better)"
    interval = f"{found['difference']:+.3g} [{found['low']:+.3g}, {found['high']:+.3g}]"
    return (
        f"| [{claim.system}](#{claim.system}) | {found['verdict']}{dagger} | {claim.metric.partition(':')[0]}{arrow} "
        f"| {found['ours']:.3g} | {found['baseline']:.3g} | {interval} |"
    )


def _part(claim: Claim, found: dict[str, Any] | None) -> str:
    margin = f", margin {claim.margin:g}" if claim.margin else ""
    lines = [
        f"## {claim.system}\n",
        f"The paper: {claim.paper}\n",
        f"Here: {claim.here} Declared: {claim.says} than {claim.baseline}, by {claim.metric}; {claim.data}; "
        f"{len(claim.seeds)} seeds{margin}.\n",
    ]
    if found is not None:
        lines.append(_found(found))
        if claim.system in remarks():
            lines.append(f"† {remarks()[claim.system]}\n")
        if (PICTURES / f"{claim.system}.svg").exists():
            lines.append(f"![{claim.system}](pictures/systems/{claim.system}.svg)\n")
    return "\n".join(lines)


def _found(found: dict[str, Any]) -> str:
    of = f"{found['items']} items in {found['groups']} groups, " if found["items"] > 1 else ""
    also = "".join(f"; {name} {value:.3g}" for name, value in found["also"].items())
    return (
        f"Found: **{found['verdict']}**, {found['ours']:.3g} against {found['baseline']:.3g} "
        f"({of}{found['seeds']} seeds; "
        f"a difference of {found['could_have_seen']:.2g} would have been seen{also}). "
        f"{found['seconds']} s at {found['commit']}; {found['machine']}.\n"
    )
