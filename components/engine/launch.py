"""Training under Ray Train: N workers, restarted when one dies, their reports as they come.

    launch_training("components.pretrain.loop:train", config, session=session, name="pretrain",
                    storage_path=workspace, workers=2, on_report=print)

Checkpoints are the loop's own, in `config["checkpoint_dir"]`: after a restart it finds the newest
by itself. (Ray Train's were seen to restart at epoch 0 when a worker was killed right after
`report()`, and its metrics vanish when reported without a checkpoint, so neither is relied on.)
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.engine.cluster import Session, import_ray
from components.errors import EngineError, PairwrightError

POLL_SECONDS = 0.3
Report = Callable[[dict[str, Any]], None]


def launch_training(
    train_function: Callable[[dict[str, Any]], Any] | str,
    config: dict[str, Any],
    *,
    session: Session,
    name: str,
    storage_path: str,
    workers: int = 1,
    use_gpu: bool = False,
    max_failures: int = 2,
    on_report: Report | None = None,
) -> dict[str, Any]:
    """Run a training function on `workers` workers to its end.

    Args:
        train_function: "module:function", imported on the workers and called as
            function(config, rank, world_size, report); or a callable of the config alone, which gets
            those from `worker_context()`.
        config: JSON-like; goes to every worker as it is.
        storage_path: a folder every node can write; Ray's own notes lie there while it runs.
        max_failures: restarts of the group before giving up.
        on_report: called here, in the calling thread, with each dict that rank 0 reports.

    Returns:
        What the function returned on rank 0, if that is a dict, else the last report.

    Raises:
        PairwrightError: what the function raised, if it is one of ours.
        EngineError: it failed for another reason, or more than `max_failures` times.
    """
    session.ensure()
    ray = import_ray()
    mailbox = ray.remote(_Mailbox).options(num_cpus=0).remote()
    run_folder = f"{name}-{uuid.uuid4().hex[:8]}"  # never taken for an earlier run's, which Ray would restore
    trainer = _trainer(train_function, config, mailbox, run_folder, storage_path, workers, use_gpu, max_failures)
    try:
        result, last = _fit(trainer, mailbox, session, on_report)
        return result if isinstance(result, dict) else last
    finally:
        with contextlib.suppress(Exception):
            ray.kill(mailbox)
        if "://" not in storage_path:
            shutil.rmtree(Path(storage_path) / run_folder, ignore_errors=True)


def worker_context() -> tuple[int, int, Report]:
    """(rank, world_size, report) inside a training worker; report is silent on ranks above 0."""
    if _context is None:
        raise EngineError("worker_context() is called outside a training worker; use launch_training")
    return _context


_context: tuple[int, int, Report] | None = None


class _Mailbox:
    """An actor that keeps rank 0's reports, and a worker's own error, until the driver fetches them."""

    def __init__(self) -> None:
        self._reports: list[dict[str, Any]] = []
        self._error: PairwrightError | None = None

    def put(self, report: dict[str, Any]) -> None:
        self._reports.append(report)

    def fail(self, error: PairwrightError) -> None:
        self._error = error

    def drain(self) -> tuple[list[dict[str, Any]], PairwrightError | None]:
        reports, self._reports = self._reports, []
        return reports, self._error


def _trainer(
    train_function: Callable[[dict[str, Any]], Any] | str,
    config: dict[str, Any],
    mailbox: Any,
    run_folder: str,
    storage_path: str,
    workers: int,
    use_gpu: bool,
    max_failures: int,
) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    if "://" not in storage_path:
        storage_path = str(Path(storage_path).resolve())
    return TorchTrainer(
        _train_on_worker,
        train_loop_config={"function": train_function, "config": config, "mailbox": mailbox},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=RunConfig(
            name=run_folder, storage_path=storage_path, failure_config=FailureConfig(max_failures=max_failures)
        ),
    )


def _train_on_worker(loop: dict[str, Any]) -> Any:
    """Ray Train's entry: adapts its context to (rank, world_size, report)."""
    global _context
    import ray.train

    context = ray.train.get_context()
    rank, mailbox = context.get_world_rank(), loop["mailbox"]

    def report(metrics: dict[str, Any]) -> None:
        if rank == 0:
            mailbox.put.remote(metrics)

    _context = (rank, context.get_world_size(), report)
    function = loop["function"]
    try:
        if isinstance(function, str):
            module, _, attribute = function.partition(":")
            returned = getattr(importlib.import_module(module), attribute)(loop["config"], *_context)
        else:
            returned = function(loop["config"])
    except PairwrightError as error:
        ray.get(mailbox.fail.remote(error))
        raise
    # What was reported last must have arrived before the driver hears that training is over.
    ray.get(mailbox.put.remote({}))
    return returned if rank == 0 else None


def _fit(trainer: Any, mailbox: Any, session: Session, on_report: Report | None) -> tuple[Any, dict[str, Any]]:
    """Run the trainer in a thread, reports in this one; returns rank 0's value and the last report."""
    ray = import_ray()
    outcome: dict[str, Any] = {}

    def fit() -> None:
        try:
            outcome["result"] = trainer.fit()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    last: dict[str, Any] = {}
    try:
        while True:
            over = not thread.is_alive()
            reports, mendable = ray.get(mailbox.drain.remote())
            for report in filter(None, reports):
                last = report
                if on_report is not None:
                    on_report(report)
            if mendable is not None:
                raise mendable  # another try would end the same way
            if over:
                break
            thread.join(POLL_SECONDS)
    except BaseException:
        if thread.is_alive():
            session.close()  # Ray's controller would go on training, or trying to, without us
        raise
    if "error" in outcome:
        raise _failure(outcome["error"])
    return getattr(outcome["result"], "return_value", None), last


def _failure(error: BaseException) -> EngineError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return EngineError(f"training failed: {lines[-1] if lines else type(error).__name__}")
