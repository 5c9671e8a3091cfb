"""The caption grid as it is planned: a model a cell and seed, refused before any work where it cannot be right."""

from __future__ import annotations

from typing import Any

from pairwright.components.component import Fit
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.evaluate.caption_grid import Cell, cells_of
from pairwright.components.recipe import GridSection
from pairwright.flows.running.run import Run
from pairwright.flows.stages.training import planned_fit


def cell_fits(run: Run, section: GridSection) -> dict[Cell, dict[int, Fit[Any]]]:
    """What is trained, by cell and seed: the recipe's `pretrain` with that mix of captions, taken by turns.

    Raises:
        InvalidRecipe: no `pretrain`, a source without a column of its features, or a ratio that cannot be held exactly.
    """
    pretrain = run.recipe.pretrain
    if pretrain is None:
        raise InvalidRecipe(f"{run.recipe.name}: evaluate.grid varies the captions of pretrain; add that section")
    found: dict[Cell, dict[int, Fit[Any]]] = {}
    for cell in cells_of(section.formats, section.shares):
        mixed = pretrain.model_copy(
            update={"with_": {**pretrain.with_, "captions": cell.captions(section.alt), "mix": "cycle"}}
        )
        found[cell] = {seed: planned_fit(run, mixed, seed) for seed in section.seeds}
    return found


def check_grid(run: Run, section: GridSection) -> None:
    """Refuse a grid that cannot be right.

    Raises:
        InvalidRecipe: as `cell_fits`; or the metric is of no benchmark of the recipe.
    """
    cell_fits(run, section)
    known = run.recipe.evaluate.benchmarks if run.recipe.evaluate else {}
    name, _, metric = section.metric.partition(".")
    if name not in known or not metric:
        raise InvalidRecipe(
            f'{run.recipe.name}: evaluate.grid.metric is "{section.metric}", which is no BENCHMARK.METRIC of the recipe'
            f"{nearest(name, known)}"
        )
