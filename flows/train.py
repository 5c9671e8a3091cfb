"""Train and evaluate: a model an arm and a seed, benchmarks on dev and test, the ablation table.

Arms are what a model is trained on: `curated` (the kept pairs), `raw` (every pair that could be
read) and `random` (as many raw pairs as were kept, drawn at random for each seed anew, so that its
interval over seeds holds the chance of the draw), all at the same number of optimizer steps and the
same seeds. `random` is the baseline a selection has to beat.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairwright.components.component import Fit
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.models.protocols import PROTOCOLS
from pairwright.components.recipe import EvaluateSection, PretrainSection, StepSpec
from pairwright.flows.planning.digests import ablation_digest, metrics_digest, model_digest
from pairwright.flows.planning.evaluation_sets import RULE as HELD_OUT
from pairwright.flows.planning.plan import fit_reads
from pairwright.flows.planning.planning import build
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, accelerator, run_stage
from pairwright.flows.running.summary import rounded
from pairwright.flows.stages.compress import check_compression, compression_stage
from pairwright.flows.stages.gates import run_gate

if TYPE_CHECKING:
    from pairwright.components.engine.launch import TrainingGroup

ARMS = ("curated", "raw", "random")


def train_stages(run: Run, selection: Path) -> dict[str, dict[int, Path]]:
    """A model folder for every arm and seed of the recipe."""
    section = run.recipe.pretrain
    if section is None:
        return {}
    from pairwright.components.engine.launch import TrainingGroup

    group = TrainingGroup(
        run.session,
        storage_path=str(run.folder / "ray"),
        workers=run.environment.train_workers,
        use_gpu=run.device == "cuda",
        slot=lambda: accelerator(run),
    )
    with closing(group):
        models = {
            arm: {seed: train_one(run, section, selection, arm, seed, group) for seed in section.seeds}
            for arm in arms_of(run)
        }
    run.results["models"] = {
        arm: {str(seed): str(path) for seed, path in seeds.items()} for arm, seeds in models.items()
    }
    return models


def arms_of(run: Run) -> tuple[str, ...]:
    return run.recipe.evaluate.ablation if run.recipe.evaluate else ("curated",)


def check_training(run: Run) -> None:
    """Refuse a pretrain, evaluate or release section that cannot be right, before long work starts.

    Raises:
        InvalidRecipe: an unknown arm, component or setting, or a release of what is not trained.
    """
    recipe = run.recipe
    for arm in arms_of(run):
        if arm not in ARMS:
            raise InvalidRecipe(f'{recipe.name}: evaluate.ablation names "{arm}"{nearest(arm, ARMS)}')
    if recipe.pretrain is not None:
        planned_fit(run, recipe.pretrain, recipe.pretrain.seeds[0])
    if recipe.evaluate is not None:
        _protocols_spoken(run, recipe.evaluate)
        if recipe.pretrain is not None and not recipe.evaluate.benchmarks:
            raise InvalidRecipe(f"{recipe.name}: evaluate.benchmarks is empty; name one, e.g. {{retrieval: retrieval}}")
        if recipe.pretrain is None and recipe.evaluate.compression is None:
            raise InvalidRecipe(
                f"{recipe.name}: evaluate has nothing to evaluate; add pretrain or evaluate.compression"
            )
        if recipe.evaluate.compression is not None:
            check_compression(run, recipe.evaluate.compression)
    if recipe.release is not None:
        from pairwright.components.tracking.promotion import PromotionRule

        rule = PromotionRule.parse(recipe.release.promote, f"{recipe.name}: release.promote")
        if recipe.pretrain is None or recipe.evaluate is None:
            raise InvalidRecipe(f"{recipe.name}: release needs the sections pretrain and evaluate")
        if recipe.release.arm not in arms_of(run) or recipe.release.seed not in recipe.pretrain.seeds:
            raise InvalidRecipe(
                f"{recipe.name}: release names arm {recipe.release.arm}, seed {recipe.release.seed}, not trained here; "
                f"arms are {', '.join(arms_of(run))}, seeds {', '.join(map(str, recipe.pretrain.seeds))}"
            )
        check_metric(run, "release.promote.metric", rule.metric)


def _protocols_spoken(run: Run, section: EvaluateSection) -> None:
    """Every benchmark asks for a protocol there is, and for one that the model to be trained speaks.

    Raises:
        InvalidRecipe: naming the benchmark and the protocol.
    """
    for key, benchmark in planned_benchmarks(run, section).items():
        where = f"{run.recipe.name}: benchmark {key}"
        if benchmark.protocol not in PROTOCOLS:
            raise InvalidRecipe(f'{where} asks for a "{benchmark.protocol}"{nearest(benchmark.protocol, PROTOCOLS)}')
        if run.recipe.pretrain is None:
            continue
        fit = planned_fit(run, run.recipe.pretrain, run.recipe.pretrain.seeds[0])
        if benchmark.protocol not in fit.speaks:
            made = ", ".join(fit.speaks) or "nothing a benchmark can ask"
            raise InvalidRecipe(
                f"{where} asks for a {benchmark.protocol}, and what pretrain.uses {fit.name} makes is {made}; "
                "name another benchmark or another fit"
            )


def check_metric(run: Run, where: str, metric: str) -> None:
    """Refuse a `benchmark.metric` of a benchmark that the recipe does not name.

    Raises:
        InvalidRecipe: with the nearest benchmark there is.
    """
    known = run.recipe.evaluate.benchmarks if run.recipe.evaluate else {}
    name = metric.partition(".")[0]
    if name not in known:
        raise InvalidRecipe(
            f'{run.recipe.name}: {where} is "{metric}", but no benchmark is called "{name}"{nearest(name, known)}'
        )


def planned_fit(run: Run, section: PretrainSection, seed: int) -> Fit[Any]:
    spec = StepSpec(uses=section.uses, **{"with": {**section.with_, "seed": seed}})
    fit = build(spec, f"{run.recipe.name}: pretrain", run.resolve, kind="fit")
    assert isinstance(fit, Fit)
    known = run.plan.column_types()
    for column in fit.column_names():
        if column not in known:
            raise InvalidRecipe(
                f'{run.recipe.name}: pretrain reads "{column}", which no step makes{nearest(column, known)}'
            )
    return fit


def planned_benchmarks(run: Run, section: EvaluateSection) -> dict[str, Any]:
    return {
        key: build(spec, f"{run.recipe.name}: benchmark {key}", run.resolve, kind="benchmark")
        for key, spec in section.benchmarks.items()
    }


def train_one(run: Run, section: PretrainSection, selection: Path, arm: str, seed: int, group: TrainingGroup) -> Path:
    """One model, trained by the group; a killed run goes on from its last checkpoint."""
    fit = planned_fit(run, section, seed)
    rows = pairs_of_arm(selection, arm, run.recipe.seed, seed)
    digest = model_digest(run, fit, rows)
    folder = run.artifacts.path("models", digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("models", digest) else None

    def work(stage: Stage) -> Path:
        scratch = Path(run.environment.workspace) / "checkpoints" / digest
        scratch.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, scratch / "pairs.parquet")
        with run.artifacts.commit("models", digest) as partial:
            config = fit.train_config(  # type: ignore[attr-defined]
                dataset=run.dataset,
                store_root=run.store.root,
                steps=run.plan.where(fit_reads(fit, run.plan)),
                pairs=scratch / "pairs.parquet",
                checkpoints=scratch,
                folder=partial,
                device=run.device,
                precision=run.precision,
            )
            result = group.train(
                "pairwright.components.training.run:train",
                config,
                on_report=lambda m: stage.progress(int(m["step"]), int(m["steps"]), f"loss {m['loss']:.3f}"),
            )
        shutil.rmtree(scratch, ignore_errors=True)
        stage.facts(pairs=len(rows), arm=arm, seed=seed, loss=float(result["loss"]), steps=int(result["step"]))
        _track_curves(run, f"{arm} {seed}", folder)
        return folder

    return run_stage(run, f"train {arm} {seed}", digest, reuse=reuse, work=work)


def _track_curves(run: Run, name: str, folder: Path) -> None:
    """Training metrics by step, into a child run of their own."""
    import json

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


def evaluate_stages(run: Run, models: dict[str, dict[int, Path]]) -> Path | None:
    """Metrics of every model on both splits, then the ablation over arms and seeds."""
    section = run.recipe.evaluate
    if section is None:
        return None
    compression_stage(run)
    if not models:
        return None
    metrics: dict[str, Any] = {}
    for arm, seeds in models.items():
        for seed, folder in seeds.items():
            loaded = functools.cache(functools.partial(load_for, run, section, folder))
            for split, dataset in run.splits.items():
                found = evaluate_one(run, section, folder, dataset, f"{arm} {seed} {split}", loaded)
                metrics.setdefault(arm, {}).setdefault(str(seed), {})[split] = str(found)
    folder = ablation_stage(run, metrics)
    run.results |= {"evaluation": folder.name, "metrics": metrics}
    run_gate(run, "evaluation")
    return folder


def load_for(run: Run, section: EvaluateSection, model: Path) -> Any:
    """The model, by every protocol that the recipe's benchmarks ask for.

    Raises:
        ModelError: it does not speak one of them.
    """
    from pairwright.components.models.formats import load_model

    asked = {benchmark.protocol for benchmark in planned_benchmarks(run, section).values()}
    return load_model(model, sorted(asked), run.device)


def evaluate_one(
    run: Run,
    section: EvaluateSection,
    model: Path,
    dataset: Dataset,
    name: str,
    loaded: Callable[[], Any] | None = None,
) -> Path:
    """`metrics.json` (a list of metrics) and `items.npz` (a value an item, for paired tests).

    Args:
        loaded: gives the model of that folder, so that several splits load it once; loaded here if None.
    """
    benchmarks = planned_benchmarks(run, section)
    digest = metrics_digest(model, dataset, benchmarks)
    folder = run.artifacts.path("metrics", digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("metrics", digest) else None

    def work(stage: Stage) -> Path:
        from pairwright.flows.stages.measure import measure

        with run.artifacts.commit("metrics", digest) as partial:
            asked = loaded() if loaded else load_for(run, section, model)
            metrics = measure(asked, dataset, benchmarks, partial)
        stage.facts(items=dataset.rows, **{m["name"]: m["value"] for m in metrics[:4]})
        return folder

    return run_stage(run, f"evaluate {name}", digest, reuse=reuse, work=work)


def ablation_stage(run: Run, metrics: dict[str, Any]) -> Path:
    """The arms side by side: mean over seeds with interval, and paired differences."""
    digest = ablation_digest(metrics)
    folder = run.artifacts.path("ablations", digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("ablations", digest) else None

    def work(stage: Stage) -> Path:
        from pairwright.flows.stages.measure import compare_arms

        with run.artifacts.commit("ablations", digest) as partial:
            storage.write_json(str(partial / "ablation.json"), compare_arms(metrics))
        return folder

    run_stage(run, "ablation", digest, reuse=reuse, work=work)
    rows = storage.read_json(str(folder / "ablation.json"))["rows"]
    from prefect.artifacts import create_table_artifact

    create_table_artifact(table=rounded(rows), key="metrics", description=f"Evaluation of {run.title}")
    return folder
