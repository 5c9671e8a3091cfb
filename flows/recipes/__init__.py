"""The recipes that ship with Pairwright, one YAML each."""

from __future__ import annotations

from pathlib import Path

from components.errors import InvalidRecipe, nearest
from components.recipe import Recipe, read_recipe

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or any YAML file by path.

    Raises:
        InvalidRecipe: there is none, or something in it is unknown or out of range.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return read_recipe(path)
    if name_or_path in recipe_names():
        return read_recipe(FOLDER / f"{name_or_path}.yaml")
    raise InvalidRecipe(f'no recipe is called "{name_or_path}"{nearest(name_or_path, recipe_names())}')
