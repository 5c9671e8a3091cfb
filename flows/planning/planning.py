"""Planning a recipe: every step parsed, its references resolved, its columns checked, its digest computed.

Nothing is read or computed here but names and hashes: every mistake a recipe can hold is found
before any long work starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairwright.components.component import Component
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.groups import OVERLAP
from pairwright.components.digest import op_digest
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.recipe import Recipe, StepSpec
from pairwright.components.registry import component_class, find, named_component
from pairwright.components.settings import ModelFolder, Named, Settings, Where
from pairwright.flows.planning.plan import GLOBAL_KINDS, STEP, STEP_KINDS, Plan, PlannedStep

Resolve = Callable[[str], ModelFolder]


def plan_recipe(
    recipe: Recipe, dataset: Dataset, resolve: Resolve, precision: str = "float32", models: str = "workspace/models"
) -> Plan:
    """Plan every step that makes columns or a fitted model.

    Args:
        precision: what training computes in, bfloat16 or float32.
        models: the folder under which fitted models are committed by digest.

    Raises:
        InvalidRecipe: an unknown component, setting, step or column.
        ModelError: a model reference that does not resolve.
    """
    specs = recipe.named_steps
    parsed = {n: parse(s, place(recipe, n), _kind(recipe, n)) for n, s in specs.items()}
    learnt = {OVERLAP} & specs.keys()  # a step that sees the population learns from it, but not from these pairs
    reads = {n: _reads(c, specs) | (learnt if c.kind in GLOBAL_KINDS else set()) for n, c in parsed.items()}
    plan = Plan(recipe, dataset)
    for name in recipe.order(reads):
        component = resolved(parsed[name], with_steps(resolve, plan, models))
        _check_columns(recipe, name, component, plan)
        needs = tuple(sorted(reads[name]))
        digest = op_digest(component, inputs={n: plan.steps[n].digest for n in needs}, precision=precision)
        if component.kind in GLOBAL_KINDS:
            digest = sha256_text(canonical([digest, dataset.digest]))  # a global step saw this population
            level = max((plan.steps[n].level for n in needs), default=0)
        else:
            level = max((plan.steps[n].level + (plan.steps[n].kind in GLOBAL_KINDS) for n in needs), default=0)
        plan.steps[name] = PlannedStep(name, component, needs, digest, level, "filter")
    for name in _after_selection(recipe, plan):
        plan.steps[name] = replace(plan.steps[name], section="recaption")
    if recipe.filter.lazy:
        from pairwright.flows.planning.lazy import lazy_plan

        return lazy_plan(plan, precision)
    return plan


def place(recipe: Recipe, step: str) -> Where:
    """What an error of a step's settings begins with: the file is named where it is a base's."""
    return lambda path: f"{recipe.name}: step {step}{recipe.written_in(*recipe.place_of(step), 'with', *path)}"


def _kind(recipe: Recipe, name: str) -> str | None:
    return "fit" if name in recipe.filter.fit else None


def _after_selection(recipe: Recipe, plan: Plan) -> set[str]:
    """Recaption steps that no step of the filter reads, by whatever detour: they run once pairs are selected."""
    wanted = [name for name in plan.steps if name not in recipe.recaption]
    needed: set[str] = set()
    while wanted:
        reads = set(plan.steps[wanted.pop()].reads) - needed
        needed |= reads
        wanted.extend(reads)
    return recipe.recaption.keys() - needed


def with_steps(resolve: Resolve, plan: Plan, models: str) -> Resolve:
    """`resolve`, which also knows `step:NAME`: the folder a planned fit will stand in, its digest as the weights'."""

    def resolve_either(reference: str) -> ModelFolder:
        if not reference.startswith(STEP):
            return resolve(reference)
        name = reference.removeprefix(STEP)
        if name not in plan.steps or plan.steps[name].kind != "fit":
            known = [step.name for step in plan.fits()]
            raise InvalidRecipe(f'{plan.recipe.name}: "{reference}" names no fit of the recipe{nearest(name, known)}')
        digest = plan.steps[name].digest
        return ModelFolder(reference=reference, path=str(Path(models) / digest), weights=f"fit:{digest}")

    return resolve_either


