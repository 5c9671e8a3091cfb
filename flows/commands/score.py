"""`pairwright score`."""

from __future__ import annotations

from typing import Any

import click

from pairwright.flows.terminal.completion import DATASET, SCORER


@click.command("score")
@click.argument("dataset", shell_complete=DATASET)
@click.argument("scorer", shell_complete=SCORER)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the scorer; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N shards.")
@click.option("--worst", type=click.IntRange(min=0), default=5, show_default=True, help="Show this many at each end.")
@click.option("--workspace", metavar="DIR", help="Where the columns go.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    dataset: str,
    scorer: str,
    settings: tuple[str, ...],
    limit: int | None,
    worst: int,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Score DATASET with one SCORER: its columns are kept, a summary and both ends are shown.

    \b
    Examples:
      pairwright score data/raw caption_text --set source=alt
      pairwright score data/raw pdq --limit 1
      pairwright explain caption_text        what a scorer makes, and its settings
    """
    import json

    import yaml

    from pairwright.components.environment import silence

    silence()
    parsed = {name: yaml.safe_load(value) for name, _, value in (item.partition("=") for item in settings)}
    summary = score(dataset, scorer, parsed, limit, worst, workspace)
    if as_json:
        click.echo(json.dumps(summary, indent=1, default=str))
        return
    click.echo(f"{summary['pairs']:,} pairs, {summary['failed']:,} failed; columns in {summary['columns_at']}")
    for name, facts in summary["columns"].items():
        click.echo(f"  {name:<22} " + "  ".join(f"{k} {_short(v)}" for k, v in facts.items() if k != "ends"))
        for key, value in facts.get("ends", []):
            click.echo(f"      {_short(value):>12}  {key}")


def score(
    path: str, scorer: str, settings: dict[str, Any], limit: int | None, worst: int, workspace: str | None
) -> dict[str, Any]:
    """Run one scorer over a dataset with this machine's workers; what came out, summarised."""
    from pairwright.components.dataset.shards.columns import ERROR
    from pairwright.components.environment import Environment
    from pairwright.flows.planning.datasets import find_dataset
    from pairwright.flows.scoring import score_dataset
    from pairwright.flows.terminal.console import Console

    environment = Environment.load(workspace=workspace)
    data = find_dataset(path).limited(limit)
    scored = score_dataset(data, scorer, settings, environment, Console())
    step, view = scored.step, scored.view
    keys = view.sidecar(["key"])["key"].to_pylist()
    errors = view.column(f"{scorer}.{ERROR}")
    columns = {name: _summary(view.column(f"{scorer}.{name}"), keys, worst) for name in step.schema()}
    return {
        "pairs": data.rows,
        "failed": len(errors) - errors.null_count,
        "columns_at": f"{view.store.root}/{step.columns.component}/{step.digest}",
        "columns": columns,
    }


def _summary(column: Any, keys: list[str], worst: int) -> dict[str, Any]:
    """Quantiles and both ends of a number; counts of a flag or a text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type):
        return {"true": pc.sum(column).as_py() or 0, "null": column.null_count}
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        order = pc.sort_indices(column, null_placement="at_end").to_pylist()[: len(column) - column.null_count]
        ends = order[:worst] + order[max(worst, len(order) - worst) :]
        quantiles = pc.quantile(column, [0.05, 0.5, 0.95]).to_pylist()
        facts = dict(zip(("p5", "median", "p95"), quantiles, strict=True)) | {"null": column.null_count}
        return facts | {"ends": [(keys[i], column[i].as_py()) for i in ends]}
    if pa.types.is_string(column.type):
        common = sorted(column.value_counts().to_pylist(), key=lambda entry: -entry["counts"])[:worst]
        return {str(entry["values"]): entry["counts"] for entry in common}
    return {"type": str(column.type), "null": column.null_count}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
