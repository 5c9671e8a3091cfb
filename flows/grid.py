"""The caption grid: a model a cell and seed, trained and measured on `dev` as any other, and what they show together.

Each model and each measurement is a stage of its own, known by its digest: a run that was killed loses the model in
hand, another format or ratio costs its own cells, and a second run costs nothing. `evaluate.grid` is a section of a
recipe, and no command: what is tried is then in the recipe's digest, its figure in the report beside the model it
argues for, and the gate's split stays what it is, since cells are compared on `dev` alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Fit
from pairwright.components.dataset.shards import storage
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.evaluate.caption_grid import Cell, grid_rows, in_words
from pairwright.components.recipe import EvaluateSection, GridSection
from pairwright.flows.planning.digests import grid_digest, trial_digest
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, accelerator, run_stage
from pairwright.flows.stages.grid_cells import cell_fits
from pairwright.flows.stages.measure import groups_of
from pairwright.flows.stages.training import pairs_of_arm, trained
from pairwright.flows.train import evaluate_one, planned_benchmarks

if TYPE_CHECKING:
    from pairwright.components.engine.launch import TrainingGroup

ARM, SPLIT, FILE = "curated", "dev", "grid.json"
Fits = dict[Cell, dict[int, Fit[Any]]]


def grid_stages(run: Run, selection: Path) -> Path | None:
    """`grid.json`: a row a cell, what they show in words."""
    evaluate = run.recipe.evaluate
    section = evaluate.grid if evaluate else None
    if evaluate is None or section is None:
        return None
    fits = cell_fits(run, section)
    pairs = pairs_of_arm(selection, ARM, run.recipe.seed, 0)
    benchmarks, dev = planned_benchmarks(run, evaluate), run.splits[SPLIT]
    kept = dict.fromkeys(section.seeds, pairs)
    cells = [trial_digest(run, seeds, kept, benchmarks, dev, section.metric) for seeds in fits.values()]
    digest = grid_digest(section, cells)
    folder = run.artifacts.path("grids", digest)
    known = run.artifacts.has("grids", digest)
    found = {} if known else _measured(run, evaluate, section, fits, pairs)

    def work(stage: Stage) -> Path:
        with run.artifacts.commit("grids", digest) as partial:
            storage.write_json(str(partial / FILE), found)
        stage.facts(models=len(cells) * len(section.seeds), verdict=found["verdict"])
        return folder

    run_stage(run, "grid", digest, reuse=lambda: folder if known else None, work=work)
    run.results["grid"] = str(folder)
    return folder


def _measured(run: Run, evaluate: EvaluateSection, section: GridSection, fits: Fits, pairs: pa.Table) -> dict[str, Any]:
    from pairwright.components.engine.launch import training_group

    folders: dict[Cell, list[Path]] = {}
    with training_group(
        run.session,
        storage_path=str(run.folder / "ray"),
        workers=run.environment.train_workers,
        use_gpu=run.device == "cuda",
        slot=lambda: accelerator(run),
    ) as group:
        for cell, seeds in fits.items():
            folders[cell] = [_metrics(run, evaluate, cell, seed, fit, pairs, group) for seed, fit in seeds.items()]
    return told(folders, section)


def _metrics(
    run: Run, evaluate: EvaluateSection, cell: Cell, seed: int, fit: Fit[Any], pairs: pa.Table, group: TrainingGroup
) -> Path:
    """The folder of one model's metrics."""
    name = f"grid_{cell.name} {seed}"
    model = trained(run, name, fit, pairs, group, ARM, seed)
    return evaluate_one(run, evaluate, model, run.splits[SPLIT], f"{name} {SPLIT}")


def told(folders: dict[Cell, list[Path]], section: GridSection) -> dict[str, Any]:
    """The grid of metrics' folders, a list over seeds each.

    Raises:
        InvalidRecipe: the benchmark has no such metric, or none that each query has a value of.
    """
    first = next(iter(folders.values()))[0]
    listed = {one["name"]: one for one in storage.read_json(str(first / "metrics.json"))}
    with np.load(first / "items.npz") as values:
        held = dict(values)
    if section.metric not in listed or section.metric not in held:
        known = sorted(listed.keys() & held.keys())
        raise InvalidRecipe(
            f'evaluate.grid.metric is "{section.metric}", of which queries have no values'
            f"{nearest(section.metric, known)}"
        )
    higher = bool(listed[section.metric]["higher_is_better"])
    items = {cell: np.stack([_items(one, section.metric) for one in some]) for cell, some in folders.items()}
    rows = grid_rows(items, groups_of(held, section.metric), section.formats, higher)
    return {
        "rows": rows,
        "metric": section.metric,
        "higher_is_better": higher,
        "definition": listed[section.metric]["definition"],
        "seeds": len(section.seeds),
        "split": SPLIT,
        "verdict": in_words(rows, section.metric, higher),
    }


def _items(folder: Path, metric: str) -> np.ndarray:
    with np.load(folder / "items.npz") as values:
        found: np.ndarray = values[metric]
    return found
