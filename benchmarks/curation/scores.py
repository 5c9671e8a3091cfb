"""Columns of the damaged crawl, and each selector's score of every pair, by variant of the crawl."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import yaml

from benchmarks.damaged import SOURCES
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.environment import Environment, silence
from pairwright.components.recipe import Recipe

ROW = "row_number_of_the_view"
PLAN = Path(__file__).with_name("plan.yaml")
_COLUMN = re.compile(r"\b([a-z][a-z0-9_]*)\.([a-z_][a-z0-9_]*)\b")


@dataclass(frozen=True)
class Selector:
    """One way to choose.

    Attributes:
        score: an SQL expression in which SOURCE stands for the variant; higher is kept first.
        what: it is, in a few words.
        train: models are trained on what it keeps; said in the plan, not chosen by the result.
        curve: its compression curve is drawn; likewise.
    """

    name: str
    score: str
    what: str
    train: bool = False
    curve: bool = False


def read_plan() -> dict[str, Any]:
    plan: dict[str, Any] = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    return plan


def selectors() -> list[Selector]:
    return [Selector(name, **said) for name, said in read_plan()["selectors"].items()]


def bench_recipe(data: str) -> Recipe:
    """The plan as one recipe: steps over pictures once, steps over captions once a source."""
    plan = read_plan()
    sections: dict[str, dict[str, Any]] = {"score": {}, "fit": {}, "select": {}}
    for section, steps in sections.items():
        steps |= plan["pictures"].get(section, {})
        for source in SOURCES:
            steps |= _of_source(plan["captions"].get(section, {}), source)
    return Recipe.parse({"name": "curation_bench", "data": data, "filter": sections}, str(PLAN))


def _of_source(steps: dict[str, Any], source: str) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(yaml.safe_dump(steps).replace("SOURCE", source))
    return made


def make_columns(data: str, workspace: str) -> ColumnsView:
    """Every column of the plan, made or reused, through the same stages a run goes through."""
    silence()
    environment = Environment.load(workspace=workspace)
    from pairwright.flows.planning.datasets import find_dataset
    from pairwright.flows.start import quiet_prefect

    quiet_prefect(workspace)
    from prefect import flow

    from pairwright.flows.curate import global_step, score_pass
    from pairwright.flows.running.run import open_run

    @flow(name="curation-bench")
    def columns() -> ColumnsView:
        with open_run(bench_recipe(data), environment, find_dataset(data), flow="bench") as run:
            for number, (scorers, global_steps) in enumerate(run.plan.passes("filter")):
                score_pass(run, f"score {number + 1}", scorers)
                for step in global_steps:
                    global_step(run, step)
            return run.view()

    view: ColumnsView = columns()
    return view


def scores_of(view: ColumnsView, source: str, chosen: list[Selector]) -> dict[str, np.ndarray]:
    """Selector -> (rows,) float64, higher is kept first, NaN where there is no score."""
    expressions = {one.name: one.score.replace("SOURCE", source) for one in chosen}
    names = sorted({".".join(found) for text in expressions.values() for found in _COLUMN.findall(text)})
    population = pa.table({ROW: np.arange(view.rows)} | {name: view.column(name) for name in names})
    told = ", ".join(
        f'CAST(({_COLUMN.sub(_quoted, text)}) AS DOUBLE) AS "{name}"' for name, text in expressions.items()
    )
    with duckdb.connect() as connection:
        connection.register("population", population)
        # A window function leaves the rows in another order, unless one is asked for.
        made = connection.sql(f"SELECT {told} FROM population ORDER BY {ROW}").to_arrow_table()
    return {name: made[name].to_numpy().astype(np.float64) for name in expressions}


def _quoted(found: re.Match[str]) -> str:
    return f'"{found[0]}"'
