"""The pedigree frozen with a registered model: which data, recipe, code, lock and gates made it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from pairwright.components.dataset.shards import storage
from pairwright.components.hashing import file_sha256
from pairwright.components.validation.result import GateResult
from pairwright.flows.running.run import Run

REPOSITORY = Path(__file__).parents[3]


def pedigree_of(run: Run, version: dict[str, Any]) -> dict[str, Any]:
    """What `pairwright lineage` answers later, without asking the run or the workspace again."""
    ledger = run.results["ledger"]
    return {
        "data_version": version["md5"],
        "dvc_text": version["dvc_text"],
        "dvc_remote": version["remote"],
        "raw_md5": raw_data_version(run.full_dataset.root),
        "dataset": run.dataset.name,
        "dataset_digest": run.dataset.digest,
        "pairs_in": ledger["pairs_in"],
        "pairs_kept": ledger["kept"],
        "recipe": run.recipe.name,
        "recipe_digest": run.recipe.digest,
        "recipe_text": yaml.safe_dump(run.recipe.model_dump(mode="json", by_alias=True), sort_keys=False),
        "code_commit": code_commit(),
        "lock_hash": lock_hash(),
        "selection_digest": run.results["selection"],
        "steps": {name: step.digest for name, step in run.plan.steps.items()},
        "ledger": ledger,
        "gates": [GateResult.from_dict(gate).summary() for gate in run.results.get("gates", {}).values()],
    }


def raw_data_version(root: str) -> str | None:
    """DVC md5 of the tree the dataset lies in, if a `data.dvc` beside that tree pins it."""
    if storage.is_remote(root):
        return None
    from pairwright.components.versioning import data_version

    for folder in Path(root).resolve().parents:
        if (folder.parent / "data.dvc").is_file() and folder.name == "data":
            return data_version(folder.parent)
    return None


def code_commit() -> str | None:
    """The commit this code is at, with `+dirty` when its tree is not clean; None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return f"{commit}+dirty" if commit and git("status", "--porcelain") else commit


def lock_hash() -> str | None:
    """Hash of the locked dependencies, where the code lies in its repository."""
    lock = REPOSITORY / "requirements.lock"
    return file_sha256(lock) if lock.is_file() else None
