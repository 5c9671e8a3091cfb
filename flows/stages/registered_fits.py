"""A model fitted on the way (a reward, a codebook) as a version of its own registered model.

register_fit(run, step, folder)      # pairwright-reward version 3; `models:/pairwright-reward@champion`

The first version is champion. A later one stands as challenger: whether a reward is better than another
is for people to say, on labels kept for evaluation, not for the run that fitted it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pairwright.components.dataset.shards import storage
from pairwright.components.models.resolve import hash_folder
from pairwright.flows.planning.digests import fit_registration_digest
from pairwright.flows.planning.plan import PlannedStep
from pairwright.flows.running.pedigree import code_commit, lock_hash, raw_data_version
from pairwright.flows.running.run import Run, registry_of, version_of
from pairwright.flows.running.stage import Stage, run_stage

METRICS_FILE = "metrics.json"
SERVABLE = ("pairwright-reward", "pairwright-dual-encoder")  # formats that the registry knows how to load again


def registered_name(run: Run, step: PlannedStep) -> str:
    """`pairwright-reward` for what the fit `reward` makes, whatever the step is called."""
    return f"{run.environment.registered_model}-{step.component.name.replace('_', '-')}"


def register_fit(run: Run, step: PlannedStep, folder: Path) -> int | None:
    """The fitted folder's version in the registry, registered now if its bytes are new there; None if it is of a
    kind that nobody asks by itself (a codebook)."""
    if storage.read_json(str(folder / "config.json")).get("format") not in SERVABLE:
        return None
    name = registered_name(run, step)
    model_digest = hash_folder(folder)
    digest = fit_registration_digest(run, model_digest, name)

    def reuse() -> int | None:
        if not run.artifacts.has("releases", digest):
            return None
        number = int(storage.read_json(str(run.artifacts.path("releases", digest) / "release.json"))["version"])
        return number if version_of(run.environment, model_digest, name) == number else None

    def work(stage: Stage) -> int:
        registry = registry_of(run.environment, name=name)
        metrics = storage.read_json(str(folder / METRICS_FILE)) if (folder / METRICS_FILE).is_file() else {}
        number = registry.register(folder, run_id=run.tracked.id, pedigree=_pedigree(run, step), metrics=metrics)
        if registry.champion() is None:
            registry.promote(number, f"the first {step.component.name} fitted")
        elif registry.champion() != number:
            registry.set_challenger(number)
        with run.artifacts.commit("releases", digest) as partial:
            storage.write_json(str(partial / "release.json"), {"name": name, "version": number, "model": str(folder)})
        stage.facts(model=name, version=number)
        return number

    number = run_stage(run, f"register {step.name}", digest, reuse=reuse, work=work)
    run.results.setdefault("registered", {})[step.name] = {"name": name, "version": number, "digest": model_digest}
    return number


def _pedigree(run: Run, step: PlannedStep) -> dict[str, Any]:
    """What is known when a fit ends: no selection, ledger or gate of the curated set exists yet."""
    return {
        "raw_md5": raw_data_version(run.full_dataset.root),
        "dataset": run.dataset.name,
        "dataset_digest": run.dataset.digest,
        "recipe": run.recipe.name,
        "recipe_digest": run.recipe.digest,
        "recipe_text": yaml.safe_dump(run.recipe.model_dump(mode="json", by_alias=True), sort_keys=False),
        "code_commit": code_commit(),
        "lock_hash": lock_hash(),
        "steps": {name: run.plan.steps[name].digest for name in (step.name, *step.reads)},
    }
