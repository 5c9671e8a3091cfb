"""`pairwright dropped`."""

from __future__ import annotations

from typing import Any

import click

from pairwright.flows.terminal.completion import RUN


@click.command("dropped")
@click.option("--rule", metavar="RULE", help="Only pairs this rule dropped, or this kind of error made fail.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show this many.")
@click.option(
    "--run", "run_id", metavar="ID", shell_complete=RUN, help="A run's id, or a recipe's name; else the latest."
)
@click.option("--workspace", metavar="DIR", help="Workspace of the run.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(rule: str | None, limit: int, run_id: str | None, workspace: str | None, as_json: bool) -> None:
    """List pairs that were dropped or failed: how many by which rule, and some with what the rule saw.

    \b
    Examples:
      pairwright dropped                           counts by rule, and the first twenty
      pairwright dropped --rule unique --limit 5
      pairwright dropped --limit 1000 --json | jq -r '.pairs[].key'
    """
    import json
    from pathlib import Path

    from pairwright.components.environment import silence

    silence()
    from pairwright.components.filter.rules.dropped import counts, dropped
    from pairwright.flows.commands.why import opened_run

    record, dataset, _ = opened_run(run_id, workspace)
    folder = Path(record["results"]["selection_folder"])
    pairs = dropped(folder, dataset, rule, limit)
    if as_json:
        click.echo(json.dumps({"run": record["id"], "counts": counts(folder), "pairs": pairs}, indent=1))
        return
    for reason, number in counts(folder).items():
        click.echo(f"{number:>9,}  {reason}")
    for pair in pairs:
        _show(pair, dataset.name)


def _show(pair: dict[str, Any], dataset: str) -> None:
    reason = pair["rule"] or pair["detail"]
    against = f" against {pair['threshold']}" if pair["threshold"] else ""
    click.echo(f"{dataset}/{pair['key']}  " + click.style(reason, fg="yellow"))
    click.echo(f"    {pair['value'] or pair['detail'] or ''}{against}  {(pair['caption'] or 'no caption')[:100]!r}")
