"""A fact of every pair as text, by name, for selections that work group by group.

pair.label.category   first value of a sidecar label
pair.lang.alt         language of the first caption of a source, as its sidecar says
pair.producer.alt     who or what wrote that caption
pair.licence          also author, origin, group
language.lang         any column of a step
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.filter.rules.expression import PAIR
from pairwright.components.filter.selections.caption_column import caption_field

PLAIN = ("licence", "author", "origin", "group")
OF_A_CAPTION = ("lang", "producer")


def step_columns(names: Sequence[str]) -> list[str]:
    """Those of the names that are a step's columns."""
    return [name for name in names if name.partition(".")[0] != PAIR]


def check_fact(name: str) -> str:
    """The name, if it can be one.

    Raises:
        ValueError: a `pair.` name of no fact, or no `step.column`.
    """
    head, _, rest = name.partition(".")
    kind, _, what = rest.partition(".")
    known = [f"pair.{plain}" for plain in PLAIN] + ["pair.label.NAME", "pair.lang.SOURCE", "pair.producer.SOURCE"]
    fine = bool(rest) if head != PAIR else (kind in PLAIN and not what) or (kind in ("label", *OF_A_CAPTION) and what)
    if not fine:
        raise ValueError(f'"{name}" is no fact of a pair{nearest(name, known)}')
    return name


def pair_fact(view: ColumnsView, name: str) -> pa.ChunkedArray:
    """The fact of every row as a string, null where it is not known.

    Raises:
        InvalidRecipe: the column holds lists or vectors, which name no group.
    """
    head, _, rest = name.partition(".")
    kind, _, what = rest.partition(".")
    if head != PAIR:
        column = view.column(name)
        if pa.types.is_nested(column.type):
            raise InvalidRecipe(f'"{name}" is {column.type}; group by a column of numbers or words')
        return column.cast(pa.string())
    if kind == "label":
        return pa.chunked_array(
            [_label(table["labels"].combine_chunks(), what) for _, table in view.dataset.iter_sidecars(["labels"])],
            "string",
        )
    if kind in OF_A_CAPTION:
        return caption_field(view, what, kind)
    return view.sidecar([kind])[kind]


def _label(labels: pa.ListArray, name: str) -> pa.Array:
    """First value of a label of each row."""
    rows = pc.list_parent_indices(labels).to_numpy(zero_copy_only=False)
    entries = pc.list_flatten(labels)
    mine = np.flatnonzero(pc.equal(pc.struct_field(entries, "name"), name).fill_null(False).to_numpy(False))
    owners, first = np.unique(rows[mine], return_index=True)
    index = np.full(len(labels), -1, np.int64)
    index[owners] = mine[first]
    return pc.struct_field(entries, "value").take(pa.array(index, pa.int64(), mask=index < 0))
