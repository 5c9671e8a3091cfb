"""`pairwright recipes`."""

from __future__ import annotations

import click


@click.command("recipes")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """List the recipes that ship with Pairwright, with what each one does.

    \b
    Examples:
      pairwright recipes
      pairwright explain quickstart        what one of them would do, step by step
    """
    import json

    from flows.recipes import load_recipe, recipe_names

    loaded = [load_recipe(name) for name in recipe_names()]
    if as_json:
        click.echo(json.dumps([{"name": r.name, "description": r.description.strip()} for r in loaded], indent=1))
        return
    for recipe in loaded:
        click.echo(click.style(recipe.name, bold=True))
        click.echo(click.wrap_text(recipe.description.strip(), initial_indent="  ", subsequent_indent="  "))
