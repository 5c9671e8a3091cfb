"""Which model a verb means, and the run that made it.

named_model("champion", environment)                 the registry's: an alias, a version, or models:/NAME@ALIAS
named_model("quickstart:curated:0", environment)     a run's arm and seed; the run by its id or its recipe
named_model("./models/mine", environment)            a folder
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pairwright.components.dataset.shards import storage
from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError, ModelError, nearest
from pairwright.components.models.resolve import REGISTRY
from pairwright.flows.running.run import model_resolver, registry_of
from pairwright.flows.running.runs import chosen_run, run_records

ALIASES = ("champion", "challenger")


@dataclass(frozen=True)
class NamedModel:
    """A model's folder with what is known of it.

    Attributes:
        name: it in words, without a path.
        record: of the run that made it; None if no run of this workspace did.
        arm, seed: which of that run's models it is.
        pedigree: frozen with a registered version; empty of any other.
    """

    folder: Path
    name: str
    record: Mapping[str, Any] | None = None
    arm: str | None = None
    seed: str | None = None
    pedigree: Mapping[str, Any] | None = None

    def metrics(self) -> list[dict[str, Any]]:
        """Every figure of it, `split` and `digest` beside it."""
        results = self.record.get("results", {}) if self.record else {}
        folders = results.get("metrics", {}).get(self.arm or "", {}).get(self.seed or "", {})
        found = [
            {
                "split": split,
                "digest": one.get("split", ""),
                **{k: one[k] for k in ("name", "value", "low", "high", "n")},
            }
            for split, folder in folders.items()
            for one in storage.read_json(str(Path(folder) / "metrics.json"))
        ]
        if found or not self.pedigree:
            return found
        said = self.pedigree.get("metrics", {})
        return [{"split": k.partition(".")[0], "name": k.partition(".")[2], "value": v} for k, v in said.items()]


def named_model(reference: str, environment: Environment) -> NamedModel:
    """The model a reference means.

    Raises:
        ModelError, NoChampion, DatasetError: there is no such model, version, run or arm.
    """
    if reference in ALIASES or reference.isdigit():
        reference = f"{REGISTRY}{environment.registered_model}{'/' if reference.isdigit() else '@'}{reference}"
    if reference.startswith(REGISTRY):
        return _registered(reference, environment)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return _in_a_run(folder.resolve(), environment)
    if ":" in reference and not reference.startswith("builtin:"):
        return model_of_run(reference, environment)
    found = model_resolver(environment)(reference)
    if found.path is None or not Path(found.path).is_dir():
        raise ModelError(f"{reference} is one tower and no model; name a folder, RUN:ARM or models:/NAME@champion")
    return NamedModel(Path(found.path), reference)


def model_of_run(reference: str, environment: Environment) -> NamedModel:
    """`RUN:ARM` or `RUN:ARM:SEED`; the first seed where none is said.

    Raises:
        DatasetError, ModelError: no such run, arm or seed.
    """
    run, _, rest = reference.partition(":")
    arm, _, seed = rest.partition(":")
    record = chosen_run(environment.workspace, run, fits=has_models)
    models = record["results"]["models"]
    if arm not in models:
        raise ModelError(f'run {record["id"]} has no arm "{arm}"{nearest(arm, models)}')
    seed = seed or next(iter(models[arm]))
    if seed not in models[arm]:
        raise ModelError(f"run {record['id']}, arm {arm} has no seed {seed}; it has {', '.join(models[arm])}")
    folder = Path(models[arm][seed])
    if not folder.is_dir():
        raise ModelError(f"{folder} is gone; run the recipe again: pairwright run {record['recipe']}")
    return NamedModel(folder, f"{record['recipe']}, {arm}, seed {seed}", record, arm, seed)


def has_models(record: Mapping[str, Any]) -> bool:
    return bool(record.get("results", {}).get("models"))


def _registered(reference: str, environment: Environment) -> NamedModel:
    registry = registry_of(environment, light=True)
    folder, _ = registry.resolve(reference)
    _, version = _parts(reference)
    described = registry.describe(version)
    pedigree = registry.pedigree(described["version"])
    release = (yaml.safe_load(pedigree.get("recipe_text") or "") or {}).get("release") or {}
    made = [
        record
        for record in _records(environment)
        if record.get("results", {}).get("release", {}).get("version") == described["version"]
        and record["results"].get("selection") == pedigree.get("selection_digest")
    ]
    name = f"{described['name']} version {described['version']}"
    seed = str(release["seed"]) if "seed" in release else None
    return NamedModel(Path(folder), name, made[-1] if made else None, release.get("arm"), seed, pedigree)


def _parts(reference: str) -> tuple[str, str]:
    from pairwright.components.tracking.registry import parse_reference

    return parse_reference(reference)


def _in_a_run(folder: Path, environment: Environment) -> NamedModel:
    for record in reversed(_records(environment)):
        for arm, seeds in record.get("results", {}).get("models", {}).items():
            for seed, path in seeds.items():
                if Path(path).resolve() == folder:
                    return NamedModel(folder, f"{record['recipe']}, {arm}, seed {seed}", record, arm, seed)
    return NamedModel(folder, folder.name)


def _records(environment: Environment) -> list[dict[str, Any]]:
    try:
        return run_records(environment.workspace)
    except DatasetError:
        return []
