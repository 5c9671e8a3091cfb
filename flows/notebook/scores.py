"""One scorer on one dataset, from Python: the columns that `pairwright score` and runs make, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pairwright.components.dataset.shards.columns import ERROR
from pairwright.components.environment import Environment, silence
from pairwright.flows.notebook.pairs import Pairs, open_dataset
from pairwright.flows.scoring import score_dataset
from pairwright.flows.terminal.console import Console


def score(
    dataset: Pairs | str,
    scorer: str,
    *,
    limit: int | None = None,
    workspace: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> pa.Table:
    """Score every pair of a dataset: `key`, the scorer's columns, and `_error` where a pair could not be scored.

        score("data/raw", "alignment", model="models:/pairwright@champion")["score"]

    What a run or an earlier call made with the same settings is read and not made again.

    Args:
        limit: only this many shards.
        settings: the scorer's own (`pairwright explain SCORER` lists them).

    Raises:
        InvalidRecipe: an unknown scorer or setting.
        ModelError: a model reference that does not resolve.
    """
    silence()
    data = (open_dataset(dataset) if isinstance(dataset, str) else dataset).dataset.limited(limit)
    said = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    scored = score_dataset(data, scorer, said, Environment.load(workspace=workspace), Console(quiet))
    columns = {"key": scored.view.sidecar(["key"])["key"]}
    for name in (*scored.step.schema(), ERROR):
        columns[name] = scored.view.column(f"{scorer}.{name}")
    return pa.table(columns)
