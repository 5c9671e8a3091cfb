"""Steps of `train:`: models trained once pairs are kept, in the order they need each other.

    train:
      align: {uses: dual_encoder, evaluate: []}
      tune:  {uses: dual_encoder, init: "step:align", data: "best.keep", with: {lr: 0.0001}}

A step is known by its own settings, its pairs, the columns it reads and the content of every model it starts
from or names: of `step:NAME` the model of its own seed, or NAME's first where NAME has no such seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pairwright.components.component import Fit
from pairwright.components.errors import InvalidRecipe, InvalidRule, nearest
from pairwright.components.filter.rules.rules import Rule, apply_rules, check_rules
from pairwright.components.models.resolve import hash_folder
from pairwright.components.recipe import STEP_NAME, Recipe, TrainSpec
from pairwright.components.registry import component_class
from pairwright.components.settings import ModelFolder
from pairwright.flows.planning.plan import STEP, words
from pairwright.flows.planning.planning import Resolve
from pairwright.flows.running.run import Run
from pairwright.flows.stages.training import pairs_of_arm, planned_fit, trained

if TYPE_CHECKING:
    from pairwright.components.engine.launch import TrainingGroup

KEPT, RAW = "kept", "raw"
ARMS = ("curated", "raw", "random")  # names that models beside them have
Models = Mapping[str, Mapping[int, Path]]  # step -> seed -> folder


def train_steps(run: Run, selection: Path, group: TrainingGroup) -> dict[str, dict[int, Path]]:
    """A model folder for every step and seed."""
    models: dict[str, dict[int, Path]] = {}
    for name in train_order(run.recipe):
        spec = run.recipe.train[name]
        rows = pairs_of_step(run, name, spec, selection)
        models[name] = {}
        for seed in spec.seeds:
            fit = planned_step(run, name, spec, seed, models)
            models[name][seed] = trained(run, f"{name} {seed}", fit, rows, group, name, seed)
    return models


def planned_step(run: Run, name: str, spec: TrainSpec, seed: int, models: Models | None = None) -> Fit[Any]:
    """What the step trains; without `models`, of those it starts from only the names are known."""
    more = {} if spec.init is None else {"init": spec.init}
    return planned_fit(run, spec, seed, ("train", name), _resolving(run, seed, models), **more)


def train_order(recipe: Recipe) -> list[str]:
    """Steps of `train`, each after those it starts from or names.

    Raises:
        InvalidRecipe: a circle.
    """
    needs = {name: _needs(recipe, spec) for name, spec in recipe.train.items()}
    ordered: list[str] = []
    while len(ordered) < len(needs):
        ready = next((n for n in needs if n not in ordered and needs[n] <= set(ordered)), None)
        if ready is None:
            stuck = ", ".join(n for n in needs if n not in ordered)
            raise InvalidRecipe(f"{recipe.name}: train steps {stuck} need each other in a circle")
        ordered.append(ready)
    return ordered


def _needs(recipe: Recipe, spec: TrainSpec) -> set[str]:
    said = [word.removeprefix(STEP) for word in words([spec.with_, spec.init]) if word.startswith(STEP)]
    return {*said, *spec.needs} & recipe.train.keys()


def check_train_steps(run: Run) -> None:
    """Refuse a step of `train` that cannot be right, before long work starts.

    Raises:
        InvalidRecipe: a name that is taken, an unknown component, setting, column, model or benchmark, or a circle.
    """
    recipe = run.recipe
    train_order(recipe)
    for name, spec in recipe.train.items():
        where = f"{recipe.name}: train.{name}{recipe.written_in('train', name)}"
        if not STEP_NAME.match(name) or name in ARMS or name in recipe.named_steps:
            raise InvalidRecipe(f"{where}: the name is taken, or is not lower-case letters, digits and _; rename it")
        for need in set(spec.needs) - recipe.train.keys():
            raise InvalidRecipe(f'{where} needs "{need}", no step of train{nearest(need, recipe.train)}')
        settings = component_class("fit", spec.uses).settings_model()
        if spec.init is not None and "init" not in settings.model_fields:
            raise InvalidRecipe(f"{where}: {spec.uses} cannot start from another model's weights; leave init out")
        known = recipe.evaluate.benchmarks if recipe.evaluate else {}
        for benchmark in set(spec.evaluate or ()) - known.keys():
            raise InvalidRecipe(f'{where}: no benchmark is called "{benchmark}"{nearest(benchmark, known)}')
        planned_step(run, name, spec, spec.seeds[0])
        if spec.data not in (KEPT, RAW):
            try:
                check_rules([Rule("data", spec.data)], run.plan.column_types())
            except InvalidRule as error:
                raise InvalidRecipe(f"{where}: data is kept, raw or a condition on columns: {error}") from None


def pairs_of_step(run: Run, name: str, spec: TrainSpec, selection: Path) -> pa.Table:
    """(shard, row, key) of the pairs a step learns from, in the dataset's order.

    Raises:
        InvalidRecipe: no kept pair meets its condition.
    """
    if spec.data == RAW:
        return pairs_of_arm(selection, RAW, run.recipe.seed, 0)
    kept = pairs_of_arm(selection, "curated", run.recipe.seed, 0)
    if spec.data == KEPT:
        return kept
    chosen = apply_rules(run.view(), [Rule("data", spec.data)]).kept
    among = set(zip(chosen["shard"].to_pylist(), chosen["row"].to_pylist(), strict=True))
    pairs = zip(kept["shard"].to_pylist(), kept["row"].to_pylist(), strict=True)
    found = kept.filter(pa.array([pair in among for pair in pairs], pa.bool_()))
    if not len(found):
        raise InvalidRecipe(f"{run.recipe.name}: train.{name}: no kept pair meets `{spec.data}`; loosen it")
    return found


def _resolving(run: Run, seed: int, models: Models | None) -> Resolve:
    """The run's model references, and those to steps of `train`."""

    def resolve(reference: str) -> ModelFolder:
        name = reference.removeprefix(STEP)
        if not reference.startswith(STEP) or name not in run.recipe.train:
            return run.resolve(reference)
        if models is None:
            return ModelFolder(reference=reference, path=str(run.artifacts.path("models", name)), weights=reference)
        folder = models[name].get(seed, next(iter(models[name].values())))
        return ModelFolder(reference=reference, path=str(folder), weights=hash_folder(folder))

    return resolve
