"""Curate: gate the raw data, score it, select across it, keep by rules, gate what is kept, recaption.

pairwright run quickstart --only curate
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards.columns import to_arrow
from pairwright.components.engine.shard_workers import standing_workers
from pairwright.components.errors import BudgetExceeded
from pairwright.components.filter.rules.ledger import Ledger
from pairwright.components.filter.rules.rules import Rule
from pairwright.components.filter.rules.selection import read_summary, write_selection
from pairwright.flows.planning.check import check_recipe
from pairwright.flows.planning.digests import keep_digest, score_digest
from pairwright.flows.planning.lazy import LazyPass
from pairwright.flows.planning.plan import PlannedStep, job_of
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, accelerator, run_stage
from pairwright.flows.running.summary import in_words, log_to_flow_run, rounded
from pairwright.flows.scoring import said_halved, said_raised, speed
from pairwright.flows.stages.fitted import fit_step
from pairwright.flows.stages.gates import run_gate
from pairwright.flows.stages.held_out import hold_out_stage
from pairwright.flows.stages.own_splits import draw_stage
from pairwright.flows.stages.sparing import counted, saved, spare

FORTY_ROWS = 40  # rows of a table a person reads in Prefect's UI


def curate_stages(run: Run) -> Path:
    """Every stage of curation; returns the selection's folder.

    Raises:
        InvalidRule: before anything runs, when a rule is not an expression over known columns.
        GateFailed, BudgetExceeded: after the stage that found it.
    """
    rules = check_recipe(run)
    with standing_workers(run.session):
        return _curated(run, rules)


def _curated(run: Run, rules: list[Rule]) -> Path:
    run_gate(run, "raw")
    for number, (scorers, global_steps) in enumerate(run.plan.passes("filter")):
        score_pass(run, "score" if number == 0 else f"score {number + 1}", scorers)
        if number == 0:
            draw_stage(run)
            hold_out_stage(run)
        for step in global_steps:
            global_step(run, step)
    lazy_passes(run, "filter")
    folder = keep_stage(run, rules)
    run_gate(run, "curated")
    for scorers, global_steps in run.plan.passes("recaption"):
        score_pass(run, "recaption", scorers)
        for step in global_steps:
            global_step(run, step)
    lazy_passes(run, "recaption")
    return folder


def lazy_passes(run: Run, section: str) -> None:
    """The models that see only what the rules before them leave, one pass after the other."""
    for one in run.plan.lazy:
        if one.section == section:
            spare(run, one)
            name = f"{'recaption' if section == 'recaption' else 'score'} after {counted(one)}"
            score_pass(run, name, [run.plan.steps[step] for step in one.steps], one)
            run.results.setdefault("lazy", []).extend(saved(run, one))


def score_pass(run: Run, name: str, steps: list[PlannedStep], lazy: LazyPass | None = None) -> None:
    """One pass over the shards that fills every missing column of these steps."""
    if not steps:
        return
    shards = run.dataset.shards
    digest = score_digest(steps, shards)

    def reuse() -> bool | None:
        return True if not any(run.store.missing(step.columns, shards) for step in steps) else None

    def work(stage: Stage) -> bool:
        from pairwright.components.dataset.shards.scan import ScanTask
        from pairwright.components.engine.shard_map import map_shards

        todo = [s for s in shards if any(not run.store.has(step.columns, s.digest) for step in steps)]
        read = {need for step in steps for need in step.reads} - {step.name for step in steps}
        task = ScanTask(
            jobs=[job_of(step) for step in steps],
            store_root=run.store.root,
            captions={n: c for n, c in run.plan.where(read).items() if run.plan.steps[n].kind == "captioner"},
            inputs={n: c for n, c in run.plan.where(read).items() if run.plan.steps[n].kind != "captioner"},
            device=run.device,
            spared=lazy.spared if lazy else None,
            min_pixels=lazy.min_pixels if lazy else 0,
        )
        with accelerator(run):
            reports = map_shards(
                task,
                todo,
                run.session,
                workers=run.environment.shard_workers,
                gpus_per_worker=1 if run.device == "cuda" else 0,
                on_progress=lambda p: stage.progress(p.done, p.total, speed(p)),
            )
        stage.facts(pairs=sum(report.rows - report.spared for report in reports), shards=len(reports))
        stage.facts(**asked_models(run, steps))
        for text in (*said_halved(reports), *said_raised(reports)):
            run.console.say(text)
        if lazy:
            stage.facts(
                spared=sum(r.spared for r in reports), seconds_saved=sum(s["seconds_saved"] for s in saved(run, lazy))
            )
        return True

    run_stage(run, name, digest, reuse=reuse, work=work)
    run.made |= {step.name for step in steps}


def asked_models(run: Run, steps: list[PlannedStep]) -> dict[str, float]:
    """What became of the prompts of each step that asks a text model, over all its shards: `STEP.status.budget`, ..."""
    from pairwright.components.dataset.shards.columns import ColumnsView
    from pairwright.components.recaption.notes import count_fallbacks

    facts: dict[str, float] = {}
    for step in steps:
        if step.kind == "captioner":
            found = count_fallbacks(ColumnsView(run.dataset, run.store, {step.name: step.columns}), step.name)
            facts |= {f"{step.name}.{name}": n for name, n in found.metrics().items() if found.by_status}
    return facts


def global_step(run: Run, step: PlannedStep) -> None:
    """A step that sees the whole population: a selection's columns, or a fit's model."""
    if step.kind == "fit":
        fit_step(run, step)
    else:
        select_step(run, step)


def select_step(run: Run, step: PlannedStep) -> None:
    """A global step: columns of all shards in, columns of all shards out."""

    def reuse() -> bool | None:
        return True if not run.store.missing(step.columns, run.dataset.shards) else None

    def work(stage: Stage) -> bool:
        component = step.component
        component.setup(run.device)
        made = component.select(run.view())  # type: ignore[attr-defined]  a Selection, by its kind
        arrays = {name: to_arrow(made[name], kind) for name, kind in step.schema().items()}
        start = 0
        for number, shard in enumerate(run.dataset.shards):
            part = {name: array.slice(start, shard.rows) for name, array in arrays.items()}
            run.store.write(step.columns, shard.digest, part, shard.rows)
            start += shard.rows
            stage.progress(number + 1, len(run.dataset.shards), "written")
        stage.facts(pairs=run.dataset.rows)
        return True

    run_stage(run, step.name, step.digest, reuse=reuse, work=work)
    run.made.add(step.name)


def keep_stage(run: Run, rules: list[Rule]) -> Path:
    """Apply the keep-rules; the folder holds kept rows, a verdict a pair, thresholds and the ledger."""
    recipe = run.recipe
    digest = keep_digest(run)
    folder = run.artifacts.path("selections", digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("selections", digest) else None

    def work(stage: Stage) -> Path:
        with run.artifacts.commit("selections", digest) as partial:
            summary = write_selection(run.view(), rules, partial, frozen=recipe.filter.frozen or None)
        ledger = Ledger.from_dict(summary["ledger"])
        stage.facts(kept=ledger.kept, dropped=ledger.pairs_dropped, failed=ledger.pairs_failed)
        return folder

    run_stage(run, "keep", digest, reuse=reuse, work=work)
    summary = read_summary(folder)
    ledger = Ledger.from_dict(summary["ledger"])
    ledger.check()
    run.results |= {"selection": digest, "selection_folder": str(folder), "ledger": ledger.as_dict()}
    show_funnel(run, summary["funnel"])
    if ledger.over_budget(recipe.filter.budget):
        raise BudgetExceeded(
            f"{run.dataset.name}: {ledger.lost} of {ledger.pairs_in} pairs failed or were lost, over "
            f"the budget of {recipe.filter.budget:.0%}; see `pairwright why`, mend the data or raise filter.budget"
        )
    return folder


def show_funnel(run: Run, funnel: list[dict[str, Any]]) -> None:
    """The funnel as a table in Prefect's UI."""
    from prefect.artifacts import create_table_artifact

    create_table_artifact(table=rounded(funnel[:FORTY_ROWS]), key="funnel", description=f"Funnel of {run.title}")
    log_to_flow_run(in_words(run))
