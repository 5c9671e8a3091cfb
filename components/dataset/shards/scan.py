"""The scan: one pass over a shard fills every missing column of it.

    task = ScanTask(jobs, store_root="workspace/columns")
    reports = run_local(task, dataset.shards)            # or pairwright.components.engine.shard_map on a cluster

The tar is read once, front to back, and each picture is decoded once, for all scorers and captioners
together; a pass whose components need no picture never opens the tar. A job already committed for a
shard is skipped, so a pass that was killed goes on where it stopped. What a shard's columns are
depends on that shard, the jobs and their settings alone.

Every column file holds the component's columns and `_error`: null, or why this row has no value
("decode:truncated", "duplicate_key", "ValueError: ..."). A caption or an input column that is
missing is no error: the row is null and `_error` is null.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pairwright.components.component import Component
from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
from pairwright.components.dataset.shards.read_ahead import in_background
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.dataset.shards.scoring import JobRun, as_list
from pairwright.components.dataset.shards.spared import Seen
from pairwright.components.errors import ColumnError, InvalidRecipe, nearest
from pairwright.components.registry import load_class

__all__ = ["ColumnJob", "ScanTask", "ShardReport", "read_pairs", "run_local"]

CAPTION_TEXT = "text"
COMMITS_AT_ONCE = 2  # each holds buffers that grow with the shard
# In front of a GPU: as many pairs at once as keep it busy, halved where its memory does not hold them. Three batches
# and a half are held at most: one scored, one ready, one being closed, and half a one decoded ahead.
GPU_BATCH, GPU_BATCH_BYTES = 512, 256 << 20


@dataclass(frozen=True)
class ColumnJob:
    """A step that makes columns pair by pair.

    Attributes:
        step: its name in the recipe; later jobs read its columns as `step.column`, and a captioner's
            captions under this name as their source.
        kind: "scorer" or "captioner".
        uses: the component's registered name.
        settings: its settings as plain JSON, model folders resolved.
        columns: where its columns are committed.
        module: the module that registers the component; if "", every known module is imported to
            find it, which costs a worker seconds (`ScanTask.pinned` fills it in).
    """

    step: str
    kind: str
    uses: str
    settings: Mapping[str, Any]
    columns: StepColumns
    module: str = ""

    def component(self) -> Component:
        """The component, without its weights.

        Raises:
            UnknownComponent, InvalidRecipe: no such component, or settings it refuses.
        """
        cls = load_class(self.kind, self.uses, self.module)
        return cls(cls.settings_model().parse(self.settings, where=f"step {self.step}"))


@dataclass(frozen=True)
class ShardReport:
    """What one pass over one shard did.

    Attributes:
        failed: step -> rows whose `_error` is set, of the steps computed.
        seconds: wall-clock of the pass; step_seconds: of each step alone, loading its model excluded.
        cpu_seconds: of the worker's process, all its threads, during the pass.
        decoded: pictures decoded.
        computed: the steps whose columns this pass committed; the others were there already.
        spared: pairs the pass did not look at, because an earlier rule had dropped them.
        raised: step -> pairs its component raised on, where there were any; first_raised: the first traceback.
        halved: step -> pairs at once that memory holds, where it did not hold a batch.
    """

    shard_digest: str
    rows: int
    failed: dict[str, int]
    seconds: float
    decoded: int
    computed: tuple[str, ...]
    shard: str = ""
    step_seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    spared: int = 0
    raised: dict[str, int] = field(default_factory=dict)
    first_raised: dict[str, str] = field(default_factory=dict)
    halved: dict[str, int] = field(default_factory=dict)


@dataclass
class ScanTask:
    """Jobs, in topological order, and where everything they read and write is. Picklable.

    Attributes:
        store_root: root of the column store.
        captions: captions made by earlier steps, source -> where its `text` is.
        inputs: steps outside this task whose columns jobs may ask for.
        batch_size: pairs a batch.
        batch_bytes: decoded pixels a batch, in bytes; 0 means reading.BATCH_BYTES.
        decode_threads: above 1, batches are read, decoded and made ahead of the scorers (wanted with a GPU, see
            `for_gpu`; on a machine whose every core has a worker it only adds switching).
        device: "cpu" or "cuda:0", given to `setup`.
        spared: where a column says which pairs no job of this task sees (components/dataset/shards/spared.py).
        min_pixels: pictures are decoded at least this large, whatever the jobs ask for, so that they see
            what they would have seen in a pass with jobs that ask for more.
    """

    jobs: Sequence[ColumnJob]
    store_root: str
    captions: Mapping[str, StepColumns] = field(default_factory=dict)
    inputs: Mapping[str, StepColumns] = field(default_factory=dict)
    batch_size: int = 64
    batch_bytes: int = 0
    decode_threads: int = 1
    device: str = "cpu"
    spared: StepColumns | None = None
    min_pixels: int = 0
    _components: dict[str, Component] = field(default_factory=dict, init=False, repr=False, compare=False)
    _loaded: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    _most: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)  # pairs that fit

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_components": {}, "_loaded": set()}  # weights never travel

    @property
    def store(self) -> ColumnStore:
        return ColumnStore(self.store_root)

    def setup(self) -> None:
        """Make every component and check what it asks for, loading no weights.

        Raises:
            InvalidRecipe, UnknownComponent: a component, setting or input that cannot be right.
        """
        earlier: list[str] = [*self.inputs, *self.captions]
        for job in self.jobs:
            if job.kind not in ("scorer", "captioner"):
                raise InvalidRecipe(f"step {job.step} is a {job.kind}; only scorers and captioners scan shards")
            for name in self._component(job).column_names():
                step = name.partition(".")[0]
                if step not in earlier:
                    raise InvalidRecipe(
                        f'step {job.step} reads "{name}", which no earlier step makes{nearest(step, earlier)}'
                    )
            earlier.append(job.step)

    def pinned(self) -> ScanTask:
        """This task with each job's module named, so that a worker imports nothing it does not run."""
        jobs = [replace(job, module=type(self._component(job)).__module__) for job in self.jobs]
        return replace(self, jobs=jobs)

    def for_gpu(self, threads: int) -> ScanTask:
        """This task for a worker with a GPU and `threads` cores: the same columns, larger batches, read ahead."""
        return replace(self, decode_threads=threads, batch_size=GPU_BATCH, batch_bytes=GPU_BATCH_BYTES)

    def missing(self, shard: Shard) -> list[ColumnJob]:
        """The jobs this shard has no committed columns of."""
        return [job for job in self.jobs if not self.store.has(job.columns, shard.digest)]

    def run(self, shard: Shard) -> ShardReport:
        """Make and commit every missing column of one shard.

        Raises:
            DatasetError: the shard cannot be read.
            WorkspaceError: the columns cannot be written.
            PairwrightError: a component says that the run must stop (a bad model, a budget spent).
        """
        started, cpu = time.perf_counter(), time.process_time()
        jobs = self.missing(shard)
        if not jobs:
            return ShardReport(shard.digest, shard.rows, {}, time.perf_counter() - started, 0, (), shard.name)
        seen = Seen.of(self.store, self.spared, shard) if self.spared else None
        nothing = seen is not None and not len(seen.rows)  # then no weights are loaded, either
        components = [self._component(job) if nothing else self._ready(job) for job in jobs]
        runs = [
            JobRun(job.step, one, shard, self._most, self.batch_size) for job, one in zip(jobs, components, strict=True)
        ]
        decoded = 0 if nothing else self._scan(shard, runs, seen)
        self._commit(shard, jobs, runs, seen)
        return ShardReport(
            shard.digest,
            shard.rows,
            {one.step: one.failed for one in runs},
            time.perf_counter() - started,
            decoded,
            tuple(job.step for job in jobs),
            shard.name,
            {one.step: one.seconds for one in runs},
            time.process_time() - cpu,
            seen.spared if seen else 0,
            {one.step: one.raised for one in runs if one.raised},
            {one.step: one.first for one in runs if one.first},
            {one.step: self._most[one.step] for one in runs if one.step in self._most},
        )

    def _commit(self, shard: Shard, jobs: Sequence[ColumnJob], runs: Sequence[JobRun], seen: Seen | None) -> None:
        spared = seen.spared if seen else 0

        def write(job: ColumnJob, one: JobRun) -> None:
            columns = seen.spread(one.columns()) if seen else one.columns()
            facts = {"seconds": round(one.seconds, 6), "pairs": shard.rows - spared, "spared": spared}
            facts |= one.component.made_by
            self.store.write(job.columns, shard.digest, columns, shard.rows, facts)

        # Side by side, because a commit waits for the disk or the object store, not for a CPU.
        with ThreadPoolExecutor(COMMITS_AT_ONCE) as pool:
            for _ in pool.map(write, jobs, runs):
                pass

    def _scan(self, shard: Shard, runs: list[JobRun], seen: Seen | None) -> int:
        """Feed every batch of the shard to every run; returns how many pictures were decoded."""
        # The size is that of all jobs, committed or not: a pass resumed after a kill must see the
        # very pixels the first one saw, or the same digest would name different columns.
        pixels = max((self._component(job).pixels for job in self.jobs), default=0)
        pixels = max(pixels, self.min_pixels) if pixels else 0
        pixels = pixels if any(one.component.pixels for one in runs) else 0
        raw = any(one.component.requires.raw for one in runs)
        frames = any(one.component.requires.frames for one in runs)
        stored = _Stored(self, shard, runs, seen)
        # Texts are small: a step that waits for a server is given all it would like, and has more of them in flight.
        wanted = 0 if pixels or raw or frames else max(one.component.at_once for one in runs)
        batches = read_pairs(
            shard,
            pixels=pixels,
            raw=raw,
            frames=frames,
            batch_size=max(self.batch_size, wanted),
            rows=seen.rows if seen else None,
            decode_threads=self.decode_threads,
            batch_bytes=self.batch_bytes,
        )
        if self.decode_threads > 1:
            batches = in_background(batches)
        decoded = at = 0
        with closing(batches):
            for batch in batches:
                decoded += sum(image is not None for image in batch.images)
                self._score(batch, runs, stored, at)
                at += len(batch)
        return decoded

    def _score(self, batch: PairBatch, runs: list[JobRun], stored: _Stored, start: int) -> None:
        """Feed one batch, which begins at row `start` of those seen, to every run."""
        size = len(batch)
        batch.extra_captions = {source: as_list(a.slice(start, size)) for source, a in stored.captions.items()}
        batch.columns = {name: as_list(a.slice(start, size)) for name, a in stored.columns.items()}
        shared: dict[tuple[int, ...], PairBatch] = {}
        for one in runs:
            made = one.feed(batch, shared)
            for name in stored.wanted_of(one.step):
                batch.columns[name] = as_list(_column(made, name))
            if one.component.kind == "captioner":
                batch.extra_captions[one.step] = as_list(made[CAPTION_TEXT])

    def _component(self, job: ColumnJob) -> Component:
        if job.step not in self._components:
            self._components[job.step] = job.component()
        return self._components[job.step]

    def _ready(self, job: ColumnJob) -> Component:
        """The component with its weights loaded, once a worker, and only when a shard needs it."""
        component = self._component(job)
        if job.step not in self._loaded:
            component.setup(self.device)
            self._loaded.add(job.step)
        return component


