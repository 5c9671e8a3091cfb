"""What a run's stages cost, as its report lists them: by phase, the seeds of one stage in one row.

The phases are the chapters of a run; a stage of a name that none of them knows is one of curating.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pairwright.components.report.data import StageCost
from pairwright.flows.running.stage_record import StageRecord

PHASES = {
    "train": ("train ",),
    "evaluate": ("evaluate ", "ablation", "gate evaluation", "compression", "point ", "grid"),
    "release": ("version", "register", "index", "package"),
}
CURATE, REPORT = "curate", "report"
SEEDED = re.compile(r"(train|evaluate) (\w+) (\d+)( \w+)?")  # train curated 0, evaluate raw 2 test


def stage_costs(records: Sequence[StageRecord]) -> list[StageCost]:
    """A row a stage, or a row for all seeds of one; the report itself, which is being written, is left out."""
    rows: dict[str, list[StageRecord]] = {}
    for record in records:
        if record.name != REPORT:
            rows.setdefault(_without_seed(record.name), []).append(record)
    costs = [_cost(name if len(same) > 1 else same[0].name, same) for name, same in rows.items()]
    return sorted(costs, key=lambda cost: [CURATE, *PHASES].index(cost.phase))  # stable: their own order within


def _without_seed(name: str) -> str:
    found = SEEDED.fullmatch(name)
    return f"{found[1]} {found[2]}{found[4] or ''}" if found else name


def _cost(name: str, records: Sequence[StageRecord]) -> StageCost:
    phase = next((phase for phase, starts in PHASES.items() if name.startswith(starts)), CURATE)
    status = next((s for s in ("failed", "ran") if any(r.status == s for r in records)), "reused")
    seconds = sum(record.seconds for record in records)
    if len(records) > 1:
        ran = sum(record.status == "ran" for record in records)
        return StageCost(name, status, seconds, None, f"{len(records)} seeds, {ran} of them run now", phase)
    facts = records[0].facts
    detail = ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in facts.items()
        if isinstance(value, (int, float, str)) and key not in ("pairs", "items")
    )
    return StageCost(name, status, seconds, facts.get("pairs", facts.get("items")), detail, phase)
