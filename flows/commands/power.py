"""`pairwright power`."""

from __future__ import annotations

from typing import Any

import click

from pairwright.flows.terminal.completion import RUN


@click.command("power")
@click.argument("run", metavar="RUN", default="latest", shell_complete=RUN)
@click.option(
    "--against", metavar="RUN", help="The other of the two whose difference is planned for; else the run's raw arm."
)
@click.option("--difference", type=click.FloatRange(min=0, min_open=True), metavar="D", default=0.05, show_default=True,
              help="The true difference that is to be seen, in the metric's unit.")  # fmt: skip
@click.option("--groups", type=click.IntRange(min=2), metavar="N", help="Say what N groups of items could have seen.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="S", help="Plan for S seeds; else as many as were run.")
@click.option("--metric", metavar="NAME", help="Only this metric.")
@click.option("--split", default="test", show_default=True, help="Whose items the spread is measured on.")
@click.option("--workspace", metavar="DIR", help="Workspace of the run.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    run: str,
    against: str | None,
    difference: float,
    groups: int | None,
    seeds: int | None,
    metric: str | None,
    split: str,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Say how many groups of test items a difference needs to be seen four times in five, and what so many could see.

    The spread is that of a difference that was measured: RUN (as in `pairwright compare`) less another arm or run, over
    seeds and groups of items. The plan is for the test of the report's verdicts at 95%, and its power is counted over
    simulated draws, not read off an average. One seed plans for the models that are there, not for another training.

    \b
    Examples:
      pairwright power quickstart                     how many groups show a difference of 0.05
      pairwright power quickstart --difference 0.02 --seeds 5
      pairwright power quickstart --groups 500        what 500 groups could have seen
    """
    import json

    from pairwright.components.environment import Environment, silence

    silence()
    from pairwright.flows.planning.power import plan_power

    found = plan_power(
        run, Environment.load(workspace=workspace), against=against, difference=difference, groups=groups, seeds=seeds,
        metric=metric, split=split,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(f"{found['of']} on {split}: {found['seeds']} seed{'s' if found['seeds'] > 1 else ''} planned for")
    for row in found["metrics"]:
        click.echo(f"  {row['metric']:<28} {_told(row, difference)}")
    click.echo(f"  {found['note']}")


def _told(row: dict[str, Any], difference: float) -> str:
    now = f"{row['groups']} groups could have seen {row['seen']:.3f}"
    if row["needed"] is None:
        return f"{now}; no number of groups shows {difference:g} with so few seeds"
    return f"{now}; {difference:g} needs {row['needed']:,} groups (some {row['items']:,} items)"
