"""Fits among a recipe's steps: a model folder made from columns, which other steps name `step:NAME`.

filter:
  fit:   {reward: {uses: reward, with: {preferences: [silver.judgements], accept: [silver]}}}
  score: {judged: {uses: reward, with: {model: "step:reward"}}}
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pairwright.components.component import Fit, FitInputs
from pairwright.components.dataset.shards import storage
from pairwright.flows.planning.plan import PlannedStep
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage
from pairwright.flows.stages.registered_fits import register_fit

METRICS_FILE = "metrics.json"  # what the fit measured of itself
FIGURES = "figures/figures.json"


def fit_step(run: Run, step: PlannedStep) -> Path:
    """The fitted folder, made in this process or reused."""
    folder = run.artifacts.path("models", step.digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("models", step.digest) else None

    def work(stage: Stage) -> Path:
        assert isinstance(step.component, Fit)
        scratch = Path(run.environment.workspace) / "checkpoints" / step.digest  # outlives a kill
        with run.artifacts.commit("models", step.digest) as partial:
            told = {"device": run.device, "precision": run.precision, "checkpoints": scratch}
            inputs = FitInputs(run.view(), extra=told)
            measured = dict(step.component.fit(inputs, partial, progress=stage.progress))
            storage.write_json(str(partial / METRICS_FILE), measured)
        shutil.rmtree(scratch, ignore_errors=True)
        stage.facts(**measured)
        return folder

    run_stage(run, step.name, step.digest, reuse=reuse, work=work)
    run.made.add(step.name)
    run.results.setdefault("fits", {})[step.name] = str(folder)
    register_fit(run, step, folder)
    return folder


def fitted_figures(run: Run) -> list[dict[str, Any]]:
    """Every picture the run's fits drew of themselves: title, caption, svg text."""
    return [
        entry | {"svg": (Path(folder) / FIGURES).with_name(entry["file"]).read_text(encoding="utf-8"), "step": name}
        for name, folder in run.results.get("fits", {}).items()
        if (Path(folder) / FIGURES).is_file()
        for entry in storage.read_json(str(Path(folder) / FIGURES))
    ]
