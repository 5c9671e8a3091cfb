"""What the shell completes: recipes, components, datasets and runs by name; nothing heavy is imported.

eval "$(_PAIRWRIGHT_COMPLETE=bash_source pairwright)"     for bash; zsh_source and fish_source for the others
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
DEPTH = 3  # folders below the current one in which a dataset is looked for


def _completes(names: Callable[[click.Context], Iterable[str]]) -> Complete:
    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names(context) if name.startswith(typed)]

    return complete


def _recipes(context: click.Context) -> Iterable[str]:
    from pairwright.flows.recipes import recipe_names

    yield from recipe_names()
    yield from sorted(str(path) for path in Path().glob("*.y*ml"))


def _components(context: click.Context) -> Iterable[str]:
    from pairwright.components.registry import known_names

    return sorted(known_names())


def _scorers(context: click.Context) -> Iterable[str]:
    from pairwright.components.registry import known_names

    return sorted(known_names("scorer"))


def _datasets(context: click.Context) -> Iterable[str]:
    for depth in range(DEPTH + 1):
        for manifest in sorted(Path().glob("*/" * depth + "dataset.json")):
            yield str(manifest.parent)


def _runs(context: click.Context) -> Iterable[str]:
    from pairwright.components.environment import Environment
    from pairwright.flows.running.runs import run_records

    asked: dict[str, Any] = context.params
    records = run_records(Environment.load(workspace=asked.get("workspace")).workspace)
    yield from (record["id"] for record in reversed(records))
    yield from sorted({str(record["recipe"]) for record in records})


RECIPE, COMPONENT, SCORER = _completes(_recipes), _completes(_components), _completes(_scorers)
DATASET, RUN = _completes(_datasets), _completes(_runs)
RECIPE_OR_COMPONENT = _completes(lambda context: [*_recipes(context), *_components(context)])
