"""The report stage: everything a run made, as one page to look at."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from pairwright.components.component import Metric
from pairwright.components.dataset.shards import storage
from pairwright.components.report.data import (
    Ablation,
    Arm,
    Check,
    Composition,
    Compression,
    Curve,
    Figure,
    FunnelRow,
    Gate,
    Grid,
    GridCell,
    LedgerCounts,
    ReportData,
    SharePoint,
    Spared,
)
from pairwright.flows.planning.digests import report_digest
from pairwright.flows.planning.plan import PlannedStep
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage
from pairwright.flows.running.stage_costs import stage_costs
from pairwright.flows.running.summary import report_link
from pairwright.flows.stages.fitted import fitted_figures

CURVE_METRICS = ("loss", "lr")


def report_stage(run: Run) -> None:
    """Write the report of what stands now; a run that changed nothing keeps the page it has."""
    digest = report_digest(run)
    page = run.artifacts.path("reports", digest) / "report.html"

    def reuse() -> Path | None:
        return page if run.artifacts.has("reports", digest) else None

    def work(stage: Stage) -> Path:
        from pairwright.components.report.html import write_report

        with run.artifacts.commit("reports", digest) as partial:
            write_report(report_data(run), partial / "report.html")
        _link_newest(run, page)
        stage.facts(kibibytes=page.stat().st_size // 1024)
        if not run.reused_everything:
            run.tracked.log_artifact(page)
        return page

    run_stage(run, "report", digest, reuse=reuse, work=work)
    run.results["report"] = str(page)
    from prefect.artifacts import create_link_artifact

    create_link_artifact(link=report_link(run, page), link_text="The report of this run", key="report")
    run.console.say(f"  report: {page}")


def _link_newest(run: Run, page: Path) -> None:
    """`<workspace>/report.html` is a small page that leads to the newest report; a sample's is `report-sample.html`."""
    target = page.relative_to(run.environment.workspace)
    name = "report-sample.html" if run.limited else "report.html"
    text = f'<!doctype html><meta http-equiv="refresh" content="0; url={target}"><a href="{target}">report</a>\n'
    storage.write_bytes(f"{run.environment.workspace}/{name}", text.encode())


def report_data(run: Run) -> ReportData:
    """The run as plain facts."""
    parts: dict[str, Any] = {
        "name": run.recipe.name,
        "dataset": run.dataset.name,
        "sample": f"{run.sample['shards']} of {run.sample['of']} shards" if run.sample else "",
        "run_id": run.id,
        "date": datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "recipe": yaml.safe_dump(run.recipe.model_dump(mode="json", by_alias=True), sort_keys=False, width=100),
        "recipe_written": run.recipe.layers[-1].text if run.recipe.layers else "",
        "recipe_extends": [layer.where for layer in reversed(run.recipe.layers[:-1])],
        "recipe_digest": run.recipe.digest,
        "seed": run.recipe.seed,
        "stages": stage_costs(run.stages),
        "spared": [Spared(**one) for one in run.results.get("lazy", ())],
        "not_spared": run.plan.not_spared,
        "gates": [_gate(gate) for gate in run.results.get("gates", {}).values()],
        "composition": _composition(run),
        "stands_on": [one["words"] for one in run.results.get("stands_on", {}).values()],
        "warnings": tuple(run.warnings),
    }
    if "selection_folder" in run.results:
        parts |= _curation(run, Path(run.results["selection_folder"]))
    if "metrics" in run.results:
        parts |= _learning(run)
    if "compression" in run.results:
        parts["compression"] = _compression(Path(run.results["compression"]))
        parts.setdefault("headline", parts["compression"].verdict)
    if "grid" in run.results:
        parts["grid"] = _grid(Path(run.results["grid"]))
        parts.setdefault("headline", parts["grid"].verdict)
    parts["figures"] = [Figure(f["title"], f["svg"], f.get("caption", ""), f["step"]) for f in fitted_figures(run)]
    if "release" in run.results:
        parts["lineage"] = _chain(run)
        parts["decision"] = _decision(run.results["release"])
    return ReportData(**parts)


def _gate(gate: dict[str, Any]) -> Gate:
    checks = tuple(
        Check(c["says"] if "says" in c else c["name"], str(c["observed"]), c["success"], c["severity"])
        for c in gate["checks"]
    )
    return Gate(gate["name"], gate["passed"], checks)


def _composition(run: Run) -> tuple[Composition, ...]:
    """Licences and categories of the raw pairs."""
    import pyarrow.compute as pc

    licences: dict[str, int] = {}
    categories: dict[str, int] = {}
    for _, table in run.dataset.iter_sidecars(["licence", "labels"]):
        for entry in pc.value_counts(table["licence"]).to_pylist():
            licences[entry["values"] or "none given"] = (
                licences.get(entry["values"] or "none given", 0) + entry["counts"]
            )
        for labels in table["labels"].to_pylist():
            for label in labels or ():
                if label["name"] == "category":
                    categories[label["value"]] = categories.get(label["value"], 0) + 1
    largest = dict(sorted(categories.items(), key=lambda item: -item[1])[:20])
    return (Composition("licences", licences), Composition("categories", largest, "the twenty largest"))


