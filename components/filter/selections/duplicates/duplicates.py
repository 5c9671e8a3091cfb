"""What both duplicate selections share: who takes part, who is the better copy, and the columns.

The better copy of a picture is the one with the better caption: pairs are ordered by their quality
columns, highest first, then by key, so the result does not depend on the order of the shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.component import Selection
from pairwright.components.dataset.groups import held_out
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.rules.expression import PAIR, Rule, referenced
from pairwright.components.filter.rules.rules import judge
from pairwright.components.settings import Settings

COLUMNS: Mapping[str, pa.DataType] = {
    "drop": pa.bool_(),
    "of": pa.string(),
    "distance": pa.int32(),
    "group": pa.int64(),
}


class DuplicateSettings(Settings):
    """Settings of a duplicate selection.

    Attributes:
        quality: columns that order the copies, the first one first; the highest value is kept.
        among: keep-rules; only pairs that pass them take part, so that nothing is dropped in favour
            of a pair that is dropped itself.
    """

    quality: list[str] = ["caption_text.quality"]
    among: dict[str, str] = {}


def participants(view: ColumnsView, among: Mapping[str, str]) -> np.ndarray:
    """(rows,) bool: the pairs that pass these rules, have a good sidecar row and are not held out for evaluation."""
    if not among:
        good = pc.is_null(view.sidecar(["error"])["error"]).to_numpy(zero_copy_only=False).astype(bool)
        return np.asarray(good & ~held_out(view), bool)
    with judge(view, [Rule(name, expression) for name, expression in among.items()]) as judgement:
        return np.asarray(judgement.kept() & ~held_out(view), bool)


def quality_order(view: ColumnsView, quality: Sequence[str], keys: pa.ChunkedArray) -> np.ndarray:
    """Row positions, best copy first: (rows,) int64. A missing value is worse than any."""
    columns = {f"q{i}": pc.fill_null(view.column(name).cast(pa.float64()), -np.inf) for i, name in enumerate(quality)}
    table = pa.table(columns | {"key": keys})
    order: list[tuple[str, Any]] = [(f"q{i}", "descending") for i in range(len(quality))]
    ordered: np.ndarray = pc.sort_indices(table, [*order, ("key", "ascending")]).to_numpy().astype(np.int64)
    return ordered


def duplicate_columns(
    keys: pa.ChunkedArray, original: np.ndarray, distance: np.ndarray, group: np.ndarray, judged: np.ndarray
) -> dict[str, pa.Array]:
    """The columns of a duplicate selection.

    Args:
        original: (rows,) the kept row each row repeats, or -1.
        distance: (rows,) bits from it; of dropped rows.
        group: (rows,) smallest row of its group; `judged`: (rows,) False where nothing can be said.
    """
    dropped = original >= 0
    absent = ~judged
    originals = pa.array(original, pa.int64(), mask=~dropped)
    return {
        "drop": pa.array(dropped, pa.bool_(), mask=absent),
        "of": keys.take(originals).combine_chunks(),
        "distance": pa.array(distance, pa.int32(), mask=~dropped),
        "group": pa.array(group, pa.int64(), mask=absent),
    }


def first_of_equals(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For each row the best row with the same label, or -1 if it is the best itself (or ALONE).

    Args:
        labels: (rows,) integers, negative for rows that equal nobody; order: row positions, best first.
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    best = np.full(len(labels), -1, np.int64)
    known = labels >= 0
    if not known.any():
        return best
    lowest = np.full(int(labels[known].max()) + 1, len(order), np.int64)
    np.minimum.at(lowest, labels[known], rank[known])
    best[known] = order[lowest[labels[known]]]
    best[best == np.arange(len(labels))] = -1
    return best


S = TypeVar("S", bound=DuplicateSettings)


class DuplicateSelection(Selection[S]):
    """Base: names the columns its settings read, those inside `among` included."""

    columns = COLUMNS

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))


def among_columns(among: Mapping[str, str]) -> list[str]:
    """`step.column`s that these rules name in full."""
    names = [name for text in among.values() for name in referenced(Rule("among", text))]
    return [name for name in names if "." in name and name.partition(".")[0] != PAIR]
