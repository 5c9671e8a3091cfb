"""Datasets with planted columns, without pictures: for tests of rules and selections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter


def view_of(
    root: Path,
    columns: Mapping[str, pa.Array],
    *,
    shards: int = 1,
    keys: Sequence[str] | None = None,
    components: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    labels: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    captions: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> ColumnsView:
    """A view whose `step.column`s are these arrays, split over shards; keys are "0", "1", ... unless given."""
    rows = len(next(iter(columns.values())))
    keys = list(keys) if keys is not None else [str(i) for i in range(rows)]
    dataset = _dataset(root, keys, shards, errors or {}, labels or {}, captions or {}, groups or {})
    store = ColumnStore(f"{root}/columns")
    by_step: dict[str, dict[str, pa.Array]] = {}
    for name, array in columns.items():
        step, _, column = name.partition(".")
        by_step.setdefault(step, {})[column] = array
    steps = {step: StepColumns((components or {}).get(step, step), f"digest-{step}") for step in by_step}
    start = 0
    for shard in dataset.shards:
        for step, arrays in by_step.items():
            part = {name: array.slice(start, shard.rows) for name, array in arrays.items()}
            store.write(steps[step], shard.digest, part, shard.rows)
        start += shard.rows
    return ColumnsView(dataset, store, steps)


def _dataset(
    root: Path, keys: Sequence[str], shards: int, errors: Any, labels: Any, captions: Any, groups: Any
) -> Dataset:
    per_shard = max(-(-len(keys) // shards), 1)
    with ShardWriter(f"{root}/data", "planted", pairs_per_shard=per_shard) as writer:
        for key in keys:
            texts = [caption(captions[key])] if key in captions else []
            options: dict[str, Any] = {"error": errors[key]} if key in errors else {}
            writer.add(key, [], texts, labels.get(key, ()), group=groups.get(key), **options)
    return replace(writer.dataset)
