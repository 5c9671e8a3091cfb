"""From a command line or Prefect's form to a running flow: environment, data, Prefect's own settings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from components.engine.cluster import check_socket_paths
from components.environment import Environment, silence
from components.errors import WorkspaceError
from flows.full_disk import said_once
from flows.interrupt import answered_signals
from flows.prefect_server import own_server

# (folder, dataset) -> (kind of source, what it is made from), for recipes that need more than the demo corpus.
MADE = {("build", "demo-shop"): ("demo-shop", "data/raw")}
FREE_BYTES = 256 << 20  # what the servers' databases alone may want; columns and models come on top
# What a workspace's first run imports in any case: seconds it can spend while its Prefect server is not up yet.
MEANWHILE = ("flows.pipeline", "great_expectations", "mlflow")


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


@answered_signals()
@said_once()
def run_from_command(
    recipe: str,
    *,
    data: str | None,
    limit: int | None,
    only: str | None,
    workspace: str | None,
    quiet: bool,
    labels: str | None = None,
) -> dict[str, Any]:
    """Run the flow that `pairwright run` names, in this process; the run's record.

    Mistakes in the recipe, the data or the environment are found before Prefect is imported.
    """
    silence()
    environment = Environment.load(workspace=workspace)
    check_workspace(environment.workspace)
    if not environment.ray_address:
        check_socket_paths()
    from flows.recipes import load_recipe

    loaded = load_recipe(recipe, labels)
    quiet_prefect(environment.workspace)
    server = own_server()
    first = not (Path(environment.workspace) / "gates").exists()
    preflight(loaded, find_dataset(data or loaded.data), environment, only or "pipeline")
    if server:
        server.wait(MEANWHILE if first else ())
    from flows.pipeline import curate, pipeline, train

    flow = {"curate": curate, "train": train, "release": pipeline, None: pipeline}[only]
    record: dict[str, Any] = flow(
        recipe=recipe, data=data, labels=labels, limit=limit, workspace=workspace, quiet=quiet
    )
    return record


def preflight(recipe: Any, dataset: Any, environment: Environment, flow: str = "pipeline") -> None:
    """Everything a recipe can have wrong, found in a second and before any server starts.

    Raises:
        InvalidRecipe: a step, setting, column, rule, gate or arm that cannot be right.
    """
    from flows.check import check_recipe
    from flows.run import open_run

    with open_run(recipe, environment, dataset, flow=flow, quiet=True) as run:
        check_recipe(run)


def check_workspace(workspace: str) -> None:
    """Refuse a workspace that cannot be written or is as good as full, before any work.

    Raises:
        WorkspaceError: read-only or full, with the remedy.
    """
    from components.dataset.storage import write_bytes

    probe = Path(workspace) / ".writable"
    write_bytes(str(probe), b"pairwright\n")
    probe.unlink(missing_ok=True)
    free = shutil.disk_usage(workspace).free
    if free < FREE_BYTES:
        raise WorkspaceError(
            f"{workspace} has {free / 2**20:.0f} MiB left, a run needs {FREE_BYTES / 2**20:.0f}; "
            "free space or set PAIRWRIGHT_WORKSPACE elsewhere"
        )


def find_dataset(path: str) -> Any:
    """The dataset at a path; the demo corpus is pulled, and what is made from it made, when it is not there yet.

    Raises:
        DatasetError: there is no dataset.
    """
    from components.dataset.dataset import open_dataset
    from components.dataset.storage import exists, is_remote, join

    if not is_remote(path) and not exists(join(path, "dataset.json")):
        root = Path(path).resolve().parent
        if root.name == "data" and (root.parent / "data.dvc").is_file():
            from components.versioning import pull_data

            pull_data(root.parent)
        elif (root.name, Path(path).name) in MADE and (root.parent / "data.dvc").is_file():
            from components.dataset.ingest import ingest

            kind, source = MADE[root.name, Path(path).name]
            find_dataset(str(root.parent / source))
            ingest(kind, str(root.parent / source), str(Path(path).resolve()))
    return open_dataset(str(Path(path).resolve()) if not is_remote(path) else path)
