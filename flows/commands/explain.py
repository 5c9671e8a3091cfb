"""`pairwright explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pairwright.flows.terminal.completion import DATASET, RECIPE_OR_COMPONENT

if TYPE_CHECKING:
    from pairwright.components.recipe import Recipe


@click.command("explain")
@click.argument("what", shell_complete=RECIPE_OR_COMPONENT)
@click.option("--data", metavar="DIR", shell_complete=DATASET, help="Dataset to plan for, instead of the recipe's own.")
@click.option("--dev", metavar="DIR", shell_complete=DATASET, help="Evaluation set, as for `run`.")
@click.option("--test", metavar="DIR", shell_complete=DATASET, help="Evaluation set, as for `run`.")
@click.option("--labels", metavar="FOLDER", help="People's labels, as for `run`.")
@click.option("--workspace", metavar="DIR", help="Workspace whose columns count as done.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    what: str,
    data: str | None,
    dev: str | None,
    test: str | None,
    labels: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Say what a recipe would do, and what of it is done already; or describe one component.

    \b
    Examples:
      pairwright explain quickstart          steps, what each reads, its digest, shards still to do
      pairwright explain tldr                a recipe that extends another: resolved, its own lines marked
      pairwright explain near_duplicates     a component: what it makes, its settings, its source
      pairwright explain objective.clip      ... of a kind, where a recipe or another kind has the same name
    """
    import json

    from pairwright.components.environment import silence
    from pairwright.flows.recipes import recipe_names

    silence()
    is_recipe = what.endswith((".yaml", ".yml")) or what in recipe_names()
    described = (
        _recipe(what, workspace, data=data, dev=dev, test=test, labels=labels) if is_recipe else _component(what)
    )
    if as_json:
        click.echo(json.dumps(described, indent=1))
        return
    (_show_recipe if is_recipe else _show_component)(described)


def _recipe(what: str, workspace: str | None, **sets: str | None) -> dict[str, Any]:
    """The plan as plain facts; `sets` are what `run` would be given.

    Raises:
        InvalidRecipe: whatever `run` would refuse.
    """
    from pairwright.components.environment import Environment
    from pairwright.components.recipe_layers import marked, removed
    from pairwright.components.registry import summaries
    from pairwright.flows.planning.asked import ask
    from pairwright.flows.planning.check import check_recipe
    from pairwright.flows.running.run import open_run

    asked = ask(what, **sets)
    recipe, dataset = asked.recipe, asked.dataset
    environment = Environment.load(workspace=workspace)
    with open_run(recipe, environment, dataset, flow="explain", quiet=True) as run:
        check_recipe(run)
        keep = run.plan.recipe.filter.keep
        steps = [
            {
                "name": step.name,
                "kind": step.kind,
                "uses": step.component.name,
                "reads": list(step.reads),
                "columns": {name: str(kind) for name, kind in step.schema().items()},
                "digest": step.digest,
                "after": list(keep)[: step.after],
                "shards_to_do": len(run.store.missing(step.columns, dataset.shards)),
            }
            for step in run.plan.steps.values()
        ]
    return {
        "recipe": recipe.name,
        "extends": [layer.where for layer in reversed(recipe.layers[:-1])],
        "resolved": [{"own": own, "line": line} for own, line in marked(recipe.layers)] if recipe.layers else [],
        "removed": removed(recipe.layers),
        "description": recipe.description.strip(),
        "dataset": dataset.name,
        "notes": list(asked.notes),
        "pairs": dataset.rows,
        "shards": len(dataset.shards),
        "steps": steps,
        "keep": keep,
        "then": _then(run.plan.recipe),
        "namesakes": [f"{kind}.{what}" for kind, name in summaries() if name == what],
    }


def _then(recipe: Recipe) -> list[str]:
    """What is trained of the kept pairs, and by what it is measured, a line each."""
    trains = {name: step for name, step in (("pretrain", recipe.pretrain), *recipe.train.items()) if step is not None}
    lines = []
    for name, step in trains.items():
        data, init = getattr(step, "data", "kept"), getattr(step, "init", None)
        begun = f", from {init}" if init else ""
        lines.append(f"train {name:<16} {step.uses:<20} on {data}, seeds {', '.join(map(str, step.seeds))}{begun}")
    if recipe.evaluate is not None:
        lines += [f"evaluate {name:<13} {step.uses}" for name, step in recipe.evaluate.benchmarks.items()]
    return lines


def _component(name: str) -> dict[str, Any]:
    import inspect

    from pairwright.components.registry import find

    cls = find(name)
    settings = cls.settings_model()
    text = inspect.getdoc(cls) or ""
    module = inspect.getdoc(inspect.getmodule(cls)) or ""
    return {
        "name": name,
        "kind": cls.kind,
        "module": cls.__module__,
        "what": module or text,
        "columns": {column: str(kind) for column, kind in getattr(cls, "columns", {}).items()},
        "settings": {
            field: {
                "default": None if info.is_required() else str(info.get_default(call_default_factory=True)),
                "required": info.is_required(),
                "meaning": info.description or "",
            }
            for field, info in settings.model_fields.items()
        },
    }


def _show_recipe(described: dict[str, Any]) -> None:
    click.secho(f"{described['recipe']} on {described['dataset']}", bold=True, nl=False)
    click.echo(f": {described['pairs']:,} pairs in {described['shards']} shards")
    click.echo(click.wrap_text(described["description"], initial_indent="  ", subsequent_indent="  ") + "\n")
    for note in described["notes"]:
        click.echo(f"  {note}\n")
    for step in described["steps"]:
        todo = step["shards_to_do"]
        state = "done" if not todo else f"{todo} shards to do"
        reads = f"  reads {', '.join(step['reads'])}" if step["reads"] else ""
        reads += f"  sees what passes {step['after'][-1]}" if step["after"] else ""
        click.echo(
            f"  {step['name']:<16} {step['kind']:<10} {step['uses']:<20} {state:<18} {step['digest'][:8]}{reads}"
        )
    click.echo("\n  keep, in order:")
    for name, expression in described["keep"].items():
        click.echo(f"    {name:<18} {expression}")
    if described["then"]:
        click.echo("\n  then:")
        for line in described["then"]:
            click.echo(f"    {line}")
    for other in described["namesakes"]:
        click.echo(f"\n  a component is called so, too: pairwright explain {other}")
    if described["extends"]:
        _show_own(described)


def _show_own(described: dict[str, Any]) -> None:
    """The resolved recipe of one that extends another: its own lines are marked, what it took away is listed."""
    click.echo(f"\n  resolved: it extends {', which extends '.join(described['extends'])}; + marks its own")
    for line in described["resolved"]:
        text = f"  {'+' if line['own'] else ' '} {line['line']}"
        click.echo(click.style(text, fg="green") if line["own"] else text)
    if described["removed"]:
        click.echo(f"  taken away: {', '.join(described['removed'])}")


def _show_component(described: dict[str, Any]) -> None:
    click.secho(f"{described['name']} ({described['kind']}, {described['module']})", bold=True)
    click.echo(described["what"] + "\n")
    if described["columns"]:
        click.echo("  columns")
        for column, kind in described["columns"].items():
            click.echo(f"    {column:<24} {kind}")
    click.echo("  settings")
    for field, info in described["settings"].items():
        default = "required" if info["required"] else f"default {info['default']}"
        click.echo(f"    {field:<24} {default}  {info['meaning']}")
