"""The flows: one a chain and one for the whole. Prefect draws a form from their parameters and docstrings.

from pairwright.flows.pipeline import pipeline
pipeline(recipe="quickstart")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from pairwright.components.environment import Environment, silence
from pairwright.flows.curate import curate_stages
from pairwright.flows.grid import grid_stages
from pairwright.flows.planning.asked import ask
from pairwright.flows.recipes import recipe_names
from pairwright.flows.release import release_stages
from pairwright.flows.running.run import Run, open_run
from pairwright.flows.running.runs import read_record
from pairwright.flows.running.summary import name_flow_run, track_summary
from pairwright.flows.running.workspace import check_workspace
from pairwright.flows.search import search_stages, wanted_search
from pairwright.flows.stages.report import report_stage
from pairwright.flows.terminal.interrupt import answer_again
from pairwright.flows.train import evaluate_stages, train_stages

# The form offers the shipped recipes, and takes a path.
RecipeName = Literal[tuple(recipe_names())] | str  # type: ignore[valid-type]
Limit = Annotated[int | None, Field(ge=1)]
Trials = Annotated[int | None, Field(ge=1)]


@contextmanager
def _opened(
    name: str, recipe: str, sets: Mapping[str, str | None], limit: int | None, workspace: str | None, quiet: bool
) -> Iterator[Run]:
    silence()
    answer_again()  # Prefect takes SIGTERM when a flow begins
    environment = Environment.load(workspace=workspace)
    check_workspace(environment.workspace)
    asked = ask(recipe, **sets)
    with open_run(
        asked.recipe, environment, asked.dataset, flow=name, limit=limit, quiet=quiet, notes=asked.notes
    ) as run:
        run.console.say(
            f"{run.recipe.name} on {run.dataset.name}: {run.dataset.rows:,} pairs in {len(run.dataset.shards)} shards"
        )
        for note in asked.notes:
            run.console.say(f"  {note}")
        name_flow_run(run)
        yield run


def _sets(data: str | None, labels: str | None, dev: str | None, test: str | None) -> dict[str, str | None]:
    """What a recipe is run on, but for its sample."""
    return {"data": data, "labels": labels, "dev": dev, "test": test}


def _finish(run: Run) -> dict[str, Any]:
    """The report, the projection of a sample, and the run's record."""
    track_summary(run)
    report_stage(run)
    if run.limited:
        run.results["projection"] = projection = project(run)
        run.console.say(
            f"  the whole of {run.full_dataset.name} would take about {projection['seconds'] / 60:.1f} minutes"
        )
    run.save()
    return read_record(run.environment.workspace, run.id)


def _whole(
    name: str, recipe: str, sets: Mapping[str, str | None], limit: int | None, workspace: str | None, quiet: bool
) -> dict[str, Any]:
    with _opened(name, recipe, sets, limit, workspace, quiet) as run:
        selection = curate_stages(run)
        models = train_stages(run, selection)
        grid_stages(run, selection)
        evaluate_stages(run, models)
        release_stages(run, selection, models)
        return _finish(run)


def project(run: Run) -> dict[str, float]:
    """Time for all shards from that of the sample: stages that read shards grow with them, the others do not.

    Reused stages cost nothing now and say nothing of what they would cost, so they are left out.
    """
    share = len(run.full_dataset.shards) / len(run.dataset.shards)
    ran = [stage for stage in run.stages if stage.status == "ran"]
    growing = sum(stage.seconds for stage in ran if "shards" in stage.facts)
    fixed = sum(stage.seconds for stage in ran) - growing
    return {"seconds": round(growing * share + fixed, 1), "of_shards": share, "sample_seconds": growing + fixed}