def build(spec: StepSpec, where: Where, resolve: Resolve, kind: str | None = None) -> Component[Any]:
    """A component with its settings parsed and its model references resolved to folders.

    Raises:
        InvalidRecipe: unknown component or setting, or a kind that is no step.
    """
    return resolved(parse(spec, where, kind), resolve)


def parse(spec: StepSpec, where: Where, kind: str | None = None) -> Component[Any]:
    """A component with its settings parsed, its model references as written.

    Raises:
        InvalidRecipe: unknown component or setting, or a kind that is no step.
    """
    cls = component_class(kind, spec.uses) if kind else find(spec.uses, STEP_KINDS)
    if kind is None and cls.kind not in STEP_KINDS:
        said = where if isinstance(where, str) else where(())
        raise InvalidRecipe(f"{said} uses {spec.uses}, which is a {cls.kind} and makes no columns")
    return cls(cls.settings_model().parse(spec.with_, where))


def resolved(component: Component[Any], resolve: Resolve) -> Component[Any]:
    """The same component, its model references resolved to folders."""
    return type(component)(resolve_models(component.settings, resolve))


def resolve_models(settings: Settings, resolve: Resolve) -> Settings:
    """The same settings with every model reference resolved, those in a named component's `with` too."""
    resolved: Settings = _with_models(settings, resolve)
    return resolved


def _with_models(value: Any, resolve: Resolve) -> Any:
    """`value`, or a copy whose model references are resolved if it holds any that is not."""
    if isinstance(value, ModelFolder):
        return value if value.resolved else resolve(value.reference)
    if isinstance(value, Named):
        inner = named_component(value).settings
        found = _with_models(inner, resolve)
        return value if found is inner else value.model_copy(update={"with_": found.model_dump(mode="json")})
    if isinstance(value, Settings):
        changed = _changed({name: getattr(value, name) for name in type(value).model_fields}, resolve)
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, Mapping):
        changed = _changed(value, resolve)
        return {**value, **changed} if changed else value
    if isinstance(value, (list, tuple)):
        changed = _changed(dict(enumerate(value)), resolve)
        return type(value)(changed.get(i, item) for i, item in enumerate(value)) if changed else value
    return value


def _changed(items: Mapping[Any, Any], resolve: Resolve) -> dict[Any, Any]:
    found = {key: _with_models(item, resolve) for key, item in items.items()}
    return {key: item for key, item in found.items() if item is not items[key]}


def _reads(component: Component[Any], steps: Mapping[str, StepSpec]) -> set[str]:
    """Steps whose columns, captions or fitted models the component's settings name."""
    named = {column.partition(".")[0] for column in component.column_names()}
    named |= {source for source in component.caption_sources() if source in steps}
    return named | {name for name in _fits_named(component.settings) if name in steps}


def _fits_named(settings: Settings) -> Iterator[str]:
    """NAME of every `step:NAME` the settings hold, those in a named component's `with` too."""
    named: list[str] = []

    def note(reference: str) -> ModelFolder:
        named.append(reference)
        return ModelFolder(reference=reference)

    _with_models(settings, note)
    return (reference.removeprefix(STEP) for reference in named if reference.startswith(STEP))


def _check_columns(recipe: Recipe, name: str, component: Component[Any], plan: Plan) -> None:
    known = plan.column_types()
    for column in component.column_names():
        if column not in known:
            raise InvalidRecipe(
                f'{recipe.name}: step "{name}"{recipe.written_in(*recipe.place_of(name))} reads "{column}", '
                f"which no earlier step makes{nearest(column, known)}"
            )
