"""From a command line or Prefect's form to a running flow: environment, data, Prefect's own settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright.components.engine.cluster import check_socket_paths
from pairwright.components.environment import Environment, silence
from pairwright.flows.running.workspace import check_workspace
from pairwright.flows.servers.prefect_server import own_server
from pairwright.flows.terminal.full_disk import said_once
from pairwright.flows.terminal.interrupt import answered_signals

# What a workspace's first run imports in any case: seconds it can spend while its Prefect server is not up yet.
MEANWHILE = ("pairwright.flows.pipeline", "great_expectations", "mlflow")


def quiet_prefect(workspace: str) -> None:
    """Prefect's home and log level for a run from the command line; what the user set stands.

    Without a server of the user's (`PREFECT_API_URL`) a run has one of its own, whose database is kept in
    the workspace, so that `make up` shows these runs too.
    """
    home = Path(os.environ.setdefault("PREFECT_HOME", f"{workspace}/prefect"))
    os.environ["PREFECT_HOME"] = str(home.expanduser().resolve())  # the server has another current folder
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # errors are ours to print, once
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_CLI_COLORS", "false")


@said_once()
def run_recipe(
    recipe: str,
    *,
    data: str | None,
    limit: int | None,
    only: str | None,
    workspace: str | None,
    quiet: bool,
    labels: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    searching: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the flow that `pairwright run` names, in this process; the run's record. Signals are the caller's.

    With `searching`, the trials and settings to vary, it is the flow of `pairwright search`.

    Mistakes in the recipe, the data or the environment are found before Prefect is imported.
    """
    silence()
    environment = Environment.load(workspace=workspace)
    check_workspace(environment.workspace)
    if not environment.ray_address:
        check_socket_paths()
    from pairwright.flows.planning.asked import ask

    sets = {"data": data, "labels": labels, "dev": dev, "test": test}
    asked = ask(recipe, **sets)
    quiet_prefect(environment.workspace)
    server = own_server()
    first = not (Path(environment.workspace) / "gates").exists()
    preflight(asked.recipe, asked.dataset, environment, only or "pipeline", searching)
    if server:
        server.wait(MEANWHILE if first else ())
    from pairwright.flows.pipeline import curate, pipeline, search, train

    flows = {"curate": curate, "train": train, "release": pipeline, None: pipeline}
    flow, more = (flows[only], {}) if searching is None else (search, dict(searching))
    record: dict[str, Any] = flow(recipe=recipe, **sets, **more, limit=limit, workspace=workspace, quiet=quiet)
    return record


run_from_command = answered_signals()(run_recipe)  # a stopped command ends; a stopped notebook's kernel lives on


def preflight(
    recipe: Any,
    dataset: Any,
    environment: Environment,
    flow: str = "pipeline",
    searching: Mapping[str, Any] | None = None,
) -> None:
    """Everything a recipe can have wrong, found in a second and before any server starts.

    Raises:
        InvalidRecipe: a step, setting, column, rule, gate or arm that cannot be right.
    """
    from pairwright.flows.planning.check import check_recipe
    from pairwright.flows.running.run import open_run

    with open_run(recipe, environment, dataset, flow=flow, quiet=True) as run:
        check_recipe(run)
        if searching is not None:
            from pairwright.components.search.study import Study
            from pairwright.flows.search import wanted_search

            Study(wanted_search(run, **searching).section.space, recipe.seed)
