"""Runs as `compare` and `power` read them: an arm's figures and items on one split, over its seeds.

measured_of("quickstart:curated", environment, "test")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pairwright.components.dataset.shards import storage
from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError, nearest
from pairwright.components.evaluate.run_comparison import Measured
from pairwright.flows.running.runs import chosen_run
from pairwright.flows.stages.measure import GROUPS, groups_of

COMMONEST = "curated"  # the arm that a run without a word of it means


def measured_of(reference: str, environment: Environment, split: str) -> Measured:
    """RUN, RUN:ARM or RUN:ARM:SEED; RUN is an id, a recipe's name or `latest`, its arm `curated` where it has one.

    Raises:
        DatasetError: no such run, arm, seed or split, or its figures are gone.
    """
    run, _, rest = reference.partition(":")
    arm, _, seed = rest.partition(":")
    record = chosen_run(environment.workspace, run or None, fits=has_metrics)
    arms = record["results"]["metrics"]
    arm = arm or (COMMONEST if COMMONEST in arms else next(iter(arms)) if len(arms) == 1 else "")
    if arm not in arms:
        said = f'no arm "{arm}"{nearest(arm, arms)}' if arm else f"several arms; name one: {run}:ARM{nearest('', arms)}"
        raise DatasetError(f"run {record['id']} has {said}")
    seeds = {s: folders for s, folders in arms[arm].items() if seed in ("", s)}
    if not seeds:
        raise DatasetError(f"run {record['id']}, arm {arm} has no seed {seed}; it has {', '.join(arms[arm])}")
    if any(split not in folders for folders in seeds.values()):
        raise DatasetError(f'run {record["id"]} has no split "{split}"{nearest(split, next(iter(seeds.values())))}')
    name = f"{record['id'] if record['id'] == run else record['recipe']}:{arm}" + (f":{seed}" if seed else "")
    return _read(name, {s: Path(folders[split]) for s, folders in seeds.items()}, record)


def has_metrics(record: dict[str, Any]) -> bool:
    return bool(record.get("results", {}).get("metrics"))


def _read(name: str, folders: dict[str, Path], record: dict[str, Any]) -> Measured:
    listed: dict[str, list[dict[str, Any]]] = {}
    items: dict[str, dict[str, np.ndarray]] = {}
    for seed, folder in folders.items():
        if not (folder / "items.npz").is_file():
            raise DatasetError(f"the figures of {name} are gone; run it again: pairwright run {record['recipe']}")
        listed[seed] = storage.read_json(str(folder / "metrics.json"))
        with np.load(folder / "items.npz") as found:
            items[seed] = dict(found)
    declared = {one["name"]: one for one in next(iter(listed.values()))}
    first = next(iter(items.values()))
    values = {name: array for name, array in first.items() if not name.endswith(GROUPS)}
    return Measured(
        name,
        declared,
        {seed: {one["name"]: float(one["value"]) for one in metrics} for seed, metrics in listed.items()},
        {seed: {metric: found[metric] for metric in values if metric in found} for seed, found in items.items()},
        {metric: groups_of(first, metric) for metric in values},
        next((str(one.get("split", "")) for one in declared.values()), ""),
    )
