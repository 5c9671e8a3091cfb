"""`pairwright why`."""

from __future__ import annotations

from typing import Any

import click

from pairwright.flows.terminal.completion import RUN


@click.command("why")
@click.argument("key")
@click.option(
    "--run", "run_id", metavar="ID", shell_complete=RUN, help="A run's id, or a recipe's name; else the latest."
)
@click.option("--workspace", metavar="DIR", help="Workspace of the run.")
@click.option("--save", metavar="FILE", type=click.Path(dir_okay=False), help="Also write the picture to FILE.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(key: str, run_id: str | None, workspace: str | None, save: str | None, as_json: bool) -> None:
    """Say why the pair KEY (`dataset/key`, or `key`) was dropped or kept: rule, value, threshold, picture.

    \b
    Examples:
      pairwright why raw/animals_ants_ant_01
      pairwright why raw/animals_ants_ant_01 --save ant.png
    """
    import json

    answers, dataset = answer(key, run_id, workspace)
    if save:
        _save_picture(answers[0], dataset, save)
    if as_json:
        click.echo(json.dumps(answers, indent=1, default=str))
        return
    for found in answers:
        _show(found, dataset.name)


def answer(key: str, run_id: str | None, workspace: str | None) -> tuple[list[dict[str, Any]], Any]:
    """Every pair with this key in the run's dataset, each with its verdict.

    Raises:
        DatasetError: no run yet, or no such key.
    """
    from pathlib import Path

    from pairwright.components.filter.rules.why import why

    record, dataset, view = opened_run(run_id, workspace)
    plain = key.removeprefix(f"{dataset.name}/")
    return why(Path(record["results"]["selection_folder"]), view, plain), dataset


def opened_run(run_id: str | None, workspace: str | None, whole: bool = False) -> tuple[dict[str, Any], Any, Any]:
    """A run's record, its dataset (of a sample, the shards it saw) and the view of its columns; says which run it is.

    Args:
        whole: a sample has to be named by its id.

    Raises:
        DatasetError: there is no such run, or it has no selection.
    """
    from pairwright.components.environment import Environment
    from pairwright.flows.running.opened import opened
    from pairwright.flows.running.runs import chosen_run, title

    environment = Environment.load(workspace=workspace)
    record = chosen_run(environment.workspace, run_id, whole=whole)
    click.echo(title(record), err=True)
    dataset, view = opened(record, environment)
    return record, dataset, view


def _show(found: dict[str, Any], dataset: str) -> None:
    colour = {"kept": "green", "dropped": "yellow", "failed": "red"}.get(found["status"], "white")
    click.echo(f"{dataset}/{found['key']}  " + click.style(found["status"], fg=colour, bold=True))
    for name in ("rule", "expression", "value", "threshold", "detail"):
        if found.get(name) is not None:
            click.echo(f"  {name:<11} {found[name]}")
    for caption in found.get("captions", [])[:6]:
        click.echo(f"  {caption['source']:<11} {caption['text']!r}")
    click.echo(f"  picture     {found.get('shard')} {found.get('member')}")


def _save_picture(found: dict[str, Any], dataset: Any, path: str) -> None:
    from pathlib import Path

    for shard, row in dataset.find(found["key"]):
        if row == found["row"]:
            media = shard.read_sidecar(["media"])["media"][row].as_py()
            picture = next(m for m in media if m["role"] == "image")
            Path(path).write_bytes(shard.read_member(picture))
            return
