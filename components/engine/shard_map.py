"""The shard map: a task over many shards, one shard in hand per worker, on one machine or many.

Shared-nothing: a worker gets a shard's paths, reads its tar as a stream, commits its columns and
answers with a short report; no picture crosses Ray's object store. Because every shard's columns
are committed by themselves, a worker that dies costs the shard in its hand, and a map that dies is
taken up where it stopped by the same call.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairwright.components.engine.cluster import Session, import_ray
from pairwright.components.errors import DataChanged, DatasetError, EngineError, PairwrightError

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Shard
    from pairwright.components.dataset.shards.scan import ScanTask, ShardReport

WAIT_SECONDS = 1.0  # between looks at shards that wait for another try
BACKOFF_SECONDS = 0.5  # doubled with each try of one shard, with jitter


@dataclass(frozen=True)
class Progress:
    """Where the map stands after one more shard.

    Attributes:
        done, total: shards, those found finished included.
        rows: pairs of the shards done in this call.
        failed: values that have a reason instead, over all steps, in this call.
        seconds: since the call began.
        rate: pairs a second, counted from the first shard handed out.
        eta: seconds to go at that rate; None before there is one.
        report: the shard just done; None at the start, when finished shards were counted.
    """

    done: int
    total: int
    rows: int
    failed: int
    seconds: float
    rate: float
    eta: float | None
    report: ShardReport | None


def map_shards(
    task: ScanTask,
    shards: Sequence[Shard],
    session: Session,
    *,
    workers: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    max_restarts: int = 3,
    gpus_per_worker: float = 0,
) -> list[ShardReport]:
    """Make every missing column of every shard; reports in the order of `shards`.

    Ray starts only if something is missing.

    Args:
        workers: at most this many at once; 0 means the session's, or one a CPU.
        max_restarts: a shard that costs this many workers, or cannot be read this many times, is given up.

    Raises:
        EngineError: a shard was given up; every other shard was finished first.
        DataChanged: a shard is not what was indexed; every other shard was finished first.
        PairwrightError: a cause the user can mend (a bad model, a full disk); running shards are left.
    """
    task = task.pinned()
    task.setup()
    mapped = _Map(task, shards, on_progress, max_restarts)
    mapped.count_finished()
    if mapped.waiting:
        session.ensure()
        wanted = workers or session.workers or session.cpus()
        with _Workers(task, session, min(wanted, len(mapped.waiting)), gpus_per_worker) as pool:
            mapped.run(pool)
    return mapped.reports()


class _Map:
    """The shards to do, those being done, and what is known of each."""

    def __init__(
        self,
        task: ScanTask,
        shards: Sequence[Shard],
        on_progress: Callable[[Progress], None] | None,
        max_restarts: int,
    ) -> None:
        self._task = task
        self._shards = list(shards)
        self._on_progress = on_progress
        self._max_restarts = max_restarts
        self._done: dict[str, ShardReport] = {}
        self._attempts: dict[str, int] = {}
        self._given_up: dict[str, str] = {}
        self._changed: dict[str, str] = {}
        self._began = time.monotonic()
        self._first_handed_out: float | None = None
        self._rows = self._rows_left = self._failed = 0
        self.waiting: deque[tuple[float, Shard]] = deque()  # (not before this time, shard)

    def count_finished(self) -> None:
        """Report the shards that need nothing; queue the others."""
        from pairwright.components.dataset.shards.scan import ShardReport

        # A look at object storage is a round trip; sixteen at once make ten thousand of them bearable.
        with ThreadPoolExecutor(16) as pool:
            missing = list(pool.map(self._task.missing, self._shards))
        for shard, jobs in zip(self._shards, missing, strict=True):
            if jobs:
                self.waiting.append((0.0, shard))
                self._rows_left += shard.rows
            else:
                self._done[shard.digest] = ShardReport(shard.digest, shard.rows, {}, 0.0, 0, (), shard.name)
        self._tell(None)

    def run(self, pool: _Workers) -> None:
        while self.waiting or pool.busy:
            pool.grow(len(self.waiting))
            self._hand_out(pool)
            for shard, outcome in pool.finished(WAIT_SECONDS):
                self._settle(shard, outcome)
        if self._changed:
            first, *more = (why for _, why in sorted(self._changed.items()))
            said = f"; of {len(more)} more shards the same is true" if more else ""
            others = f"; the other {len(self._done)} shards are finished" if self._done else ""
            raise DataChanged(f"{first}{said}{others}")
        if self._given_up:
            names = "; ".join(f"shard {name}: {why}" for name, why in sorted(self._given_up.items()))
            raise EngineError(
                f"{names}; given up after {self._max_restarts} tries, the other {len(self._done)} shards are "
                "finished; mend or leave out what is named and run the same command"
            )

    def _hand_out(self, pool: _Workers) -> None:
        now = time.monotonic()
        for _ in range(len(self.waiting)):
            if not pool.idle:
                return
            not_before, shard = self.waiting.popleft()
            if not_before > now:
                self.waiting.append((not_before, shard))
                continue
            if self._first_handed_out is None:
                self._first_handed_out = now
            pool.give(shard)

    def _settle(self, shard: Shard, outcome: ShardReport | Exception) -> None:
        if not isinstance(outcome, Exception):
            self._done[shard.digest] = outcome
            self._rows += shard.rows
            self._rows_left -= shard.rows
            self._failed += sum(outcome.failed.values())
            self._tell(outcome)
        elif isinstance(outcome, DataChanged):  # nothing that another try mends
            self._changed[shard.name] = str(outcome)
            self._rows_left -= shard.rows
        elif isinstance(outcome, (WorkerDied, DatasetError)):  # storage, too, may answer next time
            self._try_again(shard, outcome)
        else:
            raise outcome

    def _try_again(self, shard: Shard, why: Exception) -> None:
        tries = self._attempts[shard.digest] = self._attempts.get(shard.digest, 0) + 1
        if tries >= self._max_restarts:
            self._given_up[shard.name] = str(why)
            self._rows_left -= shard.rows
            return
        delay = BACKOFF_SECONDS * 2 ** (tries - 1) * (0.5 + random.random())
        self.waiting.append((time.monotonic() + delay, shard))

    def _tell(self, report: ShardReport | None) -> None:
        if self._on_progress is None:
            return
        now = time.monotonic()
        working = now - self._first_handed_out if self._first_handed_out is not None else 0.0
        rate = self._rows / working if working > 0 else 0.0
        eta = self._rows_left / rate if rate > 0 else None
        done, total = len(self._done), len(self._shards)
        self._on_progress(Progress(done, total, self._rows, self._failed, now - self._began, rate, eta, report))

    def reports(self) -> list[ShardReport]:
        return [self._done[shard.digest] for shard in self._shards]


class WorkerDied(EngineError):
    """A worker process ended with a shard in its hand."""


class _Workers:
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
        self._threads = max(1, int(cpus))
        self._task = self._ray.put(task.for_gpu(self._threads) if gpus else task)
        self._failed_starts = 0
        self._starting: dict[Any, Any] = {}  # the answer of `ready` -> the actor
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Shard]] = {}

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *exception: Any) -> None:
        for actor in [*self.idle, *self._starting.values(), *(actor for actor, _ in self.busy.values())]:
            self._ray.kill(actor)

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
        self._task = task

    def ready(self) -> bool:
        """Answers as soon as the worker is up."""
        return True

    def write_to(self, store_root: str) -> None:
        """Commit to another store from now on: the same loaded models, columns of another place."""
        self._task.store_root = store_root

    def run(self, shard: Shard) -> ShardReport | Exception:
        """The report; or the error, returned and not raised, so that it arrives as it was."""
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
