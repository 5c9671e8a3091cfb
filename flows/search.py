"""Search: settings of the model tried one after the other on `dev`, and the best of them trained and judged as any run.

Every trial is a stage: trained on the curated pairs, measured on `dev` alone, known by its digest. So a search that was
killed asks the same again, finds what it had, and goes on within the trial in hand; more trials later go on after the
last. The best settings then take the recipe's place: all arms and seeds, `test` once, and the gate of every release.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairwright.components.dataset.shards import storage
from pairwright.components.errors import InvalidRecipe, ModelError, nearest
from pairwright.components.hashing import canonical
from pairwright.components.recipe import EvaluateSection, PretrainSection
from pairwright.components.search.space import SearchSection, dimension_of, with_values
from pairwright.components.search.study import Study
from pairwright.flows.planning.digests import trial_digest
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, accelerator, run_stage
from pairwright.flows.stages.training import pairs_of_arm, planned_fit, trained
from pairwright.flows.train import evaluate_one, planned_benchmarks

ARM, SPLIT = "curated", "dev"
FILE = "trial.json"


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and the metric; None where training failed, with the `reason`.

    Attributes:
        gain: the value with the sign by which more is better.
    """

    number: int
    settings: dict[str, Any]
    value: float | None
    gain: float | None
    reason: str = ""


@dataclass(frozen=True)
class Wanted:
    """A search as it is run: its section, its metric, and what it varies."""

    section: SearchSection
    metric: str
    pretrain: PretrainSection
    evaluate: EvaluateSection


def wanted_search(run: Run, vary: tuple[str, ...] = (), trials: int | None = None) -> Wanted:
    """The recipe's search with what the command adds, refused before any work where it cannot be right.

    Raises:
        InvalidRecipe: nothing to search, train, measure or promote by; a setting or value the model cannot have.
    """
    recipe = run.recipe
    if recipe.pretrain is None or recipe.evaluate is None:
        raise InvalidRecipe(f"{recipe.name}: a search needs the sections pretrain and evaluate; add them")
    said = recipe.search.model_dump() if recipe.search else {"space": {}}
    said["space"] |= dict(dimension_of(one) for one in vary)
    if not said["space"]:
        raise InvalidRecipe(
            f"{recipe.name}: nothing to search; add search.space to the recipe, or name settings, "
            "e.g. --vary lr=1e-4..1e-2:log"
        )
    section = SearchSection.parse(said | ({"trials": trials} if trials else {}), f"{recipe.name}: search")
    if "seed" in section.space:
        raise InvalidRecipe(f"{recipe.name}: a seed is no setting to choose; search.seeds says which a trial averages")
    for name, dimension in section.space.items():
        for value in dimension.ends:
            planned_fit(run, _with(recipe.pretrain, {name: value}), section.seeds[0])
    promote = recipe.release.promote.get("metric") if recipe.release else None
    metric = section.metric or promote
    known = list(recipe.evaluate.benchmarks)
    if metric is None or str(metric).partition(".")[0] not in known:
        raise InvalidRecipe(
            f'{recipe.name}: search.metric is "{metric}", which is no BENCHMARK.METRIC of the recipe'
            f"{nearest(str(metric).partition('.')[0], known)}"
        )
    return Wanted(section, str(metric), recipe.pretrain, recipe.evaluate)


def search_stages(run: Run, wanted: Wanted, selection: Path) -> None:
    """Try, remember, and put the best settings in the recipe's place.

    Raises:
        ModelError: no trial could be trained.
    """
    from pairwright.components.engine.launch import TrainingGroup

    group = TrainingGroup(
        run.session,
        storage_path=str(run.folder / "ray"),
        workers=run.environment.train_workers,
        use_gpu=run.device == "cuda",
        slot=lambda: accelerator(run),
    )
    trials: list[Trial] = []
    with closing(group):
        study = Study(wanted.section.space, run.recipe.seed)
        for number in range(wanted.section.trials):
            trial = _trial(run, wanted, selection, number, study.ask(), group)
            study.tell(trial.gain)
            trials.append(trial)
            run.results["search"] = _told(wanted, trials)
            run.save()
    best = _best(trials)
    if best is None:
        raise ModelError(f"none of {len(trials)} trials could be trained; the first: {trials[0].reason}")
    section = _with(wanted.pretrain, best.settings)
    run.recipe = run.recipe.model_copy(update={"pretrain": section})
    run.console.say(f"  best of {len(trials)} trials: {_line(best)}")


