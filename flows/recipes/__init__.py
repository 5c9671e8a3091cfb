"""The recipes that ship with Pairwright, one YAML each."""

from __future__ import annotations

from pathlib import Path

from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.recipe import Recipe, read_recipe

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name_or_path: str, labels: str | None = None) -> Recipe:
    """A shipped recipe by name, or any YAML file by path.

    Args:
        labels: people's labels, a folder of `pairwright label export`, in place of the recipe's own.

    Raises:
        InvalidRecipe: there is none, or something in it is unknown or out of range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and name_or_path in recipe_names():
        path = FOLDER / f"{name_or_path}.yaml"
    if path.suffix in (".yaml", ".yml"):
        recipe = read_recipe(path, FOLDER)
        return recipe if labels is None else recipe.model_copy(update={"labels": labels})
    raise InvalidRecipe(f'no recipe is called "{name_or_path}"{nearest(name_or_path, recipe_names())}')
