"""Lineage: from a model to the data, recipe, code, gates and metrics that made it.

Answered from the pedigree frozen at registration, so it needs neither the workspace nor the run
that made the model, and says the same ten years later. `Pedigree` lists what a flow may put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from pairwright.components.tracking.store import sqlite_path
from pairwright.components.workspace_paths import PLACE

if TYPE_CHECKING:
    from pairwright.components.tracking.registry import Registry


class Pedigree(TypedDict, total=False):
    """What a flow hands to `Registry.register`; `model_digest`, `run_id` and `metrics` are added there."""

    data_version: str  # DVC md5 of the curated data
    dvc_remote: str  # where its bytes are
    dvc_text: str  # that version's .dvc file, so `pairwright checkout` needs no git history
    raw_md5: str  # DVC md5 of the raw data, where it has one
    dataset: str  # name of the raw dataset
    dataset_digest: str  # population digest of its shards
    pairs_in: int
    pairs_kept: int
    recipe: str  # name
    recipe_digest: str
    recipe_text: str  # the YAML as it was run
    code_commit: str  # with "+dirty" when the tree was not clean
    lock_hash: str  # SHA-256 of the locked dependencies
    selection_digest: str
    steps: dict[str, str]  # step name -> op digest
    ledger: dict[str, Any]  # the conservation ledger
    gates: list[dict[str, Any]]  # GateResult.summary() or .as_dict() of each gate
    promotion: dict[str, Any]  # Decision.as_dict()
    model_digest: str
    run_id: str
    metrics: dict[str, float]


def lineage(registry: Registry, version: int | str) -> dict[str, Any]:
    """Everything known of a version (a number or an alias), as plain JSON.

    Raises:
        ModelError, NoChampion: no such version or alias.
    """
    described = registry.describe(version)
    pedigree = registry.pedigree(described["version"])
    moves = [event for event in registry.history() if event["version"] == described["version"]]
    return {
        "model": {key: described[key] for key in ("name", "version", "digest", "aliases", "registered_at")},
        "data": _part(
            pedigree,
            *("data_version", "dvc_remote", "raw_md5", "dataset", "dataset_digest", "pairs_in", "pairs_kept"),
        ),
        "dvc_text": pedigree.get("dvc_text"),
        "recipe": {
            "name": pedigree.get("recipe"),
            "digest": pedigree.get("recipe_digest"),
            "text": pedigree.get("recipe_text"),
        },
        "code": _part(pedigree, "code_commit", "lock_hash"),
        "selection": _part(pedigree, "selection_digest", "ledger"),
        "steps": pedigree.get("steps", {}),
        "gates": pedigree.get("gates", []),
        "metrics": pedigree.get("metrics", {}),
        "promotion": pedigree.get("promotion"),
        "champion_moves": [{k: move[k] for k in ("at", "action", "replaced", "reason")} for move in moves],
        "run": {"id": described["run_id"], "tracking": _shown(registry.uri)},
    }


def _shown(uri: str) -> str:
    """A server's address; of a file, where it lies in the workspace and not on the machine."""
    path = sqlite_path(uri)
    return uri if path is None else f"{PLACE}/{path.name}"


def _part(pedigree: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: pedigree[name] for name in names if pedigree.get(name) is not None}


def render(answer: Mapping[str, Any]) -> str:
    """`lineage`'s answer as a tree of plain text."""
    model = answer["model"]
    title = f"{model['name']} version {model['version']}"
    if model["aliases"]:
        title += f" ({', '.join(model['aliases'])})"
    gates = {gate["name"]: ("passed" if gate["passed"] else "FAILED") + _warned(gate) for gate in answer["gates"]}
    branches: dict[str, Any] = {
        "model": {"digest": model["digest"], "registered": model["registered_at"], "run": answer["run"]["id"]},
        "data": answer["data"],
        "recipe": {key: answer["recipe"][key] for key in ("name", "digest") if answer["recipe"][key]},
        "code": answer["code"],
        "selection": answer["selection"],
        "steps": answer["steps"],
        "gates": gates,
        "metrics": answer["metrics"],
        "champion": {move["at"]: f"{move['action']}: {move['reason']}" for move in answer["champion_moves"]},
    }
    return "\n".join([title, *_tree({name: branch for name, branch in branches.items() if branch})])


def _warned(gate: Mapping[str, Any]) -> str:
    """From a gate's summary, or from its whole result."""
    failed = gate["failed"] if "failed" in gate else [check for check in gate["checks"] if not check["success"]]
    warned = [check["name"] for check in failed if check["severity"] != "critical"]
    return f", warned by {', '.join(warned)}" if warned else ""


def _tree(branch: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for position, (name, value) in enumerate(branch.items()):
        last = position == len(branch) - 1
        knot, below = ("└── ", "    ") if last else ("├── ", "│   ")
        if isinstance(value, Mapping):
            lines.append(f"{prefix}{knot}{name}")
            lines.extend(_tree(value, prefix + below))
        else:
            lines.append(f"{prefix}{knot}{name}: {f'{value:.4g}' if isinstance(value, float) else value}")
    return lines
