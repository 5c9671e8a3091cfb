"""People's labels in a recipe that learns preferences: what was chosen teaches, what was drawn blindly judges.

    recipe = with_labels(recipe)       # `labels: FOLDER` of the recipe, or `pairwright run --labels FOLDER`

A fit `reward` then reads people's judgements in place of silver ones, and keeps the blind share for
evaluation alone. A recipe with steps `labels` of its own gets the folder, and keeps its own wiring.
"""

from __future__ import annotations

from typing import Any

from pairwright.components.errors import InvalidRecipe
from pairwright.components.recipe import Recipe, StepMap, StepSpec
from pairwright.flows.planning.plan import words

TAUGHT, BLIND = "labels", "labels_blind"  # the steps that are added


def with_labels(recipe: Recipe) -> Recipe:
    """The recipe, learning from its labels; the recipe itself where it has none.

    Raises:
        InvalidRecipe: no step of it learns from labels, or a step of one of the added names is there.
    """
    if recipe.labels is None:
        return recipe
    section = recipe.filter
    if any(spec.uses == "labels" for spec in section.select.values()):
        select = {name: _with(spec, folder=recipe.labels) for name, spec in section.select.items()}
        return _replaced(recipe, select=select)
    rewards = {name: spec for name, spec in section.fit.items() if spec.uses == "reward"}
    if not rewards:
        raise InvalidRecipe(
            f"{recipe.name}: labels are given, but nothing in it learns from them; use compress_and_align, "
            "or add a fit `reward` to filter.fit"
        )
    for name in (TAUGHT, BLIND):
        if name in recipe.named_steps:
            raise InvalidRecipe(f'{recipe.name}: labels are given, and step "{name}" is theirs; rename yours')
    shares = {TAUGHT: "chosen", BLIND: "random"}
    added = {n: StepSpec(uses="labels", **{"with": {"folder": recipe.labels, "share": s}}) for n, s in shares.items()}
    said = {"preferences": [f"{TAUGHT}.judgements"], "held_out": [f"{BLIND}.judgements"], "accept": ["human"]}
    fit = section.fit | {n: s.model_copy(update={"with_": s.with_ | said}) for n, s in rewards.items()}
    replaced = {str(c).partition(".")[0] for s in rewards.values() for c in s.with_.get("preferences", ())}
    unread = replaced - _read(_replaced(recipe, fit=fit))
    return _replaced(recipe, fit=fit, select={n: s for n, s in section.select.items() if n not in unread} | added)


def _with(spec: StepSpec, folder: str) -> StepSpec:
    return spec.model_copy(update={"with_": spec.with_ | {"folder": folder}}) if spec.uses == "labels" else spec


def _replaced(recipe: Recipe, **sections: StepMap) -> Recipe:
    return recipe.model_copy(update={"filter": recipe.filter.model_copy(update=sections)})


def _read(recipe: Recipe) -> set[str]:
    """Names of steps that anything in the recipe mentions, in settings, needs or rules."""
    said: list[Any] = [[spec.with_, list(spec.needs)] for spec in recipe.named_steps.values()]
    said += [*recipe.learners, [spec.data for spec in recipe.train.values()], recipe.gates]
    said += [recipe.evaluate.model_dump(mode="json") if recipe.evaluate else {}]
    found = {word.partition(".")[0] for word in words(said)}
    expressions = " ".join([*recipe.filter.keep.values(), *(word for word in words(said) if " " in word)])
    return found | {name for name in recipe.named_steps if f"{name}." in expressions}
