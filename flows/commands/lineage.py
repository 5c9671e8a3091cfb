"""`pairwright lineage`."""

from __future__ import annotations

import click


@click.command("lineage")
@click.argument("model", default="champion")
@click.option("--workspace", metavar="DIR", help="Workspace whose registry is asked.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(model: str, workspace: str | None, as_json: bool) -> None:
    """From MODEL (a version number, or an alias: champion, challenger) to what made it.

    Data md5, recipe, code commit, lock hash, selection and ledger, gate results, metrics.

    \b
    Examples:
      pairwright lineage                     the champion's
      pairwright lineage 3 --json | jq .data
    """
    import json

    from pairwright.components.environment import Environment, silence

    silence()
    from pairwright.components.tracking.lineage import lineage, render
    from pairwright.flows.running.run import registry_of

    answer = lineage(registry_of(Environment.load(workspace=workspace), light=True), model)
    click.echo(json.dumps(answer, indent=1) if as_json else render(answer))
