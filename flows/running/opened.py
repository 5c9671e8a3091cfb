"""A run that ended, opened again: the dataset it saw and the view of the columns it made."""

from __future__ import annotations

from typing import Any

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.environment import Environment
from pairwright.flows.running.runs import as_it_was


def opened(record: dict[str, Any], environment: Environment) -> tuple[Dataset, ColumnsView]:
    """A run's dataset (of a sample, the shards it saw) and the view of its columns.

    Raises:
        DatasetError: the dataset is not where it was.
    """
    dataset = as_it_was(open_dataset(record["dataset"]["root"]), record["dataset"]["digest"])
    steps = {name: StepColumns(**where) for name, where in record["columns"].items()}
    return dataset, ColumnsView(dataset, ColumnStore(environment.columns_root), steps)
