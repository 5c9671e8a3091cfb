"""`pairwright compare`."""

from __future__ import annotations

from typing import Any

import click

from pairwright.flows.terminal.completion import RUN


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=RUN)
@click.option("--split", default="test", show_default=True, help="Which evaluation set: test, or dev.")
@click.option("--page", metavar="FILE", help="Where the page of plots goes. [WORKSPACE/comparison.html]")
@click.option("--workspace", metavar="DIR", help="Workspace of the runs.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(runs: tuple[str, ...], split: str, page: str | None, workspace: str | None, as_json: bool) -> None:
    """Compare runs on the items that all were measured on, each with the first, and draw a page of it.

    RUN is an id, a recipe's name (its latest run) or `latest`; RUN:ARM and RUN:ARM:SEED name one of its arms. Every
    declared metric is compared by a paired bootstrap that draws groups of items anew, which speaks of these models;
    with three shared seeds there is a verdict on the runs, too. Runs on different splits are refused.

    \b
    Examples:
      pairwright compare latest:raw latest:curated
      pairwright compare clip dbl --split dev
      pairwright compare quickstart:curated mine --json | jq .headlines
    """
    import json

    from pairwright.components.environment import Environment, silence

    silence()
    from pairwright.components.evaluate.run_comparison import compare_runs
    from pairwright.components.report.comparison import write_comparison
    from pairwright.flows.comparing import measured_of

    environment = Environment.load(workspace=workspace)
    measured = [measured_of(run, environment, split) for run in runs]
    found = compare_runs(measured)
    place = write_comparison(found, measured[0].split, split, page or f"{environment.workspace}/comparison.html")
    others = list(dict.fromkeys(row.run for row in found.rows))
    if as_json:
        told: dict[str, Any] = {
            "first": found.first,
            "split": {"name": split, "digest": measured[0].split},
            "headlines": {run: found.headline(run) for run in others},
            "worst": {run: row.metric for run, row in found.worst.items()},
            "rows": [as_plain(row) for row in found.rows],
            "untested": found.untested,
            "page": str(place),
        }
        click.echo(json.dumps(told, indent=1))
        return
    for run in others:
        click.echo(f"{run} less {found.first} on {split} ({measured[0].split[:12]})")
        for row in (row for row in found.rows if row.run == run):
            said = f"; {row.over_seeds} over {row.seeds} seeds" if row.verdict else ""
            interval = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            click.echo(f"  {row.metric:<28} {row.base:.3f} -> {row.value:.3f}  {interval}  {row.shows}{said}")
        click.echo(f"  {found.headline(run)}")
    for metric, why in found.untested.items():
        click.echo(f"  {metric} is not compared: {why}")
    click.echo(f"page: {place}")


def as_plain(row: Any) -> dict[str, Any]:
    """A row as JSON has it."""
    from dataclasses import asdict

    said = {name: value for name, value in asdict(row).items() if name != "verdict"}
    return said | {"shows": row.shows, "over_seeds": row.over_seeds or None}
