"""`pairwright search RECIPE`."""

from __future__ import annotations

from typing import Any

import click

from pairwright.flows.terminal.completion import DATASET, RECIPE


@click.command("search")
@click.argument("recipe", shell_complete=RECIPE)
@click.option("--vary", multiple=True, metavar="NAME=VALUES", help="A setting of pretrain.with, as below; repeatable.")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="How many; else the recipe's search.trials.")
@click.option("--data", metavar="DIR", shell_complete=DATASET, help="Dataset to run on, instead of the recipe's own.")
@click.option("--dev", metavar="DIR", shell_complete=DATASET, help='Evaluation set that tunes; "own" draws it.')
@click.option(
    "--test", metavar="DIR", shell_complete=DATASET, help="Evaluation set that is only reported on, as --dev."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N shards.")
@click.option("--workspace", metavar="DIR", help="Where everything is written. [PAIRWRIGHT_WORKSPACE, ./workspace]")
@click.option("--json", "as_json", is_flag=True, help="The run's record as JSON on standard output.")
def command(
    recipe: str,
    vary: tuple[str, ...],
    trials: int | None,
    data: str | None,
    dev: str | None,
    test: str | None,
    limit: int | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Search RECIPE's settings: trials on dev, one after the other, then the best is trained, judged and released.

    The space is the recipe's `search:` with what --vary adds. Trials read dev alone; the best then runs as the recipe
    would, all arms and seeds, test once, and becomes champion by the recipe's own rule. A search that was killed goes
    on where it stopped, and more --trials later go on after the last. All trials are in MLflow under one parent.

    \b
    How values are written:
      lr=1e-4..1e-2:log      a range, evenly over its logarithm
      steps=100..400:100     a range by steps; whole ends make whole numbers
      dim=64,128,256         choices

    \b
    Examples:
      pairwright search quickstart --vary lr=1e-4..1e-2:log --vary dim=64,128,256 --trials 20
      pairwright search mine.yaml              the space is the recipe's
    """
    from pairwright.flows.start import run_from_command

    searching = {"vary": vary, "trials": trials}
    record = run_from_command(
        recipe, data=data, dev=dev, test=test, limit=limit, only=None, workspace=workspace, quiet=as_json,
        searching=searching,
    )  # fmt: skip
    if as_json:
        import json

        click.echo(json.dumps(record, indent=1))
        return
    found: dict[str, Any] = record["results"]["search"]
    click.echo(f"{found['metric']} on {found['split']}:")
    for trial in found["trials"]:
        value = "failed: " + trial["reason"] if trial["value"] is None else f"{trial['value']:.4f}"
        mark = "best" if trial["number"] == found["best"] else ""
        told = "  ".join(f"{name} {_short(one)}" for name, one in trial["settings"].items())
        click.echo(f"  {trial['number']:>3}  {value:<10} {told}  {mark}".rstrip())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
