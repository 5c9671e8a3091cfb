"""`pairwright recipes`."""

from __future__ import annotations

from textwrap import shorten

import click

WIDTH = 100


@click.command("recipes")
@click.option("--long", "whole", is_flag=True, help="All of what each one does, its paper and what is left of it.")
@click.option("--schema", is_flag=True, help="The JSON schema of a recipe, for editors that complete and check YAML.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(whole: bool, schema: bool, as_json: bool) -> None:
    """List the recipes that ship with Pairwright: what each one does, the paper it follows, whether it is whole.

    \b
    Examples:
      pairwright recipes
      pairwright recipes --long
      pairwright recipes --schema > recipe.schema.json
      pairwright explain quickstart        what one of them would do, step by step
    """
    import json

    from pairwright.flows.recipes import load_recipe, recipe_names

    if schema:
        from pairwright.flows.recipes.schema import recipe_schema

        click.echo(json.dumps(recipe_schema(), indent=1))
        return
    loaded = [load_recipe(name) for name in recipe_names()]
    if as_json:
        told = ("name", "description", "paper", "status", "left")
        click.echo(json.dumps([{name: getattr(r, name).strip() for name in told} for r in loaded], indent=1))
        return
    widest = max(len(recipe.name) for recipe in loaded)
    for recipe in loaded:
        colour = "green" if recipe.status == "works" else "yellow"
        if not whole:
            first = shorten(recipe.description.split(". ")[0].rstrip("."), WIDTH, placeholder=" ...")
            state = click.style(f"{recipe.status:<6}", fg=colour)
            click.echo(f"{click.style(f'{recipe.name:<{widest}}', bold=True)} {state} {first}")
            continue
        click.echo(f"{click.style(recipe.name, bold=True)}  {click.style(recipe.status, fg=colour)}")
        for text in (recipe.description, f"After {recipe.paper}" if recipe.paper else "", _left(recipe.left)):
            if text:
                click.echo(click.wrap_text(text.strip(), initial_indent="  ", subsequent_indent="  "))


def _left(text: str) -> str:
    return f"Not here yet: {text}" if text else ""
