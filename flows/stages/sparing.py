"""Lazy evaluation, run: the rules so far are applied, then the models see what is left.

    lazy_passes(run, "filter")      # `filter: {lazy: true}`; nothing otherwise

What it saved is in the run's record under `lazy`, in its report, and in each stage's line.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.flows.planning.lazy import LazyPass
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage


def spare(run: Run, one: LazyPass) -> None:
    """Write which pairs the rules before a lazy pass dropped."""

    def reuse() -> bool | None:
        return True if not run.store.missing(one.spared, run.dataset.shards) else None

    def work(stage: Stage) -> bool:
        from pairwright.components.filter.rules.spare import write_spared

        view = ColumnsView(run.dataset, run.store, run.plan.where(set(one.reads)))
        frozen = run.recipe.filter.frozen or None
        spared = write_spared(view, one.rules, one.spared, pictures_known=one.pictures_known, frozen=frozen)
        stage.facts(pairs=run.dataset.rows, spared=spared)
        return True

    run_stage(run, f"{counted(one)} first", one.spared.digest, reuse=reuse, work=work)


def counted(one: LazyPass) -> str:
    return f"{len(one.rules)} rules" if len(one.rules) > 1 else "1 rule"


def saved(run: Run, one: LazyPass) -> list[dict[str, Any]]:
    """What a pass saved, a dict a step: pairs seen and spared, worker seconds a pair and saved.

    The seconds are those the step took for the pairs it saw, in this run or in the one that committed
    them. Reading and decoding the pictures of spared pairs was saved, too, and is not counted.
    """
    found = []
    digests = [shard.digest for shard in run.dataset.shards]
    for name in one.steps:
        of_step = partial(run.store.record, run.plan.steps[name].columns)
        with ThreadPoolExecutor(16) as pool:  # a record in object storage is a round trip
            records = list(pool.map(of_step, digests))
        facts = [(record or {}).get("facts", {}) for record in records]
        pairs, spared, seconds = (sum(fact.get(what, 0) for fact in facts) for what in ("pairs", "spared", "seconds"))
        each = seconds / pairs if pairs else 0.0
        about = {"step": name, "after": one.rules[-1].name, "pairs": pairs, "spared": spared}
        found.append(about | {"seconds_a_pair": each, "seconds_saved": round(each * spared, 3)})
    return found
