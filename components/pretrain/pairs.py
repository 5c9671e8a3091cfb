"""The pairs a run trains on, in one canonical order: shard by shard, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Dataset, Shard, open_dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.errors import DatasetError
from pairwright.components.pretrain.config import TrainConfig


@dataclass(frozen=True)
class TrainingPairs:
    """Which rows of which shards; `rows[i]` int64, ascending, belongs to `view.dataset.shards[i]`."""

    view: ColumnsView
    rows: tuple[np.ndarray, ...]

    def __iter__(self) -> Iterator[tuple[Shard, np.ndarray]]:
        yield from zip(self.view.dataset.shards, self.rows, strict=True)


def open_pairs(config: TrainConfig) -> TrainingPairs:
    """The configuration's dataset, columns and kept rows.

    Raises:
        DatasetError: a shard or the list of kept pairs is gone, or a row is not in its shard.
    """
    whole = open_dataset(config.dataset)
    dataset: Dataset = replace(whole, shards=tuple(whole.shard_by_digest(digest) for digest in config.shards))
    steps = {name: StepColumns(place.component, place.digest) for name, place in config.steps.items()}
    view = ColumnsView(dataset, ColumnStore(config.store_root), steps)
    if config.pairs is None:
        return TrainingPairs(view, tuple(np.arange(shard.rows) for shard in dataset.shards))
    try:
        table = pq.read_table(config.pairs, columns=["shard", "row"])
    except (OSError, ValueError) as error:
        raise DatasetError(f"{config.pairs} cannot be read ({error}); run the recipe again to select anew") from None
    shards, rows = table["shard"].to_numpy(zero_copy_only=False), table["row"].to_numpy().astype(np.int64)
    chosen = []
    for shard in dataset.shards:
        mine = np.sort(rows[shards == shard.digest])
        if len(mine) and mine[-1] >= shard.rows:
            raise DatasetError(f"{config.pairs} names row {mine[-1]} of {shard.name}, which has {shard.rows} rows")
        chosen.append(mine)
    return TrainingPairs(view, tuple(chosen))
