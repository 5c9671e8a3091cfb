"""Runs: a parent run a pipeline, a child run a stage, each logged as it goes.

    tracker = Tracker("sqlite:///workspace/mlflow.db")
    with tracker.pipeline("quickstart", {"recipe_digest": "..."}) as run:
        run.log_dataset("raw", dataset.digest, source=dataset.root, rows=dataset.rows)
        with run.stage("train") as stage:
            stage.log_params({"steps": 400, "optimizer": {"lr": 3e-4}})
            stage.log_metrics({"loss": 2.1}, step=10)

Metrics are buffered and sent in batches; a run that leaves by an exception ends FAILED (or KILLED,
by a signal) with the reason as a tag. A killed process leaves its run RUNNING: pass its id (see
`Tracker.unfinished`) and the same run goes on, steps it already has not logged twice.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright.components.tracking.store import connect, experiment_id, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATASET_DIGEST_CHARS = 36  # MLflow's limit
BATCH = 500  # metrics a request; MLflow takes at most 1,000
FLUSH_S = 2.0  # a killed run loses at most this much of its curves
MAX_TAG_CHARS = 8000
MAX_PARAM_CHARS = 6000
STAGE_TAG = "pairwright.stage"
KIND_TAG = "pairwright.kind"
ERROR_TAG = "pairwright.error"


class Tracker:
    """Makes and finds the runs of one experiment in one store (SQLite or a server).

    Raises:
        TrackingError: on first use, when the store cannot be reached.
    """

    def __init__(self, uri: str, experiment: str = "pairwright") -> None:
        self.uri = uri
        self.experiment = experiment

    @contextmanager
    def pipeline(
        self,
        name: str,
        tags: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        system_metrics: bool = False,
    ) -> Iterator[Run]:
        """A parent run; with `run_id`, that run goes on where its process was killed."""
        run = self._open(name, {KIND_TAG: "pipeline", **(tags or {})}, run_id)
        with _ended(run, system_metrics):
            yield run

    def unfinished(self, tags: Mapping[str, str]) -> str | None:
        """Id of the newest pipeline run with these tags that never ended or failed; None if there is none."""
        client, experiment = connect(self.uri), experiment_id(self.uri, self.experiment)
        wanted = {KIND_TAG: "pipeline", **tags}
        clauses = [f"tags.`{name}` = '{_quoted(value)}'" for name, value in wanted.items()]
        found = client.search_runs(
            [experiment],
            " and ".join([*clauses, "attributes.status != 'FINISHED'"]),
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return str(found[0].info.run_id) if found else None

    def open_run(self, run_id: str) -> Run:
        """A run that is there already, for a worker process that logs into it; it is not ended here."""
        return Run(self, run_id, resumed=True)

    def _open(self, name: str, tags: Mapping[str, Any], run_id: str | None) -> Run:
        client, experiment = connect(self.uri), experiment_id(self.uri, self.experiment)
        if run_id is not None:
            client.update_run(run_id, status="RUNNING")
            run = Run(self, run_id, resumed=True)
            run.set_tags(tags)
            return run
        created = client.create_run(experiment, run_name=name, tags={k: _tag(v) for k, v in tags.items()})
        return Run(self, created.info.run_id, resumed=False)


class Run:
    """One MLflow run. Safe to log into from several threads."""

    def __init__(self, tracker: Tracker, run_id: str, *, resumed: bool) -> None:
        self.tracker = tracker
        self.id = run_id
        self._client: MlflowClient = connect(tracker.uri)
        self._lock = threading.Lock()
        self._waiting: list[Any] = []
        self._flushed = time.monotonic()
        self._params: dict[str, str] = {}
        self._last_step: dict[str, int] = {}
        if resumed:
            self._read_what_is_there()

    def _read_what_is_there(self) -> None:
        data = self._client.get_run(self.id).data
        self._params = dict(data.params)
        self._last_step = {metric.key: metric.step for metric in data._metric_objs}

    @contextmanager
    def stage(self, name: str, tags: Mapping[str, Any] | None = None, *, system_metrics: bool = False) -> Iterator[Run]:
        """A child run; in a resumed parent, the unfinished child of this name goes on."""
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        own = {MLFLOW_PARENT_RUN_ID: self.id, STAGE_TAG: name, KIND_TAG: "stage"}
        run = self.tracker._open(name, {**own, **(tags or {})}, self._unfinished_stage(own))
        with _ended(run, system_metrics):
            yield run

    def _unfinished_stage(self, tags: Mapping[str, str]) -> str | None:
        clauses = [f"tags.`{key}` = '{_quoted(value)}'" for key, value in tags.items()]
        experiment = self._client.get_run(self.id).info.experiment_id
        found = self._client.search_runs(
            [experiment], " and ".join([*clauses, "attributes.status != 'FINISHED'"]), max_results=1
        )
        return str(found[0].info.run_id) if found else None

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters, nested ones as `outer.inner`; one already logged keeps its first value (MLflow's rule)."""
        from mlflow.entities import Param

        flat = {key: value[:MAX_PARAM_CHARS] for key, value in _flat(params)}
        with self._lock:
            new = {key: value for key, value in flat.items() if key not in self._params}
            self._params.update(new)
        changed = {key: value for key, value in flat.items() if self._params[key] != value}
        entities = [Param(key, value) for key, value in new.items()]
        for start in range(0, len(entities), 100):
            self._client.log_batch(self.id, params=entities[start : start + 100])
        self.set_tags({f"changed.{key}": value for key, value in changed.items()})

    def log_metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Metrics at a step; buffered (see `flush`). None is left out; a name's odd characters are replaced."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._lock:
            for raw, value in metrics.items():
                name = metric_name(raw)
                if value is None or 0 < step <= self._last_step.get(name, -1):
                    continue  # logged before the run was killed; a step of 0 is a plain number, said anew
                self._waiting.append(Metric(name, float(value), now, step))
            due = len(self._waiting) >= BATCH or time.monotonic() - self._flushed > FLUSH_S
        if due:
            self.flush()

    def flush(self) -> None:
        """Send the metrics that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._flushed = time.monotonic()
        for start in range(0, len(waiting), BATCH):
            self._client.log_batch(self.id, metrics=waiting[start : start + BATCH])

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import RunTag

        if tags:
            self._client.log_batch(self.id, tags=[RunTag(key, _tag(value)) for key, value in tags.items()])

    def log_artifact(self, path: str | Path, folder: str | None = None) -> None:
        """A file, or a folder with all that is in it, under `folder` of the run's artifacts."""
        source = Path(path)
        if source.is_dir():
            self._client.log_artifacts(self.id, str(source), folder)
        else:
            self._client.log_artifact(self.id, str(source), folder)

    def log_text(self, text: str, path: str) -> None:
        self._client.log_text(self.id, text, path)

    def log_json(self, value: Any, path: str) -> None:
        self.log_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", path)

    def log_dataset(
        self, name: str, digest: str, source: str, rows: int | None = None, context: str = "training", **facts: Any
    ) -> None:
        """The data this run read, under our own digest, so that MLflow groups runs by it.

        Args:
            source: where it lies (a folder, `s3://...`, or `dvc:<md5>`).
            context: raw | curated | training | evaluation.
            facts: further numbers shown with it, e.g. `md5=...`.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:DATASET_DIGEST_CHARS],
            source_type="pairwright",
            source=json.dumps({"uri": source, "digest": digest}),
            profile=json.dumps({"rows": rows, **facts}),
        )
        self._client.log_inputs(self.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    @property
    def url(self) -> str | None:
        """The run's page in MLflow's UI; None for a SQLite store, which has no server."""
        if not self.tracker.uri.startswith("http"):
            return None
        experiment = self._client.get_run(self.id).info.experiment_id
        return f"{self.tracker.uri.rstrip('/')}/#/experiments/{experiment}/runs/{self.id}"


@contextmanager
def _ended(run: Run, system_metrics: bool) -> Iterator[None]:
    monitor = _system_monitor(run) if system_metrics else None
    status = "FINISHED"
    try:
        yield
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        run.set_tags({ERROR_TAG: f"{type(error).__name__}: {one_line(error)}"})
        raise
    finally:
        if monitor is not None:
            monitor.finish()
        run.flush()
        run._client.set_terminated(run.id, status)


def _system_monitor(run: Run) -> Any:
    """MLflow's thread that logs CPU, memory, disk, network and GPU use under `system/`."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run.id, resume_logging=True, tracking_uri=run.tracker.uri)
    monitor.start()
    return monitor


def metric_name(name: str) -> str:
    """A name MLflow accepts: `retrieval.R@1` becomes `retrieval.R_at_1`."""
    return re.sub(r"[^\w\-. /:]", "_", name.replace("@", "_at_"))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = metric_name(f"{prefix}{key}")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple, dict)):
            yield name, json.dumps(value, default=str, ensure_ascii=False)
        else:
            yield name, str(value)


def _tag(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text[:MAX_TAG_CHARS]


def _quoted(value: str) -> str:
    return str(value).replace("'", "''")
