"""Workers of a shard map: actors, each with one shard in hand and the models of its task in memory.

with Workers(task, session, size=2, gpus=0) as pool:
    pool.grow(waiting=10)
    pool.give(shard)
    for shard, report in pool.finished(seconds=1.0): ...

A worker costs seconds of imports before it does anything, so within `standing_workers` those of one map, their models
given up, are found by the next.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairwright.components.engine.cluster import Session, import_ray
from pairwright.components.errors import EngineError, PairwrightError

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Shard
    from pairwright.components.dataset.shards.scan import ScanTask, ShardReport


class WorkerDied(EngineError):
    """A worker process ended with a shard in its hand."""


@dataclass(frozen=True)
class _Standing:
    """A worker that waits for the next map: the Ray session it is of, the cores it has of that."""

    session: str
    cores: float
    actor: Any


_standing: list[_Standing] = []


@contextlib.contextmanager
def standing_workers(session: Session) -> Iterator[None]:
    """Within it a map on this machine's CPUs leaves its workers to the next; they end with it, or with Ray.

    Where Ray stood before, they are left standing, too, for the next run of this process. Workers with a GPU are
    ended with their map, since what comes next may want its memory; on a cluster, so that its CPUs are free.
    """
    session.keeps_workers = session.local
    try:
        yield
    finally:
        session.keeps_workers = False
        if session.started and not session.stands:
            while _standing:
                import_ray().kill(_standing.pop().actor)


class Workers:
    """A pool of actors, at most one shard in hand each; a dead one is replaced.

    A shard goes only to a worker that is up: on a cluster that lost a node a replacement may wait
    for a CPU for ever, and the shard in its hand with it.
    """

    def __init__(self, task: ScanTask, session: Session, size: int, gpus: float) -> None:
        self._ray = import_ray()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._size, cpus = share_of(nodes, size, gpus, session.cpus())
        # Ray sets OMP_NUM_THREADS to the CPUs an actor asks for, before anything is imported.
        self._actor = self._ray.remote(ShardWorker).options(
            num_cpus=cpus, num_gpus=gpus, scheduling_strategy="SPREAD", max_restarts=0, max_task_retries=0
        )
        self._cores, self._threads = cpus, max(1, int(cpus))
        self._cores_of: dict[Any, float] = {}  # of workers that stood before
        self._task = self._ray.put(task.for_gpu(self._threads) if gpus else task)
        self._keeps = session.keeps_workers and not gpus
        self._failed_starts = 0
        self._starting: dict[Any, Any] = {}  # the answer of `ready` -> the actor
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Shard]] = {}
        self._take_over(self._size if self._keeps else 0)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: Any) -> None:
        for actor, _ in self.busy.values():
            self._ray.kill(actor)
        for actor in (*self.idle, *self._starting.values()):
            if not self._keeps:
                self._ray.kill(actor)
                continue
            actor.take.remote(None, self._threads)
            _standing.append(_Standing(self._session_name(), self._cores_of.get(actor, self._cores), actor))

    def _take_over(self, most: int) -> None:
        """Give the task to workers that stand; end those not needed, for they hold cores that others wait for."""
        here = [one for one in _standing if one.session == self._session_name()]
        _standing.clear()
        for one in here:
            if one.cores <= self._cores and len(self._starting) < most:
                self._starting[one.actor.take.remote(self._task, self._threads)] = one.actor
                self._cores_of[one.actor] = one.cores
            else:
                self._ray.kill(one.actor)

    def _session_name(self) -> str:
        return str(self._ray.get_runtime_context().gcs_address)  # a port of its own each

    def grow(self, waiting: int) -> None:
        """Start the workers that `waiting` shards can use, up to the pool's size."""
        standing_by = len(self.idle) + len(self._starting)
        for _ in range(min(self._size - len(self.busy), waiting) - standing_by):
            actor = self._actor.remote(self._task, self._threads)
            self._starting[actor.ready.remote()] = actor

    def give(self, shard: Shard) -> None:
        actor = self.idle.pop()
        self.busy[actor.run.remote(shard)] = (actor, shard)

    def finished(self, seconds: float) -> list[tuple[Shard, ShardReport | Exception]]:
        """Shards that were finished, or lost their worker, within `seconds`; also sees workers come up."""
        references = [*self.busy, *self._starting]
        if not references or self.idle:  # shards that wait out a pause need no longer one than theirs
            seconds /= 10
        if not references:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(references, num_returns=1, timeout=seconds)
        outcomes = []
        for reference in ready:
            if reference in self._starting:
                self._welcome(reference)
            else:
                outcomes.append(self._collect(reference))
        return outcomes

    def _welcome(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
            self.idle.append(actor)
            self._failed_starts = 0
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts > self._size + 2:
                raise EngineError(f"no worker can be started: {_one_line(error)}") from None

    def _collect(self, reference: Any) -> tuple[Shard, ShardReport | Exception]:
        actor, shard = self.busy.pop(reference)
        try:
            outcome: ShardReport | Exception = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor)
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise  # a bug of ours or of a component, with its traceback
            return shard, WorkerDied(f"its worker died ({_one_line(error)})")
        self.idle.append(actor)
        return shard, outcome


