"""The stage that draws `dev` and `test` from the data, where the recipe evaluates on its own; and what they can show.

It comes after the first pass, whose PDQ hashes it reads, so that no picture is opened for it twice.
"""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.own_splits import draw_own, what_it_tells, write_own
from pairwright.components.dataset.splits import DRAWN_FROM
from pairwright.flows.planning.evaluation_sets import hashing
from pairwright.flows.planning.own_sets import KIND
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage


def draw_stage(run: Run) -> None:
    """Draw the splits, or reuse them; then say on which data figures stand."""
    draw = run.own_draw
    if draw is None:
        stands_on(run)
        return

    def reuse() -> bool | None:
        return True if draw.made(run.artifacts) else None

    def work(stage: Stage) -> bool:
        draw_splits(run)
        stage.facts(**{name: one.rows for name, one in draw.sets(run.artifacts).items()})
        return True

    run_stage(run, "draw splits", draw.digest, reuse=reuse, work=work)
    run.forget_evaluation_sets()  # of which there were only the names so far
    stands_on(run)


def draw_splits(run: Run) -> None:
    """Commit `dev` and `test` of the run's draw; the PDQ columns of its data are there."""
    draw = run.own_draw
    assert draw is not None
    step = run.plan.steps[hashing(run.plan.recipe)[0]]
    drawn = draw_own(draw.data, run.store, step.columns, draw.source)
    with run.artifacts.commit(KIND, draw.digest) as partial:
        write_own(draw.data, drawn, partial)


def stands_on(run: Run) -> None:
    """What each split is of and what it can show, into the results; one too small is warned of."""
    for name, dataset in run.splits.items():
        pairs, groups = counted(dataset)
        told, small = what_it_tells(pairs, groups)
        of = _of(run, dataset)
        run.results.setdefault("stands_on", {})[name] = {
            "dataset": dataset.name,
            "digest": dataset.digest,
            "pairs": pairs,
            "groups": groups,
            "of": of,
            "words": f"{name} is {dataset.name} ({of}), {told}",
        }
        if small:
            run.warnings.append(f"{name} ({dataset.name}) has {told}")


def _of(run: Run, dataset: Dataset) -> str:
    if DRAWN_FROM in dataset.facts:
        return f"drawn by group from {run.dataset.name}, held out of training"
    return dataset.description or "named in the recipe"


def counted(dataset: Dataset) -> tuple[int, int]:
    """Pairs and groups; a pair without a group is its own."""
    groups: set[Any] = set()
    alone = 0
    for _, table in dataset.iter_sidecars(["group"]):
        column = table["group"]
        groups |= set(pc.unique(column.drop_null()).to_pylist())
        alone += column.null_count
    return dataset.rows, len(groups) + alone
