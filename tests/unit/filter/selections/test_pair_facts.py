"""Facts of pairs by name: labels, languages and producers of captions, sidecar columns, steps' columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from populations import view_of
from shapes import facts_of, shapes_dataset

from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.pair_facts import pair_fact, step_columns


def test_sidecar_facts_are_read_shard_by_shard(tmp_path: Path) -> None:
    dataset = shapes_dataset(tmp_path, 12, 3)
    view = ColumnsView(dataset, ColumnStore(f"{tmp_path}/columns"), {})
    said = {
        name: pair_fact(view, f"pair.{name}").to_pylist()
        for name in ("label.category", "label.none", "lang.alt", "lang.keywords", "origin", "group")
    }
    shape = [facts_of(i)[1] for i in range(12)]
    assert said["label.category"] == shape
    assert said["label.none"] == [None] * 12
    assert said["lang.alt"] == ["en"] * 12
    assert said["lang.keywords"] == [None] * 12
    assert said["origin"] == [f"shapes/{i}" for i in range(12)]
    assert said["group"][0] == "-".join(facts_of(0))


def test_a_steps_numbers_become_words_and_vectors_are_refused(tmp_path: Path) -> None:
    columns = {"c.label": pa.array([3, None]), "c.vector": pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1))}
    view = view_of(tmp_path, columns)
    assert pair_fact(view, "c.label").to_pylist() == ["3", None]
    with pytest.raises(InvalidRecipe, match="group by a column of numbers or words"):
        pair_fact(view, "c.vector")
    assert step_columns(["c.label", "pair.licence", "pair.lang.alt"]) == ["c.label"]
