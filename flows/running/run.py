"""One run of a recipe: its data, its stores, its Ray session, its tracked parent run, its record.

    <workspace>/runs/<run id>/run.json       what was run, stage by stage, and what came of it
    <workspace>/reports/<digest>/report.html the page to look at

Ray and MLflow are started by the first stage that has something to do, and by no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pairwright.components.artifact import ArtifactStore, check_committed
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.environment import Environment, may_have_gpu
from pairwright.components.errors import DatasetError, NoChampion
from pairwright.components.models.resolve import resolve_model
from pairwright.components.recipe import Recipe
from pairwright.components.settings import ModelFolder
from pairwright.components.tracking.registry import Registry, Standing
from pairwright.components.tracking.store import sqlite_path
from pairwright.flows.planning.evaluation_sets import evaluation_sets, with_hold_out
from pairwright.flows.planning.own_sets import OwnDraw, own_draw
from pairwright.flows.planning.plan import Plan
from pairwright.flows.planning.planning import plan_recipe, with_steps
from pairwright.flows.running.runs import write_record
from pairwright.flows.running.stage_record import StageRecord
from pairwright.flows.stages.labels import with_labels
from pairwright.flows.terminal.console import Console

FACTS_A_LINE = 8  # on the terminal; the report and MLflow have them all


@dataclass
class Run:
    """What every stage of one run shares."""

    recipe: Recipe
    environment: Environment
    dataset: Dataset
    full_dataset: Dataset
    console: Console
    id: str
    flow: str
    stages: list[StageRecord] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.time)
    _exits: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def store(self) -> ColumnStore:
        return ColumnStore(self.environment.columns_root)

    @cached_property
    def artifacts(self) -> ArtifactStore:
        return ArtifactStore(self.environment.workspace)

    @cached_property
    def plan(self) -> Plan:
        own = self.own_draw.digests if self.own_draw else {}
        recipe = with_hold_out(with_labels(self.recipe), self.evaluation_sets, self.artifacts.root, own)
        return plan_recipe(recipe, self.dataset, self._resolve, self.precision, models=self._models)

    @cached_property
    def evaluation_sets(self) -> dict[str, Dataset]:
        """Every dataset the recipe measures on; those of the demo corpus are pulled when they are not there.

        Curation alone goes on without: then nothing is held out, which is said.
        """
        from pairwright.flows.planning.datasets import find_dataset

        try:
            own = self.own_draw.sets(self.artifacts) if self.own_draw else {}
            return evaluation_sets(self.recipe, self.full_dataset, find_dataset, own)
        except DatasetError as error:
            if self.flow != "curate":
                raise
            self.warnings.append(f"nothing is held out for evaluation: {error}")
            return {}

    @cached_property
    def own_draw(self) -> OwnDraw | None:
        """The draw of `dev` and `test` from the data itself, where the recipe asks for one."""
        return own_draw(self.recipe, self.dataset)

    def forget_evaluation_sets(self) -> None:
        """They are looked up again: some have been drawn by now."""
        for name in ("evaluation_sets", "splits"):
            self.__dict__.pop(name, None)

    def resolve(self, reference: str) -> ModelFolder:
        """A model reference as a folder and its weights' hash: `step:` from the plan, `models:/` from the registry."""
        return with_steps(self._resolve, self.plan, self._models)(reference)

    def _resolve(self, reference: str) -> ModelFolder:
        return model_resolver(self.environment)(reference)

    @property
    def _models(self) -> str:
        return str(Path(self.artifacts.root) / "models")

    @cached_property
    def splits(self) -> dict[str, Dataset]:
        """The evaluation splits `dev` and `test`."""
        return {name: one for name, one in self.evaluation_sets.items() if name in ("dev", "test")}

    @cached_property
    def session(self) -> Any:
        """The run's one Ray session; Ray itself starts when something has to run."""
        from pairwright.components.engine.cluster import Session

        session = Session(address=self.environment.ray_address, workers=self.environment.shard_workers)
        self._exits.callback(session.close)
        return session

    @cached_property
    def tracked(self) -> Any:
        """The parent run in MLflow, begun by the first stage that runs; a killed run's goes on."""
        from pairwright.components.tracking.runs import Tracker

        tracker = Tracker(self.environment.tracking, "pairwright")
        same = {"recipe_digest": self.recipe.digest, "dataset_digest": self.dataset.digest, "flow": self.flow}
        tags = same | {"recipe": self.recipe.name, "data": self.dataset.name, "run": self.id}
        tags |= {"sample": "yes" if self.limited else "no"}
        unfinished = tracker.unfinished(same)
        tracked = self._exits.enter_context(tracker.pipeline(self.title, tags, run_id=unfinished))
        tracked.log_dataset(self.dataset.name, self.dataset.digest, self.dataset.root, self.dataset.rows, "raw")
        return tracked

    @property
    def device(self) -> str:
        return device_of(self.environment)

    @cached_property
    def precision(self) -> str:
        """What training computes in: `auto` is bfloat16 on a GPU that has it."""
        if self.device == "cpu":
            return "float32" if self.environment.precision == "auto" else self.environment.precision
        import torch

        from pairwright.components.training.precision import resolve_precision

        return resolve_precision(self.environment.precision, torch.device(self.device))

    def view(self) -> ColumnsView:
        """The columns of every step made or reused so far."""
        return ColumnsView(self.dataset, self.store, self.plan.where(self.made))

    def finish_stage(self, record: StageRecord) -> None:
        """Show it, record it, and track it as a child run if it did anything."""
        told = [f"{name} {_short(value)}" for name, value in record.facts.items() if _is_plain(value)]
        text = "  ".join(told[:FACTS_A_LINE]) + (" …" if len(told) > FACTS_A_LINE else "")
        self.console.stage(record.name, record.status, record.seconds, text)
        if record.status == "ran":
            with self.tracked.stage(record.name) as child:
                child.log_params({"digest": record.digest} | record.params)
                numbers = {k: float(v) for k, v in record.facts.items() if isinstance(v, (int, float))}
                child.log_metrics(numbers | {"seconds": record.seconds})
        self.save()

    @property
    def limited(self) -> bool:
        """Whether this is a sample of the dataset's shards."""
        return len(self.dataset.shards) < len(self.full_dataset.shards)

    @property
    def title(self) -> str:
        """The run by recipe and data, as MLflow and Prefect list it."""
        sample = f", {len(self.dataset.shards)} of {len(self.full_dataset.shards)} shards" if self.limited else ""
        return f"{self.recipe.name} on {self.dataset.name}{sample}"

    @property
    def sample(self) -> dict[str, int] | None:
        """How many shards of how many, where it is a sample."""
        return {"shards": len(self.dataset.shards), "of": len(self.full_dataset.shards)} if self.limited else None

    @property
    def folder(self) -> Path:
        return Path(self.environment.workspace) / "runs" / self.id

    def save(self) -> None:
        """Write the run's record, whole, after every stage."""
        record = {
            "id": self.id,
            "flow": self.flow,
            "recipe": self.recipe.name,
            "recipe_digest": self.recipe.digest,
            "dataset": {"name": self.dataset.name, "digest": self.dataset.digest, "root": self.dataset.root},
            "sample": self.sample,
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self.started, 1),
            "stages": [asdict(stage) for stage in self.stages],
            "columns": {n: asdict(c) for n, c in self.plan.where(self.made).items()},
            "captions": [n for n in self.plan.steps if n in self.made and self.plan.steps[n].kind == "captioner"],
            "results": self.results,
            "warnings": self.warnings,
        }
        write_record(self.environment.workspace, record)

    @property
    def reused_everything(self) -> bool:
        return all(stage.status == "reused" for stage in self.stages)