def _curation(run: Run, folder: Path) -> dict[str, Any]:
    from pairwright.components.filter.rules.selection import load_selection
    from pairwright.components.report.captions import caption_ends, captioned_pairs
    from pairwright.components.report.distributions import distributions
    from pairwright.components.report.gallery import gallery

    selected = load_selection(folder)
    verdicts = selected.verdicts
    view = run.view()
    captioners = [s.name for s in run.plan.steps.values() if s.kind == "captioner"]
    scores = [name for name, kind in run.plan.column_types().items() if _is_score(name, kind)]
    ledger = selected.ledger
    originals = {step: _original(run.plan.steps[step]) for step in captioners}
    judged = _scores_of_sources(run)
    return {
        "ledger": LedgerCounts(ledger.pairs_in, ledger.kept, ledger.dropped, ledger.failed, ledger.unknown),
        "funnel": [_funnel_row(row, selected.thresholds) for row in selected.funnel],
        "distributions": distributions(view, scores, verdicts, thresholds=_cuts(selected.thresholds)),
        "gallery": gallery(run.dataset, verdicts, view, seed=run.recipe.seed, caption_steps=captioners),
        "captions": captioned_pairs(run.dataset, view, originals, judged, seed=run.recipe.seed),
        "caption_ends": caption_ends(view, captioners),
    }


def _cuts(thresholds: dict[str, dict[str, float]]) -> dict[str, float]:
    """Column -> the quantile of it that a rule cuts at, where the rule cuts at one."""
    cuts: dict[str, float] = {}
    for said in thresholds.values():
        for aggregate, value in said.items():
            inside = re.match(r"quantile\w*\(\s*([a-z0-9_]+\.[a-z0-9_]+)\s*,", aggregate)
            if inside:
                cuts[inside.group(1)] = value
    return cuts


def _is_score(name: str, kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_floating(kind) or (pa.types.is_integer(kind) and name.endswith(("words", "quality", "width")))


def _original(step: PlannedStep) -> str | None:
    """The source a captioner's captions are made of: the first it reads; None of one that looks at pictures alone."""
    return next(iter(step.component.caption_sources()), None)


def _scores_of_sources(run: Run) -> dict[str, list[str]]:
    """By caption source, the columns of scorers that read it and no other; what a model says of it comes first."""
    import pyarrow as pa

    found: dict[str, list[str]] = {}
    for step in sorted(run.plan.steps.values(), key=lambda step: not step.component.runs_model):
        sources = set(step.component.caption_sources()) if step.kind == "scorer" else set()
        if len(sources) == 1:
            columns = [f"{step.name}.{name}" for name, kind in step.schema().items() if pa.types.is_floating(kind)]
            found.setdefault(sources.pop(), []).extend(columns)
    return found


def _funnel_row(row: dict[str, Any], thresholds: dict[str, Any]) -> FunnelRow:
    """A rule's row; its thresholds are the aggregates it computed, as they were frozen."""
    said = thresholds.get(row["rule"])
    shown = ", ".join(f"{k} = {v:.4g}" for k, v in said.items()) if isinstance(said, dict) else str(said or "")
    return FunnelRow(row["rule"], row["expression"], row["pairs_in"], row["dropped"], row["kept"], shown)


def _learning(run: Run) -> dict[str, Any]:
    curves = []
    for arm, seeds in run.results["models"].items():
        for seed, folder in seeds.items():
            lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
            for metric in CURVE_METRICS:
                points = [(line["step"], line[metric]) for line in lines if metric in line]
                if points:
                    steps, values = zip(*points, strict=True)
                    curves.append(Curve(metric, arm, int(seed), steps, values))
    release = run.recipe.release
    arm, seed = (
        (release.arm, str(release.seed))
        if release
        else next((arm, next(iter(seeds))) for arm, seeds in run.results["metrics"].items())
    )
    metrics = {
        split: [Metric(**m) for m in storage.read_json(str(Path(folder) / "metrics.json"))]
        for split, folder in run.results["metrics"][arm][seed].items()
    }
    found = storage.read_json(str(run.artifacts.path("ablations", run.results["evaluation"]) / "ablation.json"))
    ablations = [
        Ablation(entry["metric"], [Arm(**a) for a in entry["arms"]], entry["definition"], entry["verdict"])
        for entry in found["ablations"]
    ]
    return {
        "curves": curves,
        "metrics": metrics,
        "ablations": ablations,
        "headline": found.get("headline", ""),
        "verdicts": [one["words"] for one in found.get("verdicts", ())],
    }


def _compression(folder: Path) -> Compression:
    found = storage.read_json(str(folder / "compression.json"))
    points = [SharePoint(**row) for row in found["rows"]]
    told = (found[name] for name in ("whole", "margin", "seeds", "definition", "verdict"))
    return Compression(points, *told)


def _grid(folder: Path) -> Grid:
    found = storage.read_json(str(folder / "grid.json"))
    cells = [GridCell(**row) for row in found.pop("rows")]
    return Grid(cells=cells, **found)


def _decision(released: dict[str, Any]) -> str:
    """Whether the model of this run is the champion now, and by what."""
    stands = "champion" if released["champion"] == released["version"] else "challenger, not champion"
    return f"Version {released['version']} is {stands}: {released['reason']}."


def _chain(run: Run) -> dict[str, Any]:
    """From what is served back to the data, as the report draws it."""
    from pairwright.flows.running.pedigree import code_commit, lock_hash

    released = run.results["release"]
    standing = "champion" if released["champion"] == released["version"] else "challenger"
    return {
        "Bento": run.results.get("bento", "not packaged: it is not champion"),
        "model": f"version {released['version']}, {standing}",
        "decision": released["reason"],
        "selection": run.results["selection"],
        "recipe": f"{run.recipe.name} {run.recipe.digest}",
        "code": code_commit() or "not in a repository",
        "locked dependencies": lock_hash() or "none",
        "curated data": run.results["data_version"],
        "raw data": f"{run.dataset.name} {run.dataset.digest}",
    }
