"""The shard map: a task over many shards, one shard in hand per worker, on one machine or many.

Shared-nothing: a worker gets a shard's paths, reads its tar as a stream, commits its columns and
answers with a short report; no picture crosses Ray's object store. Because every shard's columns
are committed by themselves, a worker that dies costs the shard in its hand, and a map that dies is
taken up where it stopped by the same call.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairwright.components.engine.cluster import Session
from pairwright.components.engine.shard_workers import WorkerDied, Workers
from pairwright.components.errors import DataChanged, DatasetError, EngineError

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
        with Workers(task, session, min(wanted, len(mapped.waiting)), gpus_per_worker) as pool:
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

    def run(self, pool: Workers) -> None:
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

    def _hand_out(self, pool: Workers) -> None:
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
