"""The gates of a run: which Great Expectations suite looks at what, once a digest of what it looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairwright.components.artifact import content_digest
from pairwright.components.dataset.shards import storage
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.validation.result import GateResult
from pairwright.components.validation.settings import (
    CuratedGateSettings,
    DataGateSettings,
    EvaluationGateSettings,
    RawGateSettings,
)
from pairwright.components.workspace_paths import found, named
from pairwright.flows.planning.digests import gate_digest
from pairwright.flows.planning.plan import PlannedStep
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage

SETTINGS = {"raw": RawGateSettings, "curated": CuratedGateSettings, "evaluation": EvaluationGateSettings}


def check_gates(run: Run) -> None:
    """Refuse gates that name settings or columns that do not exist, or another budget than the recipe's.

    Raises:
        InvalidRecipe: before any long work starts.
    """
    for name, values in run.recipe.gates.items():
        settings = _settings(run, name, values)
        columns = dict(getattr(settings, "columns", {}))
        if name == "raw" and columns:
            raise InvalidRecipe(
                f'{run.recipe.name}: gates.raw.columns names "{next(iter(columns))}", but nothing is scored before '
                "that gate; move it to gates.curated"
            )
        if getattr(settings, "lang", None) is not None:
            columns[settings.lang_column] = None
        known = {c: s for s in run.plan.steps.values() if s.section == "filter" for c in _columns_of(s)}
        for column in columns:
            if column not in known:
                raise InvalidRecipe(
                    f'{run.recipe.name}: gates.{name} reads "{column}", which no step of the filter makes'
                    f"{nearest(column, known)}"
                )


def run_gate(run: Run, name: str) -> None:
    """Validate; Great Expectations is imported only if this was not validated before.

    Raises:
        GateFailed: a critical expectation does not hold; expectation, observed value and worst shards are named.
    """
    settings = _settings(run, name, run.recipe.gates.get(name, {}))
    digest = gate_digest(name, settings, about_gate(run, name))
    path = run.artifacts.path("gates", digest)

    def reuse() -> GateResult | None:
        if not run.artifacts.has("gates", digest):
            return None
        return GateResult.from_dict(found(storage.read_json(str(path / "gate.json")), run.environment.workspace))

    def work(stage: Stage) -> GateResult:
        docs = Path(run.environment.workspace) / "gates" / "docs" / digest
        result = _judge(run, name, settings, docs)
        with run.artifacts.commit("gates", digest) as partial:
            storage.write_json(str(partial / "gate.json"), named(result.as_dict(), run.environment.workspace))
        stage.facts(checks=len(result.checks), failed=len(result.failures), warned=len(result.warnings))
        return result

    result = run_stage(run, f"gate {name}", digest, reuse=reuse, work=work)
    run.results.setdefault("gates", {})[name] = result.as_dict()
    run.warnings.extend(warned(name, settings, check) for check in result.warnings)
    result.raise_if_failed()


def about_gate(run: Run, name: str) -> Any:
    """Digest of what a gate looks at."""
    if name == "raw":
        return run.dataset.digest
    if name == "curated":
        return run.results["selection"]
    return {split: content_digest(folder) for split, folder in _released_folders(run).items()}


def warned(gate: str, settings: Any, check: dict[str, Any]) -> str:
    """One line of a check that warns: what it measures, what it found, what to do."""
    said = f"gate {gate}: {check['name']} is {check['observed']}, expected {check['expected']}"
    for field, info in type(settings).model_fields.items():
        if field.removeprefix("max_").removeprefix("min_") in check["name"] and info.description:
            meaning = info.description.removesuffix("; warns")
            said += (
                f" ({meaning}). Nothing was stopped by it; if it is right for this data, change gates.{gate}.{field}"
            )
            break
    worst = ", ".join(str(one["shard"]) for one in check["worst_shards"][:3])
    return said + (f"; worst shards: {worst}" if worst else "")


def _settings(run: Run, name: str, values: dict[str, Any]) -> Any:
    if name not in SETTINGS:
        raise InvalidRecipe(f'{run.recipe.name}: no gate is called "{name}"{nearest(name, SETTINGS)}')
    settings = SETTINGS[name].parse(values, f"{run.recipe.name}: gates.{name}")
    budget = run.recipe.filter.budget
    if not isinstance(settings, DataGateSettings) or settings.max_failed_share == budget:
        return settings
    if "max_failed_share" in values:
        raise InvalidRecipe(
            f"{run.recipe.name}: filter.budget is {budget:g} and gates.{name}.max_failed_share "
            f"{settings.max_failed_share:g}; say it once, in filter.budget"
        )
    return settings.model_copy(update={"max_failed_share": budget})


def _columns_of(step: PlannedStep) -> list[str]:
    return [f"{step.name}.{column}" for column in step.schema()]


def _judge(run: Run, name: str, settings: Any, docs: Path) -> GateResult:
    import pyarrow.parquet as pq

    from pairwright.components.filter.rules.selection import load_selection
    from pairwright.components.validation.gates import curated_gate, evaluation_gate, raw_gate

    if name == "raw":
        return raw_gate(run.dataset, settings=settings, docs=docs)
    if name == "curated":
        folder = Path(run.results["selection_folder"])
        kept = pq.read_table(folder / "kept.parquet", columns=["shard", "row", "key"])
        return curated_gate(
            run.view(), kept, load_selection(folder, verdicts=False).ledger, settings=settings, docs=docs
        )
    return evaluation_gate(_released_metrics(run), settings=settings, docs=docs)


def _released_folders(run: Run) -> dict[str, str]:
    """Split -> the metrics' folder of the model that would be released."""
    release = run.recipe.release
    arms = run.results["metrics"]
    arm = release.arm if release else next(iter(arms))
    folders: dict[str, str] = arms[arm][str(release.seed) if release else next(iter(arms[arm]))]
    return folders


def _released_metrics(run: Run) -> list[dict[str, Any]]:
    """Metrics of the model that would be released, as `split.benchmark.metric`."""
    return [
        metric | {"name": f"{split}.{metric['name']}"}
        for split, folder in _released_folders(run).items()
        for metric in storage.read_json(str(Path(folder) / "metrics.json"))
    ]
