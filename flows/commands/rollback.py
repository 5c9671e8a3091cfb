"""`pairwright rollback`."""

from __future__ import annotations

import click


@click.command("rollback")
@click.option("--reason", default="rollback", help="Why; it is kept in the model's history.")
@click.option("--workspace", metavar="DIR", help="Workspace whose registry is changed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(reason: str, workspace: str | None, as_json: bool) -> None:
    """Make the previous champion champion again, and its Bento the one that `serve` starts.

    \b
    Examples:
      pairwright rollback --reason "answers got worse for drawings"
    """
    import json

    from pairwright.components.environment import Environment, silence

    silence()
    from pairwright.flows.champion import roll_back

    version, tag, problem = roll_back(Environment.load(workspace=workspace), reason)
    if as_json:
        click.echo(json.dumps({"champion": version, "bento": tag}))
    else:
        click.echo(f"champion is version {version} again; {tag or problem}")
