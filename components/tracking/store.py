"""Where MLflow keeps things: one client a store, quiet, with artifacts beside the SQLite file.

    sqlite:///workspace/mlflow.db   ->  workspace/mlartifacts/<experiment>/...
    http://host:port                ->  wherever that server keeps its artifacts

Everything goes through `MlflowClient`, never through MLflow's fluent functions: those keep the
active run and the tracking URI in globals, which flows running in threads would share.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pairwright.components.empty_database import keep_empty, take_empty
from pairwright.components.environment import silence
from pairwright.components.errors import TrackingError
from pairwright.components.tracking.place import follow_the_workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
HEALTH_TIMEOUT_S = 10.0
_connecting = threading.Lock()  # two threads creating one database's tables at once would clash


def connect(uri: str) -> MlflowClient:
    """The client of a tracking store (one a URI and process); creates the SQLite file when there is none.

    Raises:
        TrackingError: the server does not answer, or the file cannot be opened.
    """
    with _connecting:
        return _connect(uri)


@functools.cache
def _connect(uri: str) -> MlflowClient:
    silence()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if uri.startswith(("http://", "https://")):
        _check_health(uri)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # importing it sets the level again
        logging.getLogger(name).setLevel(logging.WARNING)
    path = sqlite_path(uri)
    try:
        with _one_at_a_time(path):
            made = path is not None and not take_empty(path, _empty())
            if path is not None:
                follow_the_workspace(path)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # opens the store, so that what is wrong is said now
            if path is not None and made:
                keep_empty(path, _empty(), without=("experiments",))  # MLflow's first, whose artifacts have a place
        _remove_stray_folder(uri, path)
    except Exception as error:
        raise TrackingError(
            f"{uri} cannot be opened as an MLflow store: {one_line(error)}; check PAIRWRIGHT_TRACKING_URI"
        ) from error
    return client


def _empty() -> str:
    """The name under which a migrated store is kept."""
    import mlflow

    return f"mlflow-{mlflow.__version__}.db"


def _remove_stray_folder(uri: str, database: Path | None) -> None:
    """MLflow makes the database's folder by its address, quoted as it is; where that is another name, it is empty."""
    made = Path(uri.removeprefix(SQLITE)).parent
    if database is not None and made != database.parent:
        with contextlib.suppress(OSError):
            made.rmdir()


@contextlib.contextmanager
def _one_at_a_time(database: Path | None) -> Iterator[None]:
    """Only one process at once may open a SQLite store: two that make its tables would break each other."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{database}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_health(uri: str) -> None:
    """Ask once before MLflow does, whose own retries would go on for minutes."""
    import httpx

    try:
        httpx.get(f"{uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT_S).raise_for_status()
    except httpx.HTTPError as error:
        raise TrackingError(
            f"{uri} does not answer as an MLflow server ({one_line(error)}); "
            "start it (`make up`), or unset PAIRWRIGHT_TRACKING_URI to use SQLite in the workspace"
        ) from None


def sqlite_path(uri: str) -> Path | None:
    """The file of a `sqlite:///` URI; None for a server."""
    return Path(unquote(uri.removeprefix(SQLITE))) if uri.startswith(SQLITE) else None


def artifact_root(uri: str) -> Path | None:
    """`mlartifacts` beside the SQLite file; None where the server decides."""
    path = sqlite_path(uri)
    return path.resolve().parent / "mlartifacts" if path else None


def experiment_id(uri: str, name: str) -> str:
    """The experiment of this name, made (or restored, if someone deleted it) when it is not there."""
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    root = artifact_root(uri)
    for _ in range(2):
        found = client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name, artifact_location=str(root / name) if root else None))
        except MlflowException as error:  # another process made it a moment ago
            problem = one_line(error)
    raise TrackingError(f'{uri}: experiment "{name}" can be neither found nor made: {problem}')


def one_line(error: BaseException) -> str:
    """The first line of an exception that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