@flow(name="pipeline")
def pipeline(
    recipe: RecipeName = "quickstart",
    data: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    labels: str | None = None,
    limit: Limit = None,
    workspace: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """The whole: curate, train, evaluate, release, report.

    Args:
        recipe: A shipped recipe's name, or the path of a YAML file on the worker.
        data: Dataset folder or URL; empty for the recipe's own.
        dev: Dataset that tunes and promotes, "own" to draw it from the data; empty for the recipe's, if of this data.
        test: Dataset that is only reported on, as dev.
        labels: Folder of people's labels that the reward is fitted on; empty for the recipe's own.
        limit: Only this many shards, as a sample; empty for all.
        workspace: Folder everything is written to; empty for the worker's own.
        quiet: Print nothing to the worker's terminal.
    """
    return _whole("pipeline", recipe, _sets(data, labels, dev, test), limit, workspace, quiet)


@flow(name="curate")
def curate(
    recipe: RecipeName = "quickstart",
    data: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    labels: str | None = None,
    limit: Limit = None,
    workspace: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Gate, score, select, keep, gate, recaption: a curated set and the reason of every drop.

    Args:
        recipe: A shipped recipe's name, or the path of a YAML file on the worker.
        data: Dataset folder or URL; empty for the recipe's own.
        dev: Dataset that tunes and promotes, "own" to draw it from the data; empty for the recipe's, if of this data.
        test: Dataset that is only reported on, as dev.
        labels: Folder of people's labels that the reward is fitted on; empty for the recipe's own.
        limit: Only this many shards, as a sample; empty for all.
        workspace: Folder everything is written to; empty for the worker's own.
        quiet: Print nothing to the worker's terminal.
    """
    with _opened("curate", recipe, _sets(data, labels, dev, test), limit, workspace, quiet) as run:
        curate_stages(run)
        return _finish(run)


@flow(name="train")
def train(
    recipe: RecipeName = "quickstart",
    data: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    labels: str | None = None,
    limit: Limit = None,
    workspace: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train and evaluate on the curated set; curation is run first, or reused.

    Args:
        recipe: A shipped recipe's name, or the path of a YAML file on the worker.
        data: Dataset folder or URL; empty for the recipe's own.
        dev: Dataset that tunes and promotes, "own" to draw it from the data; empty for the recipe's, if of this data.
        test: Dataset that is only reported on, as dev.
        labels: Folder of people's labels that the reward is fitted on; empty for the recipe's own.
        limit: Only this many shards, as a sample; empty for all.
        workspace: Folder everything is written to; empty for the worker's own.
        quiet: Print nothing to the worker's terminal.
    """
    with _opened("train", recipe, _sets(data, labels, dev, test), limit, workspace, quiet) as run:
        selection = curate_stages(run)
        models = train_stages(run, selection)
        grid_stages(run, selection)
        evaluate_stages(run, models)
        return _finish(run)


@flow(name="release")
def release(
    recipe: RecipeName = "quickstart",
    data: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    labels: str | None = None,
    limit: Limit = None,
    workspace: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Register, compare with the champion, promote by the recipe's rule, package.

    Args:
        recipe: A shipped recipe's name, or the path of a YAML file on the worker.
        data: Dataset folder or URL; empty for the recipe's own.
        dev: Dataset that tunes and promotes, "own" to draw it from the data; empty for the recipe's, if of this data.
        test: Dataset that is only reported on, as dev.
        labels: Folder of people's labels that the reward is fitted on; empty for the recipe's own.
        limit: Only this many shards, as a sample; empty for all.
        workspace: Folder everything is written to; empty for the worker's own.
        quiet: Print nothing to the worker's terminal.
    """
    return _whole("release", recipe, _sets(data, labels, dev, test), limit, workspace, quiet)


@flow(name="search")
def search(
    recipe: RecipeName = "quickstart",
    data: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    labels: str | None = None,
    vary: tuple[str, ...] = (),
    trials: Trials = None,
    limit: Limit = None,
    workspace: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Curate once, try settings of the model on dev, then train, judge and release the best as any run.

    Args:
        recipe: A shipped recipe's name, or the path of a YAML file on the worker.
        data: Dataset folder or URL; empty for the recipe's own.
        dev: Dataset that tunes and promotes, "own" to draw it from the data; empty for the recipe's, if of this data.
        test: Dataset that is only reported on, as dev.
        labels: Folder of people's labels that the reward is fitted on; empty for the recipe's own.
        vary: Settings beside the recipe's search.space, as NAME=LOW..HIGH[:log] or NAME=A,B,C.
        trials: How many; empty for the recipe's.
        limit: Only this many shards, as a sample; empty for all.
        workspace: Folder everything is written to; empty for the worker's own.
        quiet: Print nothing to the worker's terminal.
    """
    with _opened("search", recipe, _sets(data, labels, dev, test), limit, workspace, quiet) as run:
        wanted = wanted_search(run, vary, trials)
        selection = curate_stages(run)
        search_stages(run, wanted, selection)
        models = train_stages(run, selection)
        grid_stages(run, selection)
        evaluate_stages(run, models)
        release_stages(run, selection, models)
        return _finish(run)


@flow(name="retrain")
def retrain(
    recipe: RecipeName = "quickstart",
    data: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    labels: str | None = None,
    workspace: str | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Scheduled: the pipeline on whatever the data is now. New shards are scored, old ones reused.

    Args:
        recipe: A shipped recipe's name, or the path of a YAML file on the worker.
        data: Dataset folder or URL; empty for the recipe's own.
        dev: Dataset that tunes and promotes, "own" to draw it from the data; empty for the recipe's, if of this data.
        test: Dataset that is only reported on, as dev.
        labels: Folder of people's labels that the reward is fitted on; empty for the recipe's own.
        workspace: Folder everything is written to; empty for the worker's own.
        quiet: Print nothing to the worker's terminal.
    """
    return _whole("retrain", recipe, _sets(data, labels, dev, test), None, workspace, quiet)