@contextmanager
def open_run(
    recipe: Recipe,
    environment: Environment,
    dataset: Dataset,
    *,
    flow: str,
    limit: int | None = None,
    quiet: bool = False,
    notes: tuple[str, ...] = (),
) -> Iterator[Run]:
    """A run whose Ray session and tracked parent are ended however it ends; `notes` are its first warnings."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    run = Run(recipe, environment, dataset.limited(limit), dataset, Console(quiet), f"{stamp}-{recipe.name}", flow)
    run.warnings.extend(notes)
    with run._exits:
        yield run


def device_of(environment: Environment) -> str:
    """Where models run here: what the environment says, and of `auto` the GPU where there is one."""
    if environment.device != "auto":
        return environment.device
    if not may_have_gpu():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def model_resolver(environment: Environment) -> Callable[[str], ModelFolder]:
    """From a model reference to its folder and weights' hash; `models:/` is asked of this environment's registry."""

    def registered(reference: str) -> tuple[str, str]:
        folder, weights = registry_of(environment, light=True).resolve(reference)
        return str(folder), weights

    def resolve(reference: str) -> ModelFolder:
        found = resolve_model(reference, registry=registered)
        if found.path:
            check_committed(found.path)
        return found

    return resolve


def champion_of(environment: Environment) -> Standing | None:
    """The champion of the registry this environment names; asked on every run, so MLflow is not imported for it."""
    return None if _no_store(environment) else registry_of(environment, light=True).standing()


def the_champion(environment: Environment) -> Standing:
    """The champion.

    Raises:
        NoChampion: there is none.
    """
    champion = champion_of(environment)
    if champion is None:
        raise NoChampion("no version is champion; `pairwright run RECIPE` trains, registers and promotes one")
    return champion


def version_of(environment: Environment, digest: str, name: str | None = None) -> int | None:
    """The version whose files have this digest, of the model registered as `name`; None if there is none."""
    return None if _no_store(environment) else registry_of(environment, light=True, name=name).find(digest)


def _no_store(environment: Environment) -> bool:
    """Whether nothing was registered here yet: asking must not make a store."""
    path = sqlite_path(environment.tracking)
    return path is not None and not path.is_file()


def registry_of(environment: Environment, light: bool = False, name: str | None = None) -> Registry:
    """The model registry this environment names; `light` for verbs that only read it or move the champion."""
    cache = Path(environment.workspace) / "downloads"
    return Registry(environment.tracking, name or environment.registered_model, cache=cache, light=light)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _short(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
