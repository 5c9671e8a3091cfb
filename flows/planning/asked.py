"""What a command asks for: a recipe, its data, and what it is evaluated on, together.

    asked = ask("quickstart", data="./mine")
    asked.recipe, asked.dataset, asked.notes

A recipe's `data`, `dev` and `test` belong together. Where `--data` gives other data, of which the recipe's splits
were not drawn, `dev` and `test` are drawn from it (`own`), and benchmarks it cannot answer are left out, which is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.facts import facts_of
from pairwright.components.dataset.splits import drawn_elsewhere
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.recipe import EvaluateSection, Recipe, StepSpec
from pairwright.flows.planning.datasets import find_dataset
from pairwright.flows.planning.evaluation_sets import OWN
from pairwright.flows.planning.planning import parse
from pairwright.flows.recipes import load_recipe


@dataclass(frozen=True)
class Asked:
    """A recipe with its data; `notes` say what of the recipe was changed for it."""

    recipe: Recipe
    dataset: Dataset
    notes: tuple[str, ...] = ()


def ask(
    recipe: str, *, data: str | None = None, labels: str | None = None, dev: str | None = None, test: str | None = None
) -> Asked:
    """The recipe on the data asked for, with the evaluation sets asked for.

    Raises:
        InvalidRecipe: there is no such recipe, or sets are given to one that evaluates nothing.
        DatasetError: there is no such data.
    """
    loaded = load_recipe(recipe, labels)
    dataset = find_dataset(data or loaded.data)
    section, given = loaded.evaluate, {name: path for name, path in (("dev", dev), ("test", test)) if path is not None}
    if section is None:
        if given:
            raise InvalidRecipe(f"{loaded.name}: --{next(iter(given))} is given, but the recipe evaluates nothing")
        return Asked(loaded, dataset)
    left = [name for name in ("dev", "test") if name not in given]
    notes: tuple[str, ...] = ()
    if data is not None and left and Path(data).resolve() != Path(loaded.data).resolve():
        given, section, notes = _of_this_data(loaded, section, dataset, given, left)
    return Asked(loaded.model_copy(update={"evaluate": section.model_copy(update=given)}), dataset, notes)


def _of_this_data(
    recipe: Recipe, section: EvaluateSection, data: Dataset, given: dict[str, str], left: list[str]
) -> tuple[dict[str, str], EvaluateSection, tuple[str, ...]]:
    """`own` for the splits left that are not of this data, the benchmarks it can answer, and what is to be said."""
    foreign = [name for name in left if _is_foreign(getattr(section, name), data)]
    if not foreign:
        return given, section, ()
    unfit = {key: why for key, spec in section.benchmarks.items() if (why := _unfit(recipe, key, spec, data))}
    kept = {key: spec for key, spec in section.benchmarks.items() if key not in unfit}
    if section.benchmarks and not kept:
        why = next(iter(unfit.values()))
        return given, section, (f"evaluated on sets of other data than {data.name}: {why}",)
    notes = [f"{' and '.join(foreign)} are drawn from {data.name}, a tenth each, and held out of training"]
    notes += [f"benchmark {key} is left out: {why}" for key, why in unfit.items()]
    return {**given, **dict.fromkeys(foreign, OWN)}, section.model_copy(update={"benchmarks": kept}), tuple(notes)


def _is_foreign(path: str, data: Dataset) -> bool:
    """Whether the recipe's split says nothing of this data: drawn from other data, or not there."""
    if path == OWN:
        return False
    try:
        return drawn_elsewhere(find_dataset(path), data)
    except DatasetError:
        return True


def _unfit(recipe: Recipe, key: str, spec: StepSpec, data: Dataset) -> str | None:
    """Why a benchmark cannot be run on pairs of this data; None if it can."""
    benchmark = parse(spec, f"{recipe.name}: benchmark {key}", "benchmark")
    facts = facts_of(data)
    try:
        benchmark.check_data(facts)
    except InvalidRecipe as error:
        return str(error)
    source = getattr(benchmark.settings, "source", None)
    return facts.lacks_source(source) if source else None
