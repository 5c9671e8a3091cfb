"""The typed recipe: one YAML that says what, never how. It expands to a DAG of named steps.

    name: mine
    data: data/raw
    labels: labels/raw                    # what people judged, where a reward is fitted (docs/label.md)
    filter:
      score:  {image: image, text: {uses: caption_text, with: {source: alt}}}
      fit:    {reward: {uses: reward, with: {accept: [silver]}}}
      select: {near: {uses: near_duplicates, with: {hash: pdq.hash}}}
      keep:   {readable: image.readable, long_enough: text.words >= 2}
    recaption: {fused: {uses: fuse}}
    pretrain:  {uses: dual_encoder, with: {steps: 400}, seeds: [0, 1, 2]}
    train:                                # or several, one after the other
      align: {uses: dual_encoder, evaluate: []}
      tune:  {uses: dual_encoder, init: "step:align", data: best.keep, with: {lr: 0.0001}}
    evaluate:  {dev: data/dev, test: data/test, benchmarks: {retrieval: retrieval}}
    release:   {promote: {metric: retrieval.mean_recall}}
    search:    {trials: 20, space: {lr: {low: 1.0e-4, high: 1.0e-2, log: true}}}    # `pairwright search` alone reads it

The sections are sugar for the common chain; a recipe that is shaped otherwise writes `steps:`, a
list of {name, uses, needs, with}. A step written alone as text is `{uses: text}`. What a step
reads (`step.column`, a caption source that is a step's name, `step:name` for a fitted model) is
found in its settings, so `needs` is only for order that no setting shows. A recipe that begins with
`extends: quickstart` says only what is its own (components/recipe_layers.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.recipe_layers import PROSE, Layer, file_of, merged, read_layers, read_text
from pairwright.components.search.space import SearchSection
from pairwright.components.settings import Settings

STEP_NAME = re.compile(r"[a-z][a-z0-9_]*$")


def _short_form(value: Any) -> Any:
    return {"uses": value} if isinstance(value, str) else value


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise ValueError(f"{twice} stands there twice")
    return values


Seeds = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_once)]


class StepSpec(Settings):
    """One step: the component it `uses`, its settings `with`, and what it `needs` beyond them."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    uses: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    needs: tuple[str, ...] = ()


ShortStep = Annotated[StepSpec, BeforeValidator(_short_form)]
StepMap = dict[str, ShortStep]


class NamedStep(StepSpec):
    """A step of the general form, which carries its own name."""

    name: str


class FilterSection(Settings):
    """Scores, selections over them, and the keep-rules, evaluated in order."""

    score: StepMap = Field(default_factory=dict)
    fit: StepMap = Field(default_factory=dict, description="models fitted on the columns; others name them `step:NAME`")
    select: StepMap = Field(default_factory=dict)
    keep: dict[str, str] = Field(default_factory=dict)
    lazy: bool = Field(False, description="a pair that a rule has dropped reaches no model that a later rule needs")
    budget: float = Field(0.05, ge=0, le=1, description="share of pairs that may fail or be lost")
    frozen: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="rule -> {aggregate: value}, thresholds pinned from an earlier run"
    )


class PretrainSection(Settings):
    """The fit of the model, once an arm and a seed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    uses: str = "dual_encoder"
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    seeds: Seeds = (0,)


class TrainSpec(StepSpec):
    """A model that is trained once pairs are kept; it may start from another's weights, or name it as `step:NAME`."""

    data: str = Field("kept", description="kept, raw, or a condition on columns that the kept pairs have to meet")
    init: str | None = Field(None, description="whose weights it starts from: step:NAME of `train`, or a model")
    seeds: Seeds = (0,)
    evaluate: tuple[str, ...] | None = Field(None, description="benchmarks it is measured by; all if not said")


class CompressionSection(Settings):
    """The curve of quality over kept share, down an order of the pairs (components/evaluate/compression.py)."""

    order: str = Field(description="step.column by which pairs are kept; pairs without a value never are")
    best: Literal["high", "low"] = Field("high", description="which end of the order is kept first")
    shares: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1), AfterValidator(_once)] = (
        *(0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05),
    )
    seeds: Seeds = (0, 1, 2)
    margin: float = Field(0.03, gt=0, lt=1, description="by how much a share's mean recall may lie below the whole's")
    source: str = "alt"  # caption that is trained on
    image_features: str = "image_features.vector"
    text_features: str = "text_features.vector"
    steps: int = Field(300, ge=1, description="optimizer steps of every model of the curve")
    batch_size: int = Field(256, ge=2)
    lr: float = Field(1e-3, gt=0)
    dim: int = Field(256, ge=2)


class GridSection(Settings):
    """Models of one kind of caption each, mixed with alt-text in each ratio (components/evaluate/caption_grid.py)."""

    formats: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_once)] = Field(
        description="caption sources, a row of the grid each; pretrain's text_features names their columns"
    )
    alt: str = Field("alt", description="the source they are mixed with")
    shares: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=2), AfterValidator(_once)] = (
        Field((0.0, 0.25, 0.5, 0.75, 1.0), description="of alt-text, a column of the grid each; held exactly, by turns")
    )
    seeds: Seeds = (0, 1, 2)
    metric: str = Field("retrieval.t2i_r5", description="BENCHMARK.METRIC that cells are compared by, on dev")

    @model_validator(mode="after")
    def _alt_is_no_format(self) -> Self:
        if self.alt in self.formats:
            raise ValueError(f'"{self.alt}" is what formats are mixed with, and no format')
        return self


