"""A recipe as planned steps: components with resolved settings, what each reads, and its digest.

How a recipe becomes a plan is in flows/planning/planning.py, and in flows/planning/lazy.py where it is lazy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pairwright.components.component import Component, Fit, Scorer, Selection
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.groups import OVERLAP
from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.recipe import Recipe

if TYPE_CHECKING:
    from pairwright.components.filter.rules.expression import Rule

CAPTIONER_COLUMNS: dict[str, pa.DataType] = {name: pa.string() for name in ("text", "lang", "note", "status")}
COLUMN_KINDS = ("scorer", "selection", "captioner")
STEP_KINDS = (*COLUMN_KINDS, "fit")
GLOBAL_KINDS = ("selection", "fit")  # they see every shard, so that what reads them comes in a later pass
STEP = "step:"  # a model reference to what a fit of the same recipe makes


@dataclass(frozen=True)
class PlannedStep:
    """One step, ready to run.

    Attributes:
        level: how many global steps must come before it.
        after: how many keep-rules a pair must pass before this step sees it (`lazy: true`); 0: it sees all.
    """

    name: str
    component: Component[Any]
    reads: tuple[str, ...]
    digest: str
    level: int
    section: str
    after: int = 0

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
        return {} if self.kind == "fit" else CAPTIONER_COLUMNS


@dataclass(frozen=True)
class LazyPass:
    """Lazy steps that run together, after the same rules.

    Attributes:
        rules: the keep-rules a pair has to pass first.
        reads: the steps those rules read.
        spared: where it is written which pairs they dropped.
        pictures_known: a step that runs before the rules has opened every picture.
        min_pixels: the size at which the pass these steps would have been part of decodes, in px.
    """

    section: str
    steps: tuple[str, ...]
    rules: tuple[Rule, ...]
    reads: tuple[str, ...]
    spared: StepColumns
    pictures_known: bool
    min_pixels: int


@dataclass(frozen=True)
class Plan:
    """Planned steps in an order that respects what they read.

    Attributes:
        lazy: passes whose steps see only what the keep-rules before them leave.
        not_spared: model -> why it sees every pair although the recipe is lazy.
    """

    recipe: Recipe
    dataset: Dataset
    steps: dict[str, PlannedStep] = field(default_factory=dict)
    lazy: tuple[LazyPass, ...] = ()
    not_spared: Mapping[str, str] = field(default_factory=dict)

    def column_types(self) -> dict[str, pa.DataType]:
        """Every `step.column` the plan makes."""
        return {f"{s.name}.{column}": kind for s in self.steps.values() for column, kind in s.schema().items()}

    def where(self, names: set[str] | None = None) -> dict[str, StepColumns]:
        """Where steps' columns are stored; a fit has none."""
        return {n: s.columns for n, s in self.steps.items() if (names is None or n in names) and s.kind != "fit"}

    def fits(self) -> list[PlannedStep]:
        """The steps that make a model folder."""
        return [s for s in self.steps.values() if s.kind == "fit"]

    def passes(self, section: str) -> Iterator[tuple[list[PlannedStep], list[PlannedStep]]]:
        """(per-shard steps, global steps) of a section that see every pair, level by level.

        Without `evaluation_overlap`, which has a stage of its own (flows/stages/held_out.py).
        """
        mine = [s for s in self.steps.values() if s.section == section and not s.after and s.name != OVERLAP]
        for level in sorted({s.level for s in mine}):
            here = [s for s in mine if s.level == level]
            yield [s for s in here if s.kind not in GLOBAL_KINDS], [s for s in here if s.kind in GLOBAL_KINDS]


def job_of(step: PlannedStep) -> Any:
    """A planned step as a worker is told of it."""
    from pairwright.components.dataset.shards.scan import ColumnJob

    settings = step.component.settings.model_dump(mode="json")
    module = type(step.component).__module__
    return ColumnJob(step.name, step.kind, step.component.name, settings, step.columns, module=module)


def fit_reads(fit: Fit[Any], plan: Plan) -> set[str]:
    """Steps that a fit's settings name anywhere, as `step.column`, as a caption source or as `step:NAME`."""
    said = {word.removeprefix(STEP).partition(".")[0] for word in words(fit.settings.model_dump(mode="json"))}
    return said & plan.steps.keys()


def words(value: Any) -> Iterator[str]:
    """Every text in nested settings, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (key, *words(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from words(item)
