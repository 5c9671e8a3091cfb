"""`pairwright export`."""

from __future__ import annotations

import click

from pairwright.flows.terminal.completion import RUN


@click.command("export")
@click.argument("dest")
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    shell_complete=RUN,
    help="A run's id, or a recipe's name; else the latest whole run.",
)
@click.option("--all", "everything", is_flag=True, help="Every pair, not only the kept ones.")
@click.option("--workspace", metavar="DIR", help="Workspace of the run.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(dest: str, run_id: str | None, everything: bool, workspace: str | None, as_json: bool) -> None:
    """Write the curated set to DEST (a folder or s3://): a WebDataset with a Parquet beside each tar.

    Keys, image bytes, captions and metadata pass through byte for byte.

    \b
    Examples:
      pairwright export ./curated
      pairwright export s3://bucket/curated-2026-11
    """
    import json

    from pairwright.components.environment import silence

    silence()
    from pairwright.components.dataset.export import export
    from pairwright.components.filter.rules.selection import load_selection
    from pairwright.flows.commands.why import opened_run

    record, dataset, view = opened_run(run_id, workspace, whole=True)
    kept = None
    if not everything:
        kept = load_selection(record["results"]["selection_folder"], verdicts=False).kept
    made = export(dataset, dest, kept=kept, columns=view, captions=record.get("captions", []))
    if as_json:
        click.echo(json.dumps({"dest": dest, "pairs": made.rows, "shards": len(made.shards), "digest": made.digest}))
    else:
        click.echo(f"{made.rows:,} pairs in {len(made.shards)} shards at {dest} (digest {made.digest[:12]})")
