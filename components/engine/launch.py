"""Training under Ray Train: one group of N workers trains one model after another, and survives a kill.

    with closing(TrainingGroup(session, storage_path=workspace, workers=2)) as group:
        for config in configs:
            group.train("pairwright.components.training.run:train", config, on_report=print)

Starting a group takes longer than training a pair of heads, so a run's models share one. Checkpoints
are the loop's own, in `config["checkpoints"]`: after a restart it finds the newest by itself. (Ray
Train's were seen to restart at epoch 0 when a worker was killed right after `report()`, and its
metrics vanish when reported without a checkpoint, so neither is relied on.)
"""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairwright.components.engine.cluster import TRAINING_PLACE, Session, import_ray
from pairwright.components.errors import EngineError, PairwrightError

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
POLL_SECONDS = 0.3
CLOSE_SECONDS = 60.0  # a worker lost while idle may leave Ray looking for another without end
IDLE_SECONDS = 0.1  # between a worker's questions for the next model
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Training:
    """A model to train: "module:function" and its JSON-like config; number counts from 0 in its group."""

    number: int
    function: str
    config: dict[str, Any]


class TrainingGroup:
    """Workers that train what they are given, in order. Nothing starts before the first `train`.

    Args:
        storage_path: a folder every node can write; Ray's own notes lie there while the group lives.
        max_failures: restarts of the group before a training fails.
        slot: entered before the workers start and left when they have ended, as they hold their GPUs in between.
    """

    def __init__(
        self,
        session: Session,
        *,
        storage_path: str,
        workers: int = 1,
        use_gpu: bool = False,
        max_failures: int = 2,
        slot: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._session, self._workers, self._use_gpu = session, workers, use_gpu
        self._slot, self._held = slot, contextlib.ExitStack()
        self._max_failures = max_failures
        self._storage_path = storage_path if "://" in storage_path else str(Path(storage_path).resolve())
        self._folder = ""
        self._mailbox: Any = None
        self._thread: threading.Thread | None = None
        self._outcome: dict[str, BaseException] = {}
        self._trained = 0

    def train(self, function: str, config: dict[str, Any], on_report: Report | None = None) -> dict[str, Any]:
        """Run `function(config, rank, world_size, report)` on every worker to its end.

        Args:
            on_report: called here, in the calling thread, with each dict that rank 0 reports.

        Returns:
            What the function returned on rank 0, if that is a dict, else the last report.

        Raises:
            PairwrightError: what the function raised, if it is one of ours.
            EngineError: it failed for another reason, or more than `max_failures` times.
        """
        while True:
            fresh = self._trained == 0  # else its restarts may have been used up by earlier models
            try:
                return self._train(function, config, on_report)
            except _GroupEnded as ended:
                self.close()
                if fresh:
                    raise _failure(ended.cause) from None

    def close(self) -> None:
        """End the workers; another `train` starts new ones."""
        if self._thread is None:
            self._held.close()  # of a start that failed
            return
        with contextlib.suppress(Exception):
            import_ray().get(self._mailbox.close.remote())
            self._thread.join(CLOSE_SECONDS)
        self._forget()

    def _train(self, function: str, config: dict[str, Any], on_report: Report | None) -> dict[str, Any]:
        if self._thread is None:
            self._start()
        assert self._thread is not None
        ray = import_ray()
        try:
            ray.get(self._mailbox.offer.remote(Training(self._trained, function, config)))
            last: dict[str, Any] = {}
            while True:
                over = not self._thread.is_alive()
                mail = ray.get(self._mailbox.drain.remote())
                for report in mail.reports:
                    last = report
                    if on_report is not None:
                        on_report(report)
                if mail.error is not None:
                    raise mail.error  # another try would end the same way
                if mail.trained > self._trained:
                    break
                if over:
                    raise _GroupEnded(self._outcome.get("error"))
                self._thread.join(POLL_SECONDS)
        except _GroupEnded:
            raise
        except BaseException:
            if self._thread.is_alive():
                self._session.close()  # Ray's controller would go on training, or trying to, without us
            self._forget()
            raise
        self._trained += 1
        return mail.result if isinstance(mail.result, dict) else last

    def _start(self) -> None:
        self._held.enter_context(self._slot())
        self._session.ensure()
        self._mailbox = import_ray().remote(_Mailbox).options(num_cpus=0).remote()
        self._folder = f"training-{uuid.uuid4().hex[:8]}"  # never taken for an earlier run's, which Ray would restore
        trainer, outcome = self._trainer(), self._outcome

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as error:
                outcome["error"] = error

        self._thread = threading.Thread(target=fit, name="ray-train", daemon=True)
        self._thread.start()

    def _trainer(self) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        backend = "nccl" if self._use_gpu else "gloo"
        torch_config = TorchConfig(backend=backend)
        if self._session.local:
            from pairwright.components.engine.one_machine import OneMachine

            torch_config = OneMachine(backend=backend, folder=f"{self._storage_path}/{self._folder}")
        return TorchTrainer(
            _train_on_worker,
            train_loop_config={"mailbox": self._mailbox},
            scaling_config=ScalingConfig(num_workers=self._workers, use_gpu=self._use_gpu, **self._place()),
            torch_config=torch_config,
            run_config=RunConfig(
                name=self._folder,
                storage_path=self._storage_path,
                failure_config=FailureConfig(max_failures=self._max_failures),
            ),
        )

    def _place(self) -> dict[str, Any]:
        """What a worker takes of the session: a CPU, unless the session has places for training."""
        if self._use_gpu or TRAINING_PLACE not in import_ray().cluster_resources():
            return {}
        return {"resources_per_worker": {TRAINING_PLACE: 1}}

    def _forget(self) -> None:
        ray = import_ray()
        with contextlib.suppress(Exception):
            if ray.is_initialized():  # else `kill` would start a session
                ray.kill(self._mailbox)  # without it the workers fail, also in a session that is not ours to end
        self._held.close()
        if "://" not in self._storage_path:
            shutil.rmtree(Path(self._storage_path) / self._folder, ignore_errors=True)
        self._mailbox, self._thread, self._outcome, self._trained = None, None, {}, 0


@contextlib.contextmanager
def training_group(
    session: Session, *, use_gpu: bool = False, workers: int = 1, **more: Any
) -> Iterator[TrainingGroup]:
    """The group of a run, arguments as `TrainingGroup`'s: ended with the run.

    Where the run found its session standing, the group is left standing, too, for the next run of this process: it
    takes longer to start than a small model to train. One with GPUs gives them back.
    """
    if use_gpu or not session.stands:
        with contextlib.closing(TrainingGroup(session, use_gpu=use_gpu, workers=workers, **more)) as group:
            yield group
        return
    if workers not in _standing:
        _standing[workers] = TrainingGroup(session, workers=workers, **more)
    yield _standing[workers]


_standing: dict[int, TrainingGroup] = {}


class _GroupEnded(Exception):
    """Ray Train gave up the group, for this cause if it told one."""

    def __init__(self, cause: BaseException | None) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class _Mail:
    """What came from the workers: rank 0's reports, an error of ours, how many models are done, the last's value."""

    reports: list[dict[str, Any]]
    error: PairwrightError | None
    trained: int
    result: Any


class _Mailbox:
    """An actor between driver and workers: one model at a time goes in, reports and results come out."""

    def __init__(self) -> None:
        self._training: Training | None = None
        self._mail = _Mail([], None, 0, None)
        self._closed = False

    def offer(self, training: Training) -> None:
        self._training = training

    def close(self) -> None:
        self._closed = True

    def trained(self) -> int:
        return self._mail.trained

    def take(self, number: int) -> tuple[Training | None, bool]:
        """(training `number` if it is there, whether there will be no more)."""
        ready = self._training is not None and self._training.number == number
        return (self._training if ready else None), self._closed

    def put(self, report: dict[str, Any]) -> None:
        self._mail.reports.append(report)

    def fail(self, error: PairwrightError) -> None:
        self._mail.error = error

    def finish(self, result: Any) -> None:
        self._mail.trained, self._mail.result = self._mail.trained + 1, result

    def drain(self) -> _Mail:
        mail = self._mail
        self._mail = _Mail([], mail.error, mail.trained, mail.result)
        return mail


def _train_on_worker(loop: dict[str, Any]) -> None:
    """Ray Train's entry on each worker: trains what the mailbox holds until it is closed."""
    import ray
    import ray.train

    context, mailbox = ray.train.get_context(), loop["mailbox"]
    rank, world_size = context.get_world_rank(), context.get_world_size()
    number = _agreed(ray.get(mailbox.trained.remote()), world_size)  # a restarted group goes on where the last one died
    while (training := _next(mailbox, number)) is not None:
        _train_one(training, mailbox, rank, world_size)
        number += 1


def _agreed(number: int, world_size: int) -> int:
    """Rank 0's answer, on every rank."""
    if world_size == 1:
        return number
    import torch.distributed as dist

    answer = [number]
    dist.broadcast_object_list(answer)
    return answer[0]


def _next(mailbox: Any, number: int) -> Training | None:
    """The training with that number, waited for; None once the group is closed."""
    ray = import_ray()
    while True:
        training, closed = ray.get(mailbox.take.remote(number))
        if training is not None or closed:
            return training
        time.sleep(IDLE_SECONDS)


def _train_one(training: Training, mailbox: Any, rank: int, world_size: int) -> None:
    ray = import_ray()

    def report(metrics: dict[str, Any]) -> None:
        if rank == 0:
            mailbox.put.remote(metrics)

    module, _, attribute = training.function.partition(":")
    try:
        result = getattr(importlib.import_module(module), attribute)(training.config, rank, world_size, report)
    except PairwrightError as error:
        ray.get(mailbox.fail.remote(error))
        raise
    if rank == 0:  # after its reports: an actor answers one caller in the order it was called
        ray.get(mailbox.finish.remote(result))


def _failure(error: BaseException | None) -> EngineError:
    if error is None:
        return EngineError("training failed: its workers ended without a word; run the same command to go on")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    frames = _FRAME.findall(str(error))
    where = f" ({frames[-1][0]}, line {frames[-1][1]}, in {frames[-1][2]})" if frames else ""
    return EngineError(f"training failed: {lines[-1] if lines else type(error).__name__}{where}")
