"""One way to run a stage: digest -> reuse or run -> report -> track.

Every stage is one Prefect task. What it made is committed under its digest; when that is there
already the stage is reused, and neither Ray nor MLflow nor Great Expectations is started for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pairwright.components.errors import PairwrightError
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage_record import StageRecord

T = TypeVar("T")
PROGRESS_SECONDS = 2.0  # an artifact update is an API call: not more often than this


class Stage:
    """What a stage's work gets: progress to the terminal and to Prefect, facts, a tracked child run."""

    def __init__(self, run: Run, record: StageRecord) -> None:
        self.run = run
        self.record = record
        self._artifact: Any = None
        self._shown = 0.0

    def progress(self, done: int, total: int, text: str = "") -> None:
        """`done` of `total` units are finished."""
        now = time.monotonic()
        if now - self._shown < PROGRESS_SECONDS and done < total:
            return
        self._shown = now
        self.run.console.progress(self.record.name, done, total, text)
        self._show_in_prefect(100.0 * done / max(total, 1), text)

    def facts(self, **values: Any) -> None:
        """Facts of the stage for the report, the run's record and MLflow."""
        self.record.facts.update(values)

    def _show_in_prefect(self, percent: float, text: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._artifact is None:
            self._artifact = create_progress_artifact(
                percent, key=f"progress-{_artifact_key(self.record.name)}", description=text or self.record.name
            )
        else:
            update_progress_artifact(self._artifact, progress=percent, description=text or None)


@contextmanager
def accelerator(run: Run) -> Iterator[None]:
    """A slot of Prefect's global concurrency limit `gpu`, if this run uses one and the limit was made.

    `prefect gcl create gpu --limit 1` keeps two runs from sharing a GPU that holds only one of them.
    """
    if run.device != "cuda":
        yield
        return
    from prefect.concurrency.sync import concurrency

    with concurrency("gpu", occupy=1, strict=False):
        yield


def run_stage(run: Run, name: str, digest: str, *, reuse: Callable[[], T | None], work: Callable[[Stage], T]) -> T:
    """What `reuse` finds under the digest, else what `work` makes; recorded either way.

    A failure that is not the user's is retried once with jitter: the work skips what it had committed.
    """
    record = StageRecord(name, digest)
    run.stages.append(record)

    def execute() -> T:
        started = time.monotonic()
        found = reuse()
        if found is not None:
            record.seconds = time.monotonic() - started
            return found
        record.status = "failed"
        run.console.start(name)
        try:
            made = work(Stage(run, record))
            record.status = "ran"
        finally:
            record.seconds = time.monotonic() - started
        return made

    made = _as_task(name, execute)()
    run.finish_stage(record)
    return made


def _as_task(name: str, execute: Callable[[], T]) -> Callable[[], T]:
    """A task of the flow that runs; outside of one (a notebook, a test) a stage is the function it is."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return execute
    return task(
        execute,
        name=name,
        retries=1,
        retry_delay_seconds=2,
        retry_jitter_factor=0.5,
        retry_condition_fn=_not_the_users,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _not_the_users(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what may pass the second time; a recipe's mistake or a failed gate never will."""
    try:
        state.result()
    except (PairwrightError, KeyboardInterrupt):
        return False
    except Exception:
        return True
    return False


def _artifact_key(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
