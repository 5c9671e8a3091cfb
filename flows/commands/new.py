"""`pairwright new`."""

from __future__ import annotations

import importlib.util
import keyword
from collections.abc import Collection
from pathlib import Path
from string import Template

import click

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
KINDS = ("scorer", "selection", "captioner", "objective", "task", "source")


@click.command("new")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--dest", type=click.Path(file_okay=False), help="The folder to make. Default: ./NAME.")
def command(kind: str, name: str, dest: str | None) -> None:
    """Begin a component of your own: DEST with its module, a test that passes, and packaging with the entry point.

    \b
    Examples:
      pairwright new scorer long_words       then: pip install -e ./long_words
      pairwright explain long_words          it is known by its name from then on
      pytest ./long_words
    """
    made = new_component(kind, name, dest or name)
    click.echo(f"{', '.join(sorted(p.name for p in made.iterdir()))} in {made}; next: pip install -e {made}")


def new_component(kind: str, name: str, dest: str) -> Path:
    """The folder of a component that runs as it is, to be changed.

    Raises:
        InvalidRecipe: the name is no plain identifier, or something is called that already.
        WorkspaceError: the folder is not empty.
    """
    from pairwright.components.errors import InvalidRecipe, WorkspaceError
    from pairwright.components.plug_ins import COMPONENTS, SOURCES
    from pairwright.components.recipe import STEP_NAME

    if not STEP_NAME.match(name) or keyword.iskeyword(name):
        raise InvalidRecipe(f'"{name}" cannot name a component; use lower-case letters, digits and _')
    if importlib.util.find_spec(name) or name in _taken(kind):
        raise InvalidRecipe(f'a module or {kind} called "{name}" is there already; choose another name')
    folder = Path(dest)
    if folder.exists() and any(folder.iterdir()):
        raise WorkspaceError(f"{folder} is not empty; name a new folder with --dest")
    folder.mkdir(parents=True, exist_ok=True)
    words = {
        "name": name,
        "Name": "".join(part.capitalize() for part in name.split("_")),
        "group": SOURCES if kind == "source" else COMPONENTS,
        "entry": f"{name}:SOURCE" if kind == "source" else name,
    }
    for template, file in (
        ("pyproject.toml", "pyproject.toml"),
        (f"{kind}.py", f"{name}.py"),
        (f"test_{kind}.py", f"test_{name}.py"),
    ):
        text = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
        (folder / file).write_text(Template(text).substitute(words), encoding="utf-8")
    return folder


def _taken(kind: str) -> Collection[str]:
    from pairwright.components.dataset.ingest import sources
    from pairwright.components.registry import known_names

    return sources() if kind == "source" else known_names("fit" if kind == "task" else kind)