def _trial(run: Run, wanted: Wanted, selection: Path, number: int, settings: dict[str, Any], group: Any) -> Trial:
    section = _with(wanted.pretrain, settings)
    seeds = wanted.section.seeds
    pairs = {seed: pairs_of_arm(selection, ARM, run.recipe.seed, seed) for seed in seeds}
    fits = {seed: planned_fit(run, section, seed) for seed in seeds}
    benchmarks = planned_benchmarks(run, wanted.evaluate)
    digest = trial_digest(run, fits, pairs, benchmarks, run.splits[SPLIT], wanted.metric)
    folder = run.artifacts.path("trials", digest)
    known = run.artifacts.has("trials", digest)
    outcome: dict[str, Any] = {}
    if not known:
        try:
            measured = []
            for seed in seeds:
                model = trained(run, f"trial {number} seed {seed}", fits[seed], pairs[seed], group, ARM, seed)
                name = f"trial {number} seed {seed} {SPLIT}"
                measured.append(evaluate_one(run, wanted.evaluate, model, run.splits[SPLIT], name))
            outcome = _outcome(measured, wanted.metric)
        except ModelError as error:  # a loss that was not finite three times: these settings do not train
            outcome = {"value": None, "gain": None, "reason": str(error)}
    record: dict[str, Any] = run_stage(
        run,
        f"trial {number}",
        digest,
        reuse=lambda: storage.read_json(str(folder / FILE)) if known else None,
        work=lambda stage: _recorded(stage, settings, wanted.metric, outcome),
    )
    if not known:  # MLflow has it by now; killed in between, it has it twice, and never not at all
        with run.artifacts.commit("trials", digest) as partial:
            storage.write_json(str(partial / FILE), record)
    return Trial(number, settings, record["value"], record["gain"], record["reason"])


def _recorded(stage: Stage, settings: dict[str, Any], metric: str, outcome: dict[str, Any]) -> dict[str, Any]:
    stage.record.params = {
        name: value if isinstance(value, str) else canonical(value) for name, value in settings.items()
    }
    if outcome["value"] is not None:
        stage.facts(**{metric: outcome["value"]})
    else:
        stage.facts(failed=outcome["reason"])
    return {"settings": settings, "metric": metric} | outcome


def _outcome(folders: list[Path], metric: str) -> dict[str, Any]:
    """The mean over the seeds' metrics.

    Raises:
        InvalidRecipe: the benchmark has no such metric.
    """
    values, sign = [], 1.0
    for folder in folders:
        listed = {one["name"]: one for one in storage.read_json(str(folder / "metrics.json"))}
        if metric not in listed:
            raise InvalidRecipe(f'search.metric is "{metric}", which was not measured{nearest(metric, listed)}')
        values.append(float(listed[metric]["value"]))
        sign = 1.0 if listed[metric]["higher_is_better"] else -1.0
    value = float(np.mean(values))
    return {"value": value, "gain": sign * value, "reason": ""}


def _best(trials: list[Trial]) -> Trial | None:
    """The first of those with the highest gain."""
    done = [trial for trial in trials if trial.gain is not None]
    return max(done, key=lambda trial: (trial.gain or 0.0, -trial.number)) if done else None


def _with(section: PretrainSection, settings: dict[str, Any]) -> PretrainSection:
    return section.model_copy(update={"with_": with_values(section.with_, settings)})


def _told(wanted: Wanted, trials: list[Trial]) -> dict[str, Any]:
    best = _best(trials)
    return {
        "metric": wanted.metric,
        "split": SPLIT,
        "seeds": list(wanted.section.seeds),
        "trials": [vars(trial) for trial in trials],
        "best": best.number if best else None,
    }


def _line(trial: Trial) -> str:
    return f"{', '.join(f'{name} {value}' for name, value in trial.settings.items())}: {trial.value:.4g} on {SPLIT}"