class EvaluateSection(Settings):
    """Benchmarks on two splits: `dev` promotes and tunes, `test` only reports."""

    dev: str
    test: str
    benchmarks: StepMap = Field(default_factory=dict)
    ablation: Annotated[tuple[str, ...], AfterValidator(_once)] = Field(
        ("curated",), min_length=1, description="arms trained: curated, raw, random"
    )
    compression: CompressionSection | None = None
    grid: GridSection | None = None


class ReleaseSection(Settings):
    """Which model is put forward, and the rule by which it becomes champion."""

    arm: str = "curated"
    seed: int = 0
    promote: dict[str, Any] = Field(default_factory=dict)


class Recipe(Settings):
    """A recipe, resolved and checked; `named_steps` and `digest` are derived.

    `layers` are the files it was read from, the base first; none where it was made in code.
    """

    name: str
    description: str = ""
    paper: str = Field("", description="the published system it follows")
    status: Literal["works", "part"] = Field("works", description="part: `left` says what of the paper is not here yet")
    left: str = ""
    data: str = "data/raw"
    labels: str | None = Field(None, description="folder of `pairwright label export`; the reward is fitted on it")
    seed: int = 0
    filter: FilterSection = FilterSection()
    recaption: StepMap = Field(default_factory=dict)
    steps: tuple[NamedStep, ...] = ()
    pretrain: PretrainSection | None = None
    train: dict[str, Annotated[TrainSpec, BeforeValidator(_short_form)]] = Field(default_factory=dict)
    evaluate: EvaluateSection | None = None
    release: ReleaseSection | None = None
    search: SearchSection | None = Field(None, description="what `pairwright search` varies; a run does not read it")
    gates: dict[str, dict[str, Any]] = Field(default_factory=dict)
    _layers: tuple[Layer, ...] = PrivateAttr(())

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._layers

    def written_in(self, *path: Any) -> str:
        """For errors: ` (quickstart.yaml)` where a base says what stands at `path`, nothing where its own file does."""
        where = file_of(self._layers, path) if self._layers else ""
        return "" if not self._layers or where == self._layers[-1].where else f" ({where})"

    def place_of(self, step: str) -> tuple[Any, ...]:
        """Where in the recipe a step is written."""
        places: dict[str, tuple[Any, ...]] = {
            **{name: ("filter", key, name) for key in ("score", "fit", "select") for name in getattr(self.filter, key)},
            **{name: ("recaption", name) for name in self.recaption},
            **{name: ("train", name) for name in self.train},
            **{one.name: ("steps", number) for number, one in enumerate(self.steps)},
        }
        return places.get(step, ())

    @property
    def learners(self) -> list[dict[str, Any]]:
        """The settings of everything that is trained on kept pairs."""
        return [*([self.pretrain.with_] if self.pretrain else []), *(spec.with_ for spec in self.train.values())]

    @property
    def digest(self) -> str:
        """Of what the recipe makes; its name, prose and layout do not count."""
        unsaid = {"search"} | (set() if self.train else {"train"})  # as before there was such a section
        said = self.model_dump(mode="json", exclude=set(PROSE) | unsaid, by_alias=True)
        return sha256_text(canonical([said, list(self.filter.keep)]))  # the rules' order counts too

    @property
    def named_steps(self) -> dict[str, StepSpec]:
        """Every column-making step by name, in the order written.

        Raises:
            InvalidRecipe: two steps share a name, or a name is not a plain identifier.
        """
        steps: dict[str, StepSpec] = {}
        listed = [(step.name, step) for step in self.steps]
        sections = (self.filter.score, self.filter.fit, self.filter.select, self.recaption)
        for name, step in [*(item for section in sections for item in section.items()), *listed]:
            if not STEP_NAME.match(name):
                raise InvalidRecipe(f'{self.name}: step name "{name}" must be lower-case letters, digits and _')
            if name in steps:
                raise InvalidRecipe(f'{self.name}: two steps are called "{name}"; rename one')
            steps[name] = step
        return steps

    def order(self, reads: Mapping[str, set[str]]) -> list[str]:
        """Step names so that each comes after what it reads (`reads`) and `needs`.

        Raises:
            InvalidRecipe: a need that is no step, or a circle.
        """
        steps = self.named_steps
        before = {name: set(step.needs) | reads.get(name, set()) for name, step in steps.items()}
        for name, needs in before.items():
            for need in needs - steps.keys():
                raise InvalidRecipe(f'{self.name}: step "{name}" needs "{need}"{nearest(need, steps)}')
        ordered: list[str] = []
        while len(ordered) < len(steps):
            ready = [n for n in steps if n not in ordered and before[n] <= set(ordered)]
            if not ready:
                stuck = ", ".join(n for n in steps if n not in ordered)
                raise InvalidRecipe(f"{self.name}: steps {stuck} need each other in a circle")
            ordered.append(ready[0])
        return ordered


def read_recipe(path: Path, shipped: Path | None = None) -> Recipe:
    """The recipe in a YAML file, with what it extends.

    Args:
        shipped: folder of the recipes that `extends` may name without a path.

    Raises:
        InvalidRecipe: unreadable, not YAML, or something in it is unknown or out of range.
    """
    return parse_recipe(read_text(path), str(path), shipped)


def parse_recipe(text: str, where: str, shipped: Path | None = None) -> Recipe:
    """A recipe from YAML text; `where` is its path, named in errors."""
    layers = read_layers(text, where, shipped)
    recipe = Recipe.parse(merged(layers), lambda path: file_of(layers, path))
    recipe._layers = layers
    recipe.named_steps  # noqa: B018  raises on a bad or repeated name
    return recipe
