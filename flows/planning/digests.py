"""What each stage of a run is: a digest of all that decides its result, and of nothing else.

    digest = keep_digest(run)

Pure functions of a run's recipe, data and plan and of what earlier stages made, so that one test walks
every stage and changes each input in turn (tests/unit/flows/planning/test_digests.py). What a stage makes from is
known by content or by its own digest: never by a path, which changes when a workspace is moved, nor by a
folder's name, which says nothing of what is in it.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.artifact import content_digest
from pairwright.components.component import Benchmark, Fit
from pairwright.components.dataset.groups import OVERLAP
from pairwright.components.digest import digestible, library_versions, op_digest
from pairwright.components.hashing import canonical, rows_digest, sha256_text
from pairwright.components.models.formats import format_of
from pairwright.components.models.resolve import TOWER_LIBRARIES, hash_folder
from pairwright.components.source_code import code_digest, module_digest, source_digest
from pairwright.components.workspace_paths import named
from pairwright.flows.planning.datasets import find_dataset
from pairwright.flows.planning.plan import fit_reads
from pairwright.flows.running.pedigree import lock_hash
from pairwright.flows.stages.challenge import items_of, weigh
from pairwright.flows.stages.curated_files import files_of
from pairwright.flows.stages.measure import embed_captions, embed_kept, measure

if TYPE_CHECKING:
    import pyarrow as pa

    from pairwright.components.dataset.dataset import Dataset, Shard
    from pairwright.components.recipe import CompressionSection, GridSection
    from pairwright.components.settings import Settings
    from pairwright.components.tracking.promotion import PromotionRule
    from pairwright.flows.planning.plan import PlannedStep
    from pairwright.flows.running.run import Run

CURVE_SPLIT = "dev"  # a share is chosen by the curve, so it is drawn on the split that tunes
ENCODERS = "pairwright.components.models.dual_encoders.dual_encoder"  # loads what an index asks
HEADS = "pairwright.components.models.towers.untrained"  # fresh ones on the towers a curve asks


def function_digest(function: Callable[..., Any]) -> str:
    """Of one function's own code; comments, layout and docstring do not count."""
    return code_digest(textwrap.dedent(inspect.getsource(function)))


def digest_of(stage: str, **said: Any) -> str:
    return sha256_text(canonical({"stage": stage, **said}))


def store_of(run: Run) -> list[str | None]:
    """The registry a run registers in; the workspace's own is the same one wherever the workspace lies."""
    return [run.environment.tracking_uri, run.environment.registered_model]


# -- curation -------------------------------------------------------------------------------------


def score_digest(steps: Iterable[PlannedStep], shards: Iterable[Shard]) -> str:
    """A pass over shards. Each file it writes is known by its own step and shard (shards/columns.py)."""
    return digest_of("score", steps=[step.digest for step in steps], shards=[shard.digest for shard in shards])


def keep_digest(run: Run) -> str:
    """A selection. Every step of the filter counts, for a picture that any of them could not read has failed."""
    section = run.plan.recipe.filter  # the recipe as planned: with the rule that holds out what is evaluated on
    return digest_of(
        "keep",
        rules=list(section.keep.items()),
        frozen=section.frozen,
        steps={step.name: step.digest for step in run.plan.steps.values() if step.section == "filter"},
        dataset=run.dataset.digest,
        source=source_digest("pairwright.components.filter.rules.selection"),
        libraries=library_versions(("duckdb",)),
    )


def gate_digest(name: str, settings: Settings, about: Any) -> str:
    """A gate; `about` is the digest of what it looks at."""
    return digest_of(
        "gate",
        name=name,
        settings=digestible(settings),
        about=about,
        source=source_digest("pairwright.components.validation.gates"),
        libraries=library_versions(("great-expectations",)),
    )


# -- training and evaluation ----------------------------------------------------------------------


