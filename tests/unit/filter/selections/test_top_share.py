"""Top share: nested, as large as asked for, deterministic, and inside each label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.top_share import TopShare, TopShareSettings, best


def select(view: Any, **settings: Any) -> dict[str, list[Any]]:
    chosen = TopShareSettings.parse({"score": "judged.score"} | settings, "test")
    return {name: array.to_pylist() for name, array in TopShare(chosen).select(view).items()}


def population(root: Path, score: Any, labels: Any = None, **options: Any) -> Any:
    columns = {"judged.score": pa.array(score, pa.float32())}
    if labels is not None:
        columns["clusters.cluster"] = pa.array(labels)
    return view_of(root, columns, shards=2, **options)


@settings(deadline=None)
@given(
    score=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    shares=st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
    clusters=st.integers(1, 4),
    at_least=st.integers(0, 2),
)
def test_what_a_smaller_share_keeps_a_larger_one_keeps(
    score: list[int], shares: list[float], clusters: int, at_least: int
) -> None:
    labels, values = np.arange(len(score)) % clusters, np.array(score, float)
    keys = pa.array(map(str, range(len(score))))
    small, large = (best(labels, values, keys, share, at_least)[1] for share in sorted(shares))
    assert not (small & ~large).any()


@settings(deadline=None)
@given(score=st.lists(st.integers(0, 9), min_size=1, max_size=60), share=st.floats(0.01, 1))
def test_it_keeps_the_best_and_as_many_as_asked_for(score: list[int], share: float) -> None:
    values = np.array(score, float)
    rank, keep = best(np.zeros(len(score), int), values, pa.array(map(str, range(len(score)))), share)
    assert abs(keep.sum() - share * len(score)) <= 0.5 + 1e-9
    assert not keep.any() or keep.all() or values[keep].min() >= values[~keep].max()
    assert ((rank > 0) & (rank < 1)).all()


def test_a_pair_without_a_score_is_neither_ranked_nor_counted(tmp_path: Path) -> None:
    made = select(population(tmp_path, [3.0, None, float("nan"), 1.0]), share=0.5)
    assert made["keep"] == [True, None, None, False]
    assert made["rank"] == [0.25, None, None, 0.75]


def test_equal_scores_go_by_key_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    made = select(population(tmp_path, [1.0] * 4, keys=["d", "a", "c", "b"]), share=0.5)
    assert made["keep"] == [False, True, False, True]
    assert made["rank"] == [0.875, 0.125, 0.625, 0.375]


def test_inside_labels_each_keeps_its_own_best(tmp_path: Path) -> None:
    score = [10, 9, 8, 7, 4, 3, 2, 1, 0]
    labels = ["easy"] * 4 + ["hard"] * 4 + [None]
    view = population(tmp_path, score, labels)
    assert [i for i, keep in enumerate(select(view, share=0.5)["keep"]) if keep] == [0, 1, 2, 3, 4]
    inside = select(view, share=0.5, within="clusters.cluster")["keep"]
    assert [i for i, keep in enumerate(inside) if keep] == [0, 1, 4, 5, 8]
    assert [i for i, k in enumerate(select(view, share=0.1, within="clusters.cluster", at_least=1)["keep"]) if k] == [
        *(0, 4, 8)
    ]


def test_the_share_is_of_the_pairs_that_pass_earlier_rules(tmp_path: Path) -> None:
    view = population(tmp_path, [9, 8, 7, 6, 5, 4])
    made = select(view, share=0.5, among={"not_the_best": "judged.score < 8"})
    assert made["keep"] == [None, None, True, True, False, False]


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="share"):
        TopShareSettings.parse({"score": "a.b", "share": 0}, "test")
    assert np.isclose(TopShareSettings.parse({"score": "a.b", "share": 1}, "test").share, 1)
