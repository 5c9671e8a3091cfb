"""What MLflow's and Prefect's pages say of a run at one look: its recipe, what was kept and dropped, how good it is.

The parent run in MLflow gets the recipe as parameters, the funnel's counts and every arm's metrics; the registered
version a description; the flow run in Prefect a name, tags and log lines.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards import storage
from pairwright.components.recipe_layers import PROSE
from pairwright.flows.running.run import Run

SHOWN_DIGITS = 4


def track_summary(run: Run) -> None:
    """The parent run's parameters and numbers; nothing is begun for a run that reused everything."""
    if run.reused_everything:
        return
    run.tracked.log_params(run.recipe.model_dump(mode="json", by_alias=True, exclude={*PROSE}, exclude_none=True))
    run.tracked.log_metrics({**funnel_counts(run), **arm_metrics(run)})


def funnel_counts(run: Run) -> dict[str, float]:
    """Pairs in, kept, dropped by each rule, failed and unknown."""
    ledger = run.results.get("ledger")
    if ledger is None:
        return {}
    counts = {f"pairs.{name}": float(ledger[name]) for name in ("pairs_in", "kept", "unknown")}
    counts["pairs.failed"] = float(sum(ledger["failed"].values()))
    return counts | {f"dropped.{rule}": float(pairs) for rule, pairs in ledger["dropped"].items()}


def arm_metrics(run: Run) -> dict[str, float]:
    """Mean over seeds of each metric, as `split.arm.benchmark.metric`."""
    found: dict[str, list[float]] = {}
    for arm, seeds in run.results.get("metrics", {}).items():
        for splits in seeds.values():
            for split, folder in splits.items():
                for metric in storage.read_json(str(Path(folder) / "metrics.json")):
                    found.setdefault(f"{split}.{arm}.{metric['name']}", []).append(float(metric["value"]))
    return {name: math.fsum(values) / len(values) for name, values in found.items()}


def in_words(run: Run) -> str:
    """One line of what was kept and dropped, the largest rule first."""
    ledger = run.results["ledger"]
    rules = sorted(ledger["dropped"].items(), key=lambda item: -item[1])
    dropped = ", ".join(f"{rule} {pairs:,}" for rule, pairs in rules if pairs) or "nothing"
    lost = sum(ledger["failed"].values()) + ledger["unknown"]
    return f"{ledger['kept']:,} of {ledger['pairs_in']:,} pairs kept; dropped: {dropped}; could not be read: {lost:,}"


def version_description(run: Run, metrics: dict[str, float]) -> str:
    """Of a registered model: what it was trained on and how it did, for the registry's page."""
    dev = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if name.startswith("dev."))
    sample = " (a sample)" if run.limited else ""
    return f"{run.recipe.name} on {run.dataset.name}{sample}: {in_words(run)}. {dev}"


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table as a person reads them: numbers to a few digits."""
    return [{name: _short(value) for name, value in row.items()} for row in rows]


def _short(value: Any) -> Any:
    return float(f"{value:.{SHOWN_DIGITS}g}") if isinstance(value, float) and math.isfinite(value) else value


def name_flow_run(run: Run) -> None:
    """The flow run's name and tags in Prefect: recipe and data, so that a list of runs can be read."""
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    if not flow_run.id:
        return
    tags = [f"recipe:{run.recipe.name}", f"data:{run.dataset.name}", *(["sample"] if run.limited else [])]
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=run.title, tags=sorted({*flow_run.tags, *tags}))


def log_to_flow_run(text: str) -> None:
    """A line in the flow run's log, which Prefect's server keeps also where the terminal is not to show it."""
    from prefect import get_run_logger

    said, spoken = get_run_logger(), logging.getLogger("prefect.flow_runs")
    if spoken.isEnabledFor(logging.INFO):
        said.info(text)
        return
    level, spoken.propagate = spoken.level, False  # upwards are the terminal's handlers
    spoken.setLevel(logging.INFO)
    try:
        said.info(text)
        for handler in spoken.handlers:
            handler.flush()  # a command ends without waiting for what is sent in the background
    finally:
        spoken.setLevel(level)
        spoken.propagate = True


def report_link(run: Run, page: Path) -> str:
    """Where a browser opens the report: on the reports' server where `make up` started one, else the file itself."""
    base = run.environment.reports_url
    if base is None:
        return page.as_uri()
    return f"{base.rstrip('/')}/{page.relative_to(Path(run.environment.workspace) / 'reports').as_posix()}"
