"""One model trained: its pairs, its digest, its launch. The only place that starts a training.

folder = trained(run, "curated 0", fit, rows, group, arm="curated", seed=0)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairwright.components.component import Fit
from pairwright.components.environment import usable_threads
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.recipe import PretrainSection, StepSpec, TrainSpec
from pairwright.flows.planning.digests import model_digest
from pairwright.flows.planning.evaluation_sets import RULE as HELD_OUT
from pairwright.flows.planning.plan import fit_reads
from pairwright.flows.planning.planning import Resolve, build
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage

if TYPE_CHECKING:
    from pairwright.components.engine.launch import TrainingGroup

LOOP = "pairwright.components.training.run:train"


def planned_fit(
    run: Run,
    section: PretrainSection | TrainSpec,
    seed: int,
    place: tuple[str, ...] = ("pretrain",),
    resolve: Resolve | None = None,
    **more: Any,
) -> Fit[Any]:
    """What is trained, for one seed.

    Args:
        place: where in the recipe it is written, named in errors.
        resolve: of model references; the run's own by default.
        more: settings beside those written in `with`.

    Raises:
        InvalidRecipe: an unknown component, setting or column.
    """

    def where(path: tuple[Any, ...]) -> str:
        return f"{run.recipe.name}: {'.'.join(place)}{run.recipe.written_in(*place, 'with', *path)}"

    spec = StepSpec(uses=section.uses, **{"with": {**section.with_, "seed": seed, **more}})
    fit = build(spec, where, resolve or run.resolve, kind="fit")
    assert isinstance(fit, Fit)
    known = run.plan.column_types()
    for column in fit.column_names():
        if column not in known:
            raise InvalidRecipe(f'{where(())} reads "{column}", which no step makes{nearest(column, known)}')
    return fit


def trained(run: Run, name: str, fit: Fit[Any], rows: pa.Table, group: TrainingGroup, arm: str, seed: int) -> Path:
    """The model's folder, trained by the group or reused; a killed run goes on from its last checkpoint.

    Args:
        rows: (shard, row) of the pairs it learns from.
    """
    digest = model_digest(run, fit, rows)
    folder = run.artifacts.path("models", digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("models", digest) else None

    def work(stage: Stage) -> Path:
        with run.artifacts.commit("models", digest) as partial:
            result = launch(run, fit, rows, digest, partial, group, stage)
        stage.facts(pairs=len(rows), arm=arm, seed=seed, loss=float(result["loss"]), steps=int(result["step"]))
        if result.get("advice"):
            stage.facts(loading=str(result["advice"]))
        _track_curves(run, name, folder)
        return folder

    return run_stage(run, f"train {name}", digest, reuse=reuse, work=work)


def launch(
    run: Run, fit: Fit[Any], rows: pa.Table, digest: str, folder: Path, group: TrainingGroup, stage: Stage
) -> dict[str, Any]:
    """Train into `folder`; the metrics of the last step."""
    scratch = Path(run.environment.workspace) / "checkpoints" / digest
    scratch.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, scratch / "pairs.parquet")
    config = fit.train_config(  # type: ignore[attr-defined]
        dataset=run.dataset,
        store_root=run.store.root,
        steps=run.plan.where(fit_reads(fit, run.plan)),
        pairs=scratch / "pairs.parquet",
        checkpoints=scratch,
        folder=folder,
        device=run.device,
        precision=run.precision,
    )
    from pairwright.components.training.checkpoint import newest_checkpoint

    begun = newest_checkpoint(scratch)
    if begun is not None:
        stage.facts(resumed_from=begun.step)
        run.console.say(f"  {stage.record.name} goes on from step {begun.step}")
    if run.session.local:  # Ray leaves a worker one thread; on this machine nothing else runs beside training
        config["threads"] = max(1, usable_threads() // run.environment.train_workers)
    result = group.train(
        LOOP,
        config,
        on_report=lambda m: stage.progress(int(m["step"]), int(m["steps"]), said_of(m)),
    )
    shutil.rmtree(scratch, ignore_errors=True)
    return result


def said_of(metrics: Mapping[str, Any]) -> str:
    """A step in a word: its loss, or that it was not finite and was not taken."""
    return f"loss {metrics['loss']:.3f}" if "loss" in metrics else "skipped"


def _track_curves(run: Run, name: str, folder: Path) -> None:
    """Training metrics by step, into a child run of their own."""
    with run.tracked.stage(f"curve {name}") as child:
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            values = json.loads(line)
            numbers = {k: float(v) for k, v in values.items() if k != "step" and isinstance(v, (int, float))}
            child.log_metrics(numbers, step=int(values["step"]))
            run.tracked.log_metrics({f"curve.{name}.{k}": v for k, v in numbers.items()}, step=int(values["step"]))


def pairs_of_arm(selection: Path, arm: str, seed: int, draw: int) -> pa.Table:
    """Rows (shard, row, key) an arm trains on, none of them held out for evaluation.

    Args:
        seed: of the recipe.
        draw: the model's own seed: `random` is drawn anew for each, since one draw's luck would be every model's.
    """
    kept = pq.read_table(selection / "kept.parquet", columns=["shard", "row", "key"])
    if arm == "curated":
        return kept
    verdicts = pq.read_table(selection / "verdicts.parquet", columns=["shard", "row", "key", "status", "rule"])
    unusable = pc.or_(pc.equal(verdicts["status"], "failed"), pc.equal(verdicts["rule"].fill_null(""), HELD_OUT))
    readable = verdicts.filter(pc.invert(unusable)).drop_columns(["status", "rule"])
    if arm == "raw":
        return readable
    drawn = np.random.default_rng([seed, draw]).choice(len(readable), size=min(len(kept), len(readable)), replace=False)
    return readable.take(pa.array(np.sort(drawn)))
