"""One component over one shard, batch by batch: who is scored, what went wrong, and the columns.

A component sees only the pairs it can work with. When it raises, the batch is tried pair by pair, so
that one bad pair costs itself alone; when memory runs out, in halves.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.component import Caption, Captioner, Component, Scorer
from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ERROR, to_arrow, to_numpy
from pairwright.components.dataset.shards.reading import NO_FRAMES
from pairwright.components.errors import ColumnError, ComponentFailed, PairwrightError
from pairwright.components.finite import finite_rows

CAPTION_COLUMNS: Mapping[str, pa.DataType] = {name: pa.string() for name in ("text", "lang", "note", "status")}
ERROR_CHARS = 200
MANY = 10  # a component that raises on all of this many pairs is broken, not the pairs


class JobRun:
    """A component's pass over one shard.

    Attributes:
        failed: rows whose `_error` is set so far.
        tried, raised: pairs the component was given, and of those the pairs it raised on.
        first: the traceback of the first pair it raised on.
        seconds: spent in the component.
        most: step -> pairs at once that memory holds, once it did not hold a batch; kept from shard to shard.
    """

    def __init__(self, step: str, component: Component, shard: Shard, most: dict[str, int], batch_size: int) -> None:
        self.step = step
        self.component = component
        self.at_once = max(batch_size, component.at_once)
        self.most = most
        self.schema = CAPTION_COLUMNS if isinstance(component, Captioner) else _scorer_schema(component)
        self.failed = self.tried = self.raised = 0
        self.first: str | None = None
        self.seconds = 0.0
        self._parts: dict[str, list[pa.Array]] = {name: [] for name in (*self.schema, ERROR)}
        self._sources = list(component.needed_sources())
        self._names = component.column_names()

    def feed(self, batch: PairBatch, shared: dict[tuple[int, ...], PairBatch]) -> dict[str, pa.Array]:
        """Score one batch; returns this component's columns of it, each of length `len(batch)`.

        Args:
            shared: sub-batches already cut from this batch, by positions; components that see the same
                pairs get the same one, and so share its squares.
        """
        which, errors = self._eligible(batch)
        everyone = len(which) == len(batch)
        made: dict[str, pa.Array] = {}
        if which:
            part = batch
            if not everyone:
                positions = tuple(which)
                if positions not in shared:
                    shared[positions] = batch.take(which)
                part = shared[positions]
                part.extra_captions = {s: [v[i] for i in which] for s, v in batch.extra_captions.items()}
                part.columns = {name: [values[i] for i in which] for name, values in batch.columns.items()}
            started = time.perf_counter()
            made, own_errors = self._in_parts(part, self.most.get(self.step, self.at_once))
            self.seconds += time.perf_counter() - started
            self.tried += len(which)
            self.raised += sum(error is not None for error in own_errors)
            for position, error in zip(which, own_errors, strict=True):
                errors[position] = error
        columns = self._spread(made, which, len(batch))
        columns[ERROR] = pa.array(errors, pa.string())
        self.failed += len(batch) - columns[ERROR].null_count
        for name, array in columns.items():
            self._parts[name].append(array)
        return columns

    def columns(self) -> dict[str, pa.Array]:
        """The whole shard's columns, `_error` last.

        Raises:
            ComponentFailed: it raised on every one of MANY pairs or more: not a bad pair, but a bad component.
        """
        if self.tried >= MANY and self.raised == self.tried:
            raise ComponentFailed(
                f"step {self.step}: {self.component.kind} {self.component.name} "
                f"({type(self.component).__module__}) raised on all {self.tried} pairs it was given; the first time:\n"
                f"{self.first}"
            )
        kinds = {**self.schema, ERROR: pa.string()}
        return {n: pa.concat_arrays(parts) if parts else pa.array([], kinds[n]) for n, parts in self._parts.items()}

    def _eligible(self, batch: PairBatch) -> tuple[list[int], list[str | None]]:
        """Positions of the pairs the component gets, and the errors of those it does not."""
        every: list[str | None] = [row["error"] for row in batch.sidecar]
        alive = [i for i, error in enumerate(every) if error is None]
        if getattr(self.component, "sees_failures", False):
            return alive, every
        if self.component.pixels or self.component.requires.raw:
            opened = batch.images if self.component.pixels else batch.raw
            for i in alive:
                if opened[i] is None:
                    every[i] = batch.errors[i]
            alive = [i for i in alive if every[i] is None]
        if self.component.requires.frames:
            every = [error if error or batch.frames[i] else NO_FRAMES for i, error in enumerate(every)]
            alive = [i for i in alive if every[i] is None]
        for source in self._sources:
            texts = batch.captions(source)
            alive = [i for i in alive if texts[i] is not None]
        for name in self._names:
            values = batch.columns[name]
            alive = [i for i in alive if values[i] is not None]
        return alive, every

    def _attempt(self, batch: PairBatch) -> tuple[dict[str, pa.Array], list[str | None]]:
        """The component's columns of a batch, and an error for each pair that made it raise."""
        try:
            return _finite(self._columns_of(batch), len(batch))
        except PairwrightError:
            raise  # a cause the user can mend; committing it as rows that failed would hide it
        except Exception as error:
            out_of_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
            reason = _reason(error)
            if len(batch) == 1 and self.first is None:
                self.first = "".join(traceback.format_exception(error.with_traceback(_own_frames(error))))
        # Outside the handler, so that the traceback no longer holds the failed attempt's tensors.
        if len(batch) == 1:
            return {name: pa.nulls(1, kind) for name, kind in self.schema.items()}, [reason]
        if out_of_memory:
            _free_device_memory()
        size = -(-len(batch) // 2) if out_of_memory else 1
        columns, errors = self._in_parts(batch, size)
        if out_of_memory and not any(errors):  # else one pair alone is too large, and the others need not suffer
            self.most[self.step] = min(size, self.most.get(self.step, size))
        return columns, errors

    def _in_parts(self, batch: PairBatch, size: int) -> tuple[dict[str, pa.Array], list[str | None]]:
        """A batch's columns and errors, tried `size` pairs at a time."""
        if len(batch) <= size:
            return self._attempt(batch)
        parts = [
            self._attempt(batch.take(range(start, min(start + size, len(batch)))))
            for start in range(0, len(batch), size)
        ]
        columns = {name: pa.concat_arrays([made[name] for made, _ in parts]) for name in self.schema}
        return columns, [error for _, errors in parts for error in errors]

    def _columns_of(self, batch: PairBatch) -> dict[str, pa.Array]:
        if isinstance(self.component, Captioner):
            values = _caption_values(self.component.caption(batch))
        else:
            assert isinstance(self.component, Scorer)
            values = dict(self.component.score(batch))
        if values.keys() != self.schema.keys():
            raise ColumnError(
                f"{self.component.kind} {self.component.name} returned columns {sorted(values)}, "
                f"it declares {sorted(self.schema)}; mend the component"
            )
        columns = {name: to_arrow(values[name], kind) for name, kind in self.schema.items()}
        for name, array in columns.items():
            if len(array) != len(batch):
                raise ColumnError(
                    f"{self.component.kind} {self.component.name} returned {len(array)} values of {name} "
                    f"for {len(batch)} pairs; mend the component"
                )
        return columns

    def _spread(self, made: dict[str, pa.Array], which: Sequence[int], size: int) -> dict[str, pa.Array]:
        """Values of the pairs at `which` as columns of length `size`, null elsewhere."""
        if not made:
            return {name: pa.nulls(size, kind) for name, kind in self.schema.items()}
        if len(which) == size:
            return dict(made)
        index: list[int | None] = [None] * size
        for position, i in enumerate(which):
            index[i] = position
        indices = pa.array(index, pa.int64())
        return {name: array.take(indices) for name, array in made.items()}


def as_list(array: pa.Array) -> list[Any]:
    """Values for a batch: numbers, strings or, for embeddings, (d,) numpy rows; None where null."""
    if not pa.types.is_fixed_size_list(array.type):
        return list(array.to_pylist())
    valid = array.is_valid().to_pylist()
    return [row if ok else None for row, ok in zip(to_numpy(pa.chunked_array([array])), valid)]


def _scorer_schema(component: Component) -> Mapping[str, pa.DataType]:
    assert isinstance(component, Scorer)
    return dict(component.schema())


def _caption_values(captions: Sequence[Caption | None]) -> dict[str, list[str | None]]:
    return {name: [getattr(one, name) if one else None for one in captions] for name in CAPTION_COLUMNS}


def _finite(columns: dict[str, pa.Array], size: int) -> tuple[dict[str, pa.Array], list[str | None]]:
    """The columns without what is not finite, and a reason for each pair that had such a value.

    A number that is NaN is a component's way to say that there is none, and becomes null; an infinite one,
    or a vector with either, is a fault. In SQL NaN is greater than every threshold, and would be kept.
    """
    errors: list[str | None] = [None] * size
    for name, array in columns.items():
        if pa.types.is_floating(array.type):
            values = array.to_numpy(zero_copy_only=False)
            bad = array.is_valid().to_numpy(zero_copy_only=False) & ~np.isfinite(values)
            faults = np.flatnonzero(bad & np.isinf(values))
        elif pa.types.is_fixed_size_list(array.type) and pa.types.is_floating(array.type.value_type):
            bad = array.is_valid().to_numpy(zero_copy_only=False) & ~finite_rows(to_numpy(pa.chunked_array([array])))
            faults = np.flatnonzero(bad)
        else:
            continue
        if bad.any():
            columns[name] = pc.if_else(pa.array(bad), pa.scalar(None, array.type), array)
        for row in faults:
            errors[row] = errors[row] or f"not_finite:{name}"
    return columns, errors


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:ERROR_CHARS].rstrip(": ")


def _own_frames(error: Exception) -> TracebackType | None:
    """The traceback from the component on, without our frames around it."""
    here = error.__traceback__
    while here is not None and here.tb_frame.f_globals.get("__name__") == __name__:
        here = here.tb_next
    return here


def _free_device_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