class ShardWorker:
    """The actor: holds the task, and with it the models, from shard to shard."""

    def __init__(self, task: ScanTask, threads: int) -> None:
        limit_threads(threads)
        self._task: ScanTask | None = task

    def ready(self) -> bool:
        """Answers as soon as the worker is up."""
        return True

    def take(self, task: ScanTask | None, threads: int) -> bool:
        """Go on with another task; with None, give up the models of the last and wait."""
        limit_threads(threads)
        self._task = task
        gc.collect()
        return True

    def write_to(self, store_root: str) -> None:
        """Commit to another store from now on: the same loaded models, columns of another place."""
        assert self._task is not None, "nothing was taken"
        self._task.store_root = store_root

    def run(self, shard: Shard) -> ShardReport | Exception:
        """The report; or the error, returned and not raised, so that it arrives as it was."""
        assert self._task is not None, "nothing was taken"
        try:
            return self._task.run(shard)
        except PairwrightError as error:
            return error


def share_of(nodes: Sequence[Mapping[str, float]], size: int, gpus: float, cores: float) -> tuple[int, float]:
    """How many workers there can be, and the cores of each, below one where workers outnumber cores.

    A worker with a GPU has all the cores there are to a GPU where it lies, since its threads decode for it.

    Args:
        nodes: CPU and GPU of each node that is alive.
        size: workers wanted.
        gpus: a worker; 0 for none.
        cores: the session's.

    Raises:
        EngineError: no node has that many GPUs.
    """
    if gpus:
        here = [node for node in nodes if node.get("GPU", 0.0) >= gpus]
        if not here:
            have = max([node.get("GPU", 0.0) for node in nodes], default=0.0)
            raise EngineError(f"a worker is to have {gpus:g} GPUs, no node has more than {have:g}; set device to cpu")
        places = [int(node["GPU"] / gpus) for node in here]
        size = min(size, sum(places))
        cpus = min(node.get("CPU", 1.0) / min(place, size) for node, place in zip(here, places, strict=True))
    else:
        cpus = min(cores / size, min([node["CPU"] for node in nodes if node.get("CPU")], default=1.0))
    return size, float(int(cpus)) if cpus >= 1 else cpus


def limit_threads(threads: int) -> None:
    """Keep the libraries of one worker to its share of the machine's CPUs."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(threads if threads > 1 else 0)  # 0: no thread pool at all
    pa.set_cpu_count(threads)
    torch = sys.modules.get("torch")  # imported later, it reads OMP_NUM_THREADS
    if torch is not None:
        torch.set_num_threads(threads)


def _one_line(error: Exception) -> str:
    """The first line of Ray's report that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "cause" in line.lower() or "killed" in line.lower() or "OOM" in line]
    return (telling or lines or [type(error).__name__])[0][:200]
