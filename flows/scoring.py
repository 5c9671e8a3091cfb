"""One scorer over one dataset, outside any run: its columns, made or found again in the store that runs share.

scored = score_dataset(find_dataset("data/raw"), "caption_text", {"source": "alt"}, Environment.load(), Console())
scored.view.column("caption_text.words")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.environment import Environment
from pairwright.components.recipe import Recipe
from pairwright.flows.planning.plan import PlannedStep
from pairwright.flows.planning.planning import plan_recipe
from pairwright.flows.terminal.console import Console


@dataclass(frozen=True)
class Scored:
    """The scorer's step, named as the scorer is, and the view its columns are in."""

    step: PlannedStep
    view: ColumnsView


def score_dataset(
    dataset: Dataset, scorer: str, settings: Mapping[str, Any], environment: Environment, console: Console
) -> Scored:
    """Run one scorer over the shards whose columns are missing, with this machine's workers.

    Raises:
        InvalidRecipe: an unknown scorer or setting.
        ModelError: a model reference that does not resolve.
    """
    from pairwright.flows.running.run import model_resolver

    said = {"name": "score", "filter": {"score": {scorer: {"uses": scorer, "with": dict(settings)}}}}
    recipe = Recipe.parse(said, "score")
    step = plan_recipe(recipe, dataset, model_resolver(environment)).steps[scorer]
    store = ColumnStore(environment.columns_root)
    todo = store.missing(step.columns, dataset.shards)
    if todo:
        reports = _scan(step, store, todo, environment, console)
        for text in (*said_halved(reports), *said_raised(reports)):
            console.say(text)
    return Scored(step, ColumnsView(dataset, store, {scorer: step.columns}))


def _scan(
    step: PlannedStep, store: ColumnStore, todo: Sequence[Any], environment: Environment, console: Console
) -> Sequence[Any]:
    from pairwright.components.dataset.shards.scan import ScanTask
    from pairwright.components.engine.cluster import Session
    from pairwright.components.engine.shard_map import map_shards
    from pairwright.flows.planning.plan import job_of

    session = Session(address=environment.ray_address, workers=environment.shard_workers)
    try:
        return map_shards(
            ScanTask(jobs=[job_of(step)], store_root=store.root, captions={}, inputs={}),
            todo,
            session,
            workers=environment.shard_workers,
            on_progress=lambda p: console.progress(step.name, p.done, p.total, speed(p)),
        )
    finally:
        session.close()
        console.end()


def said_halved(reports: Sequence[Any]) -> Iterator[str]:
    """For each step whose batches memory did not hold: how many pairs it does hold."""
    for step in dict.fromkeys(step for report in reports for step in report.halved):
        most = min(report.halved[step] for report in reports if step in report.halved)
        yield f"  step {step} ran out of memory and went on with {most:,} pairs at a time; nothing was lost"


def said_raised(reports: Sequence[Any]) -> Iterator[str]:
    """For each step whose component raised on some pairs: on how many, and the first traceback."""
    for step in dict.fromkeys(step for report in reports for step in report.raised):
        pairs = sum(report.raised.get(step, 0) for report in reports)
        first = next(report.first_raised[step] for report in reports if step in report.first_raised)
        yield f"  step {step} raised on {pairs:,} pairs, which are rows with that reason; the first time:\n{first}"


def speed(progress: Any) -> str:
    """Pairs a second and the seconds left, in words."""
    left = "" if progress.eta is None else f", {progress.eta:,.0f} s left"
    return f"{progress.rate:,.0f} pairs/s{left}"