def model_digest(run: Run, fit: Fit[Any], rows: pa.Table) -> str:
    """A trained model, by the pairs themselves: an arm whose pairs did not change is not trained again."""
    reads = {name: run.plan.steps[name].digest for name in sorted(fit_reads(fit, run.plan))}
    return digest_of(
        "train",
        fit=op_digest(fit, inputs=reads, precision=run.precision),
        dataset=run.dataset.digest,
        pairs=rows_digest(rows),
    )


def trial_digest(
    run: Run,
    fits: Mapping[int, Fit[Any]],
    pairs: Mapping[int, pa.Table],
    benchmarks: Mapping[str, Benchmark[Any]],
    split: Dataset,
    metric: str,
) -> str:
    """A trial of a search, by what would be trained and measured; what loads and measures a model counts, too."""
    return digest_of(
        "trial",
        models=[model_digest(run, fits[seed], pairs[seed]) for seed in sorted(fits)],
        split=split.digest,
        benchmarks=benchmark_digests(benchmarks),
        metric=metric,
        source=[source_digest(ENCODERS), function_digest(measure)],
        libraries=library_versions(TOWER_LIBRARIES),
    )


def benchmark_digests(benchmarks: Mapping[str, Benchmark[Any]]) -> dict[str, str]:
    """Each benchmark with the data sets its settings name."""
    found = {}
    for key, one in benchmarks.items():
        also = {f"dataset {number}": find_dataset(path).digest for number, path in enumerate(one.datasets())}
        found[key] = op_digest(one, inputs=also)
    return found


def metrics_digest(model: Path, split: Dataset, benchmarks: Mapping[str, Benchmark[Any]]) -> str:
    """The metrics of the model in a folder on one split; what loads folders of its format counts, too."""
    return digest_of(
        "evaluate",
        model=hash_folder(model),
        split=split.digest,
        benchmarks=benchmark_digests(benchmarks),
        source=[source_digest(format_of(model).module), function_digest(measure)],
        libraries=library_versions(TOWER_LIBRARIES),
    )