class _Stored:
    """What the missing jobs of a shard read from the store, and which columns they read from each other.

    Stored columns hold the rows the pass sees, in their order.
    """

    def __init__(self, task: ScanTask, shard: Shard, runs: list[JobRun], seen: Seen | None) -> None:
        self._rows = None if seen is None else pa.array(seen.rows)
        running = {one.step for one in runs}
        done = {job.step: job for job in task.jobs if job.step not in running}
        sources = dict(task.captions) | {step: job.columns for step, job in done.items() if job.kind == "captioner"}
        asked = {source for one in runs for source in one.component.caption_sources()}
        self.captions = {
            source: self._read(task, shard, place, CAPTION_TEXT) for source, place in sources.items() if source in asked
        }
        wanted = {name for one in runs for name in one.component.column_names()}
        self._own = {name for name in wanted if name.partition(".")[0] in running}
        places = {**task.captions, **task.inputs} | {step: job.columns for step, job in done.items()}
        self.columns: dict[str, pa.Array] = {}
        for name in sorted(wanted - self._own):
            step, _, column = name.partition(".")
            if step not in places:
                raise ColumnError(f'"{name}" is asked for, but no step makes it{nearest(step, places)}')
            self.columns[name] = self._read(task, shard, places[step], column)

    def wanted_of(self, step: str) -> list[str]:
        return [name for name in self._own if name.partition(".")[0] == step]

    def _read(self, task: ScanTask, shard: Shard, place: StepColumns, column: str) -> pa.Array:
        chunked = task.store.read(place, shard, [column])[column]
        array = pa.concat_arrays(chunked.chunks) if chunked.chunks else pa.array([], chunked.type)
        return array if self._rows is None else array.take(self._rows)


def _column(made: Mapping[str, pa.Array], name: str) -> pa.Array:
    step, _, column = name.partition(".")
    if column not in made:
        raise ColumnError(f'step {step} makes no column "{column}"{nearest(column, made)}')
    return made[column]


def run_local(
    task: ScanTask, shards: Iterable[Shard], on_report: Callable[[ShardReport], None] | None = None
) -> list[ShardReport]:
    """The task over the shards, one after the other in this process: for notebooks and small data."""
    reports = []
    for shard in shards:
        reports.append(task.run(shard))
        if on_report is not None:
            on_report(reports[-1])
    return reports
