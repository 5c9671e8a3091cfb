"""A recipe as planned steps: components with resolved settings, what each reads, and its digest.

Nothing is read or computed here but names and hashes: every mistake a recipe can hold is found
before any long work starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from components.component import Component, Fit, Scorer, Selection
from components.dataset.columns import StepColumns
from components.dataset.dataset import Dataset
from components.digest import canonical, op_digest, sha256_text
from components.errors import InvalidRecipe, nearest
from components.recipe import Recipe, StepSpec
from components.registry import component_class, find
from components.settings import ModelFolder, Settings

CAPTIONER_COLUMNS: dict[str, pa.DataType] = {"text": pa.string(), "lang": pa.string(), "note": pa.string()}
COLUMN_KINDS = ("scorer", "selection", "captioner")

Resolve = Callable[[str], ModelFolder]


@dataclass(frozen=True)
class PlannedStep:
    """One step, ready to run. `level` counts the global steps that must come before it."""

    name: str
    component: Component[Any]
    reads: tuple[str, ...]
    digest: str
    level: int
    section: str

    @property
    def kind(self) -> str:
        return self.component.kind

    @property
    def columns(self) -> StepColumns:
        return StepColumns(self.component.name, self.digest)

    def schema(self) -> Mapping[str, pa.DataType]:
        """Arrow types of the columns this step makes."""
        if isinstance(self.component, (Scorer, Selection)):
            return self.component.schema()
        return CAPTIONER_COLUMNS


@dataclass(frozen=True)
class Plan:
    """Planned steps in an order that respects what they read."""

    recipe: Recipe
    dataset: Dataset
    steps: dict[str, PlannedStep] = field(default_factory=dict)

    def column_types(self) -> dict[str, pa.DataType]:
        """Every `step.column` the plan makes."""
        return {f"{s.name}.{column}": kind for s in self.steps.values() for column, kind in s.schema().items()}

    def where(self, names: set[str] | None = None) -> dict[str, StepColumns]:
        """Where steps' columns are stored."""
        return {n: s.columns for n, s in self.steps.items() if names is None or n in names}

    def passes(self, section: str) -> Iterator[tuple[list[PlannedStep], list[PlannedStep]]]:
        """(per-shard steps, global steps) of a section, level by level."""
        mine = [s for s in self.steps.values() if s.section == section]
        for level in sorted({s.level for s in mine}):
            here = [s for s in mine if s.level == level]
            yield [s for s in here if s.kind != "selection"], [s for s in here if s.kind == "selection"]


def plan_recipe(recipe: Recipe, dataset: Dataset, resolve: Resolve, precision: str = "float32") -> Plan:
    """Plan every column-making step.

    Raises:
        InvalidRecipe: an unknown component, setting, step or column.
        ModelError: a model reference that does not resolve.
    """
    specs = recipe.named_steps
    built = {name: build(spec, f"{recipe.name}: step {name}", resolve) for name, spec in specs.items()}
    reads = {name: _reads(component, specs) for name, component in built.items()}
    plan = Plan(recipe, dataset)
    for name in recipe.order(reads):
        component = built[name]
        _check_columns(recipe, name, component, plan)
        needs = tuple(sorted(reads[name]))
        digest = op_digest(component, inputs={n: plan.steps[n].digest for n in needs}, precision=precision)
        if component.kind == "selection":
            digest = sha256_text(canonical([digest, dataset.digest]))  # a global step saw this population
        level = max((plan.steps[n].level + (plan.steps[n].kind == "selection") for n in needs), default=0)
        if component.kind == "selection":
            level = max((plan.steps[n].level for n in needs), default=0)
        section = "recaption" if name in recipe.recaption else "filter"
        plan.steps[name] = PlannedStep(name, component, needs, digest, level, section)
    return plan


def build(spec: StepSpec, where: str, resolve: Resolve, kind: str | None = None) -> Component[Any]:
    """A component with its settings parsed and its model references resolved to folders.

    Raises:
        InvalidRecipe: unknown component or setting, or a kind that makes no columns.
    """
    cls = component_class(kind, spec.uses) if kind else find(spec.uses)
    if kind is None and cls.kind not in COLUMN_KINDS:
        raise InvalidRecipe(f"{where} uses {spec.uses}, which is a {cls.kind} and makes no columns")
    settings = cls.settings_model().parse(spec.with_, where)
    return cls(resolve_models(settings, resolve))


def resolve_models(settings: Settings, resolve: Resolve) -> Settings:
    """The same settings with every model reference resolved, nested ones too."""
    changed: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, ModelFolder) and not value.resolved:
            changed[name] = resolve(value.reference)
        elif isinstance(value, Settings):
            changed[name] = resolve_models(value, resolve)
    return settings.model_copy(update=changed) if changed else settings


def _reads(component: Component[Any], steps: Mapping[str, StepSpec]) -> set[str]:
    """Steps whose columns or captions the component's settings name."""
    named = {column.partition(".")[0] for column in component.column_names()}
    named |= {source for source in component.caption_sources() if source in steps}
    return named


def fit_reads(fit: Fit[Any], plan: Plan) -> set[str]:
    """Steps that a fit's settings name anywhere, as `step.column` or as a caption source."""

    def words(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from (key, *words(item))
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from words(item)

    said = {word.partition(".")[0] for word in words(fit.settings.model_dump(mode="json"))}
    return said & plan.steps.keys()


def _check_columns(recipe: Recipe, name: str, component: Component[Any], plan: Plan) -> None:
    known = plan.column_types()
    for column in component.column_names():
        if column not in known:
            raise InvalidRecipe(
                f'{recipe.name}: step "{name}" reads "{column}", which no earlier step makes{nearest(column, known)}'
            )
