"""`pairwright run RECIPE`."""

from __future__ import annotations

import click

from pairwright.flows.terminal.completion import DATASET, RECIPE


@click.command("run")
@click.argument("recipe", shell_complete=RECIPE)
@click.option("--data", metavar="DIR", shell_complete=DATASET, help="Dataset to run on, instead of the recipe's own.")
@click.option(
    "--dev", metavar="DIR", shell_complete=DATASET, help='Evaluation set that tunes; "own" draws it from the data.'
)
@click.option(
    "--test", metavar="DIR", shell_complete=DATASET, help="Evaluation set that is only reported on, as --dev."
)
@click.option("--labels", metavar="FOLDER", help="People's labels (`pairwright label export`) to fit the reward on.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N shards; projects time for all of them.")
@click.option(
    "--only",
    type=click.Choice(["curate", "train", "release"]),
    help="Stop after this chain; earlier chains are run or reused.",
)
@click.option("--workspace", metavar="DIR", help="Where everything is written. [PAIRWRIGHT_WORKSPACE, ./workspace]")
@click.option("--json", "as_json", is_flag=True, help="The run's record as JSON on standard output.")
def command(
    recipe: str,
    data: str | None,
    dev: str | None,
    test: str | None,
    labels: str | None,
    limit: int | None,
    only: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Run RECIPE (a name from `pairwright recipes`, or a YAML file) from crawl to served model.

    What was done before is reused; a run that was killed goes on where it stopped. With --data and no evaluation
    sets of that data, dev and test are drawn from it, a tenth each, and held out of training.

    \b
    Examples:
      pairwright run quickstart
      pairwright run quickstart --limit 1         a sample, with the time for the whole projected
      pairwright run mine.yaml --data ./crawl     your recipe on your dataset
      pairwright run mine.yaml --data ./crawl --dev ./dev --test ./test
      pairwright run quickstart --only curate     no training
      pairwright run compress_and_align --labels labels/raw    the referee learns from people's labels
    """
    from pairwright.flows.start import run_from_command

    record = run_from_command(
        recipe, data=data, dev=dev, test=test, labels=labels, limit=limit, only=only, workspace=workspace, quiet=as_json
    )
    if as_json:
        import json

        click.echo(json.dumps(record, indent=1))
