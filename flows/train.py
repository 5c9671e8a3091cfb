"""Train and evaluate: a model an arm and a seed, benchmarks on dev and test, the ablation table.

Arms are what a model is trained on: `curated` (the kept pairs), `raw` (every pair that could be
read) and `random` (as many raw pairs as were kept, drawn at random for each seed anew, so that its
interval over seeds holds the chance of the draw), all at the same number of optimizer steps and the
same seeds. `random` is the baseline a selection has to beat. Steps of `train:` follow them
(flows/stages/train_steps.py) and are measured beside them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright.components.component import Benchmark, Fit
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.models.protocols import PROTOCOLS
from pairwright.components.recipe import EvaluateSection, PretrainSection
from pairwright.flows.planning.digests import ablation_digest, metrics_digest
from pairwright.flows.planning.planning import build
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, accelerator, run_stage
from pairwright.flows.running.summary import rounded
from pairwright.flows.stages.compress import check_compression, compression_stage
from pairwright.flows.stages.gates import run_gate
from pairwright.flows.stages.grid_cells import check_grid
from pairwright.flows.stages.train_steps import check_train_steps, planned_step, train_steps
from pairwright.flows.stages.training import pairs_of_arm, planned_fit, trained

if TYPE_CHECKING:
    from pairwright.components.engine.launch import TrainingGroup

ARMS = ("curated", "raw", "random")


def train_stages(run: Run, selection: Path) -> dict[str, dict[int, Path]]:
    """A model folder for every arm and seed of the recipe."""
    section = run.recipe.pretrain
    if section is None and not run.recipe.train:
        return {}
    from pairwright.components.engine.launch import training_group

    with training_group(
        run.session,
        storage_path=str(run.folder / "ray"),
        workers=run.environment.train_workers,
        use_gpu=run.device == "cuda",
        slot=lambda: accelerator(run),
    ) as group:
        models: dict[str, dict[int, Path]] = {}
        for arm in arms_of(run) if section is not None else ():
            models[arm] = {seed: train_one(run, section, selection, arm, seed, group) for seed in section.seeds}
        models |= train_steps(run, selection, group)
    run.results["models"] = {
        arm: {str(seed): str(path) for seed, path in seeds.items()} for arm, seeds in models.items()
    }
    return models


def arms_of(run: Run) -> tuple[str, ...]:
    return run.recipe.evaluate.ablation if run.recipe.evaluate else ("curated",)


def seeds_of(run: Run) -> dict[str, tuple[int, ...]]:
    """Arm or step of `train` -> the seeds it is trained with, of those that are evaluated."""
    section = run.recipe.pretrain
    found = dict.fromkeys(arms_of(run), section.seeds) if section is not None else {}
    return found | {name: spec.seeds for name, spec in run.recipe.train.items() if spec.evaluate != ()}


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
    check_train_steps(run)
    learns = recipe.pretrain is not None or bool(recipe.train)
    if recipe.evaluate is not None:
        _protocols_spoken(run, recipe.evaluate)
        if learns and not recipe.evaluate.benchmarks:
            raise InvalidRecipe(f"{recipe.name}: evaluate.benchmarks is empty; name one, e.g. {{retrieval: retrieval}}")
        if not learns and recipe.evaluate.compression is None:
            raise InvalidRecipe(
                f"{recipe.name}: evaluate has nothing to evaluate; add pretrain, train or evaluate.compression"
            )
        if recipe.evaluate.compression is not None:
            check_compression(run, recipe.evaluate.compression)
        if recipe.evaluate.grid is not None:
            check_grid(run, recipe.evaluate.grid)
    if recipe.release is not None:
        from pairwright.components.tracking.promotion import PromotionRule

        rule = PromotionRule.parse(recipe.release.promote, f"{recipe.name}: release.promote")
        if not learns or recipe.evaluate is None:
            raise InvalidRecipe(f"{recipe.name}: release needs the sections pretrain, or train, and evaluate")
        seeds = seeds_of(run)
        if recipe.release.seed not in seeds.get(recipe.release.arm, ()):
            each = {number: None for found in seeds.values() for number in found}
            raise InvalidRecipe(
                f"{recipe.name}: release names arm {recipe.release.arm}, seed {recipe.release.seed}, not trained here; "
                f"arms are {', '.join(seeds)}, seeds {', '.join(map(str, each))}"
            )
        check_metric(run, "release.promote.metric", rule.metric)


def _protocols_spoken(run: Run, section: EvaluateSection) -> None:
    """Every benchmark asks for a protocol there is, and for one that each model it will measure speaks.

    Raises:
        InvalidRecipe: naming the benchmark, the protocol and what would make the model.
    """
    asked = planned_benchmarks(run, section)
    for key, benchmark in asked.items():
        if benchmark.protocol not in PROTOCOLS:
            raise InvalidRecipe(
                f'{run.recipe.name}: benchmark {key} asks for a "{benchmark.protocol}"'
                f"{nearest(benchmark.protocol, PROTOCOLS)}"
            )
    recipe = run.recipe
    if recipe.pretrain is not None:
        fit = planned_fit(run, recipe.pretrain, recipe.pretrain.seeds[0])
        _spoken(run, f"pretrain.uses {fit.name}", fit, asked, "name another benchmark or another fit")
    for name, spec in recipe.train.items():
        fit = planned_step(run, name, spec, spec.seeds[0])
        measured = section_of(run, section, name).benchmarks
        _spoken(
            run,
            f"train.{name}.uses {fit.name}",
            fit,
            {key: asked[key] for key in measured},
            f"say in train.{name}.evaluate which benchmarks measure it",
        )


def _spoken(run: Run, where: str, fit: Fit[Any], asked: Mapping[str, Benchmark[Any]], remedy: str) -> None:
    for key, benchmark in asked.items():
        if benchmark.protocol not in fit.speaks:
            made = ", ".join(fit.speaks) or "nothing a benchmark can ask"
            raise InvalidRecipe(
                f"{run.recipe.name}: benchmark {key} asks for a {benchmark.protocol}, and what {where} makes is "
                f"{made}; {remedy}"
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


def planned_benchmarks(run: Run, section: EvaluateSection) -> dict[str, Any]:
    return {
        key: build(spec, f"{run.recipe.name}: benchmark {key}", run.resolve, kind="benchmark")
        for key, spec in section.benchmarks.items()
    }


def train_one(run: Run, section: PretrainSection, selection: Path, arm: str, seed: int, group: TrainingGroup) -> Path:
    """One model of an arm."""
    fit = planned_fit(run, section, seed)
    return trained(run, f"{arm} {seed}", fit, pairs_of_arm(selection, arm, run.recipe.seed, seed), group, arm, seed)


def evaluate_stages(run: Run, models: dict[str, dict[int, Path]]) -> Path | None:
    """Metrics of every model on both splits, then the ablation over arms and seeds."""
    section = run.recipe.evaluate
    if section is None:
        return None
    compression_stage(run)
    metrics: dict[str, Any] = {}
    for arm, seeds in models.items():
        measured = section_of(run, section, arm)
        for seed, folder in seeds.items() if measured.benchmarks else ():
            loaded = functools.cache(functools.partial(load_for, run, measured, folder))
            for split, dataset in run.splits.items():
                found = evaluate_one(run, measured, folder, dataset, f"{arm} {seed} {split}", loaded)
                metrics.setdefault(arm, {}).setdefault(str(seed), {})[split] = str(found)
    if not metrics:
        return None
    folder = ablation_stage(run, metrics)
    run.results |= {"evaluation": folder.name, "metrics": metrics}
    run_gate(run, "evaluation")
    return folder


def section_of(run: Run, section: EvaluateSection, arm: str) -> EvaluateSection:
    """The benchmarks that an arm, or a step of `train`, is measured by."""
    wanted = run.recipe.train[arm].evaluate if arm in run.recipe.train else None
    if wanted is None:
        return section
    return section.model_copy(update={"benchmarks": {name: section.benchmarks[name] for name in wanted}})


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