def ablation_digest(metrics: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    """Arms side by side; `metrics` are folders by arm, seed and split."""
    return digest_of(
        "ablation",
        metrics={
            arm: {
                seed: {split: content_digest(folder) for split, folder in splits.items()} for seed, splits in s.items()
            }
            for arm, s in metrics.items()
        },
        source=[
            source_digest("pairwright.components.evaluate.ablation"),
            module_digest("pairwright.flows.stages.measure"),
        ],
    )


def curve_inputs(run: Run, section: CompressionSection) -> dict[str, Any]:
    """Everything a point of the compression curve follows from, but its rows and seed."""
    columns = (section.image_features, section.text_features)
    steps = {*(column.partition(".")[0] for column in columns), section.source, OVERLAP}
    steps &= run.plan.steps.keys()
    code = (
        "pairwright.components.evaluate.compression",
        "pairwright.components.evaluate.split",
        "pairwright.components.filter.selections.caption_column",
        HEADS,
    )
    return {
        "columns": columns,
        "source": section.source,
        "steps": {step: run.plan.steps[step].digest for step in sorted(steps)},
        "dataset": run.dataset.digest,
        "split": run.splits[CURVE_SPLIT].digest,
        "head": [section.steps, section.batch_size, section.lr, section.dim],
        "code": [source_digest(module) for module in code],
    }


def point_digest(inputs: Mapping[str, Any], seed: int, rows: np.ndarray) -> str:
    """One model of the curve: `rows` are numbers of usable pairs."""
    return digest_of("point", inputs=inputs, seed=seed, rows=sha256_text(rows.astype("<i8").tobytes().hex()))


def grid_digest(section: GridSection, cells: Sequence[str]) -> str:
    """A caption grid, by what would be trained and measured in each cell (`trial_digest`), row by row."""
    return digest_of(
        "grid",
        section=digestible(section),
        cells=list(cells),
        source=[source_digest("pairwright.components.evaluate.caption_grid"), module_digest("pairwright.flows.grid")],
    )


def curve_digest(run: Run, section: CompressionSection) -> str:
    return digest_of(
        "compression",
        section=digestible(section),
        order=run.plan.steps[section.order.partition(".")[0]].digest,
        inputs=curve_inputs(run, section),
        source=[
            source_digest("pairwright.components.evaluate.compression_curve"),
            module_digest("pairwright.flows.stages.compress"),
        ],
    )


# -- release --------------------------------------------------------------------------------------


def version_digest(run: Run) -> str:
    """The curated set as a version: what `files_of` puts into it, and where it is pushed."""
    steps = run.plan.steps.values()
    return digest_of(
        "version",
        name=run.recipe.name,
        dataset=run.dataset.digest,
        selection=run.results["selection"],
        captions={step.name: step.digest for step in steps if step.kind == "captioner"},
        remote=run.environment.dvc_remote,
        source=[source_digest("pairwright.components.versioning.curated"), function_digest(files_of)],
    )


def fit_registration_digest(run: Run, weights: str, name: str) -> str:
    return digest_of("register fit", model=weights, name=name, store=run.environment.tracking_uri)


def decision_digest(
    run: Run,
    model: Path,
    data_version: str,
    rule: PromotionRule,
    benchmarks: Mapping[str, Benchmark[Any]],
    champion: str | None,
    refused: str | None = None,
) -> str:
    """A promotion: everything that was compared.

    Args:
        model: the challenger's folder.
        champion: digest of the champion's files at that moment; None if there was none.
        refused: why no model of this run may be promoted, if none may.
    """
    return digest_of(
        "register",
        model=hash_folder(model),
        champion=champion,
        data=data_version,
        rule=digestible(rule),
        refused=refused,
        store=store_of(run),
        metrics=metrics_digest(model, run.splits["dev"], benchmarks),
        source=[
            source_digest("pairwright.components.tracking.promotion"),
            source_digest("pairwright.components.evaluate.statistics.bootstrap"),
            *(function_digest(function) for function in (weigh, items_of)),
        ],
    )


def index_digest(run: Run, weights: str, kept: pa.Table) -> str:
    """The search index over the kept pairs by one model; `dev`'s captions are the queries it is tried with."""
    column = (run.recipe.pretrain.with_ if run.recipe.pretrain else {}).get("image_features", "")
    features = run.plan.steps.get(column.partition(".")[0])
    return digest_of(
        "index",
        model=weights,
        dataset=run.dataset.digest,
        kept=rows_digest(kept),
        queries=run.splits["dev"].digest,
        features=[column, features.digest] if features else None,
        source=[source_digest("pairwright.serving.index_writing"), source_digest(ENCODERS)]
        + [function_digest(function) for function in (embed_kept, embed_captions)],
        libraries=library_versions((*TOWER_LIBRARIES, "faiss-cpu")),
    )


def bento_digest(run: Run, weights: str, index: Path, version: int) -> str:
    """A Bento: the model, the index, the registered version whose lineage is its receipt, code and pins."""
    return digest_of(
        "package",
        model=weights,
        index=content_digest(index),
        version=version,
        store=store_of(run),
        lock=lock_hash(),
        source=[source_digest("pairwright.serving.service"), source_digest("pairwright.serving.packaging")],
        libraries=library_versions(("bentoml",)),
    )


# -- report ---------------------------------------------------------------------------------------


def report_digest(run: Run) -> str:
    """The page: the recipe as written, what every stage made, and how it is drawn."""
    from pairwright.components.report.html import look_digest

    return digest_of(
        "report",
        recipe=run.recipe.model_dump(mode="json", by_alias=True),
        rules=list(run.recipe.filter.keep),  # their order counts, too
        written=[[layer.text, Path(layer.where).name] for layer in run.recipe.layers],
        dataset=[run.dataset.name, run.dataset.digest],
        steps={name: step.digest for name, step in run.plan.where(run.made).items()},
        results=named(run.results, run.environment.workspace),
        warnings=run.warnings,
        drawn_by=[look_digest(), module_digest("pairwright.flows.stages.report")]
        + [source_digest(f"pairwright.components.report.{name}") for name in ("html", "gallery", "distributions")],
    )
