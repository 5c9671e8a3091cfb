"""The stage that holds out: which pairs are of a group the recipe evaluates on, before anything learns.

It comes after the first pass, which makes the PDQ hashes, and costs a shard where one shard is new. The
evaluation sets are hashed by the same step, once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.groups import OVERLAP
from pairwright.flows.planning.digests import score_digest
from pairwright.flows.planning.evaluation_sets import KIND, caption_sources
from pairwright.flows.planning.plan import job_of
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage

FEW = 50_000  # pairs that one process holds out in half a minute, sooner than workers start


def hold_out_stage(run: Run) -> None:
    """Columns that say which pairs are of a group evaluated on; `held_out` in the run's results counts them."""
    step = run.plan.steps.get(OVERLAP)
    if step is None:
        return
    shards = run.dataset.shards
    digest = score_digest([step], shards)

    def reuse() -> bool | None:
        return True if not run.store.missing(step.columns, shards) else None

    def work(stage: Stage) -> bool:
        write_evaluation(run)
        todo = run.store.missing(step.columns, shards)
        hold_out(run, todo, stage.progress)
        stage.facts(shards=len(todo), **counted(run))
        return True

    run_stage(run, "hold out", digest, reuse=reuse, work=work)
    run.made.add(step.name)
    run.results["held_out"] = counted(run)


def hold_out(run: Run, shards: list[Shard], progress: Callable[[int, int], None]) -> None:
    """Make the step's columns of these shards: in this process where they are few, else by the run's workers."""
    from pairwright.components.dataset.shards.scan import ScanTask, run_local

    step = run.plan.steps[OVERLAP]
    task = ScanTask([job_of(step)], run.store.root, inputs=run.plan.where(set(step.reads)))
    if sum(shard.rows for shard in shards) <= FEW:
        done = itertools.count(1)
        run_local(task, shards, lambda _: progress(next(done), len(shards)))
        return
    from pairwright.components.engine.shard_map import map_shards

    workers = run.environment.shard_workers
    map_shards(task, shards, run.session, workers=workers, on_progress=lambda p: progress(p.done, p.total))


def write_evaluation(run: Run) -> None:
    """Hash the evaluation pairs, where that was not done before, and commit their groups."""
    digest = str(run.plan.steps[OVERLAP].component.settings.groups.weights)
    if run.artifacts.has(KIND, digest):
        return
    from pairwright.components.dataset.shards.scan import ScanTask, run_local
    from pairwright.components.filter.scorers.evaluation_overlap import write_groups

    step = run.plan.steps[run.plan.steps[OVERLAP].component.settings.hash.partition(".")[0]]
    sets = run.evaluation_sets
    for dataset in sets.values():
        run_local(ScanTask([job_of(step)], run.store.root), dataset.shards)
    with run.artifacts.commit(KIND, digest) as partial:
        write_groups(sets, caption_sources(run.recipe), run.store, step.columns, partial)


def counted(run: Run) -> dict[str, Any]:
    """Pairs held out in all, by what they share, and how many pairs of each evaluation set that was held against."""
    import pyarrow.compute as pc

    step = run.plan.steps[OVERLAP]
    by: dict[str, int] = {"picture": 0, "caption": 0}
    for shard in run.dataset.shards:
        for entry in pc.value_counts(run.store.read(step.columns, shard, ["by"])["by"].drop_null()).to_pylist():
            by[entry["values"]] += entry["counts"]
    against = ", ".join(f"{name} {one.rows:,}" for name, one in run.evaluation_sets.items())
    return {"held_out": sum(by.values()), **by, "against": against}
