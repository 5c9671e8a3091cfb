"""Power from a run's own figures: how many groups of items a difference would need, and what so many could have seen.

plan_power("quickstart", environment, difference=0.05)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError, nearest
from pairwright.components.evaluate.run_comparison import Measured, same_items
from pairwright.components.evaluate.statistics.power import needed, seen, spread_of
from pairwright.flows.comparing import measured_of

BASELINES = ("raw", "random")


def plan_power(
    run: str,
    environment: Environment,
    *,
    against: str | None = None,
    difference: float = 0.05,
    groups: int | None = None,
    seeds: int | None = None,
    metric: str | None = None,
    split: str = "test",
) -> dict[str, Any]:
    """A row a metric that is a mean over items.

    Args:
        groups: what so many could have seen; as many as were measured if None.

    Raises:
        DatasetError: no such run, arm or metric, or the two were measured on other items.
    """
    mine = measured_of(run, environment, split)
    theirs = _other(mine, run, against, environment, split)
    shared = [seed for seed in mine.items if seed in theirs.items]
    if not shared:
        raise DatasetError(
            f"{mine.name} and {theirs.name} share no seed; name arms that were trained with the same ones"
        )
    metrics = same_items(mine, theirs)
    if metric is not None and metric not in metrics:
        raise DatasetError(f'"{metric}" is no mean over items of {mine.name}{nearest(metric, metrics)}')
    planned_seeds = seeds or len(shared)
    if len(shared) == 1 and planned_seeds > 1:
        raise DatasetError(
            f"{mine.name} and {theirs.name} share one seed, which says nothing of how seeds differ; run them with "
            "three, or plan for one: --seeds 1"
        )
    rows = [
        _row(one, mine, theirs, shared, difference, groups, planned_seeds) for one in metrics if metric in (None, one)
    ]
    note = (
        "Over seeds and groups of items, as the report's verdicts are; of one metric alone, at 95%."
        if planned_seeds > 1
        else "Of one seed: what is told apart are these models, not what another training would give."
    )
    return {
        "of": f"{mine.name} less {theirs.name}",
        "split": mine.split,
        "seeds": planned_seeds,
        "metrics": rows,
        "note": note,
    }


def _other(mine: Measured, run: str, against: str | None, environment: Environment, split: str) -> Measured:
    if against is not None:
        return measured_of(against, environment, split)
    name = run.partition(":")[0]
    for arm in BASELINES:
        try:
            found = measured_of(f"{name}:{arm}", environment, split)
        except DatasetError:
            continue
        if found.name != mine.name:
            return found
    raise DatasetError(f"run {name} has no arm to hold {mine.name} against; name another run or arm: --against RUN:ARM")


def _row(
    metric: str,
    mine: Measured,
    theirs: Measured,
    shared: list[str],
    difference: float,
    groups: int | None,
    seeds: int,
) -> dict[str, Any]:
    values = np.stack([mine.items[s][metric].astype(np.float64) - theirs.items[s][metric] for s in shared])
    spread = spread_of(values, mine.groups[metric])
    count = needed(spread, difference, seeds)
    asked = groups or spread.measured.groups
    return {
        "metric": metric,
        "groups": asked,
        "seen": seen(spread, asked, seeds),
        "difference": difference,
        "needed": count,
        "items": None if count is None else round(count * spread.items_a_group),
    }
