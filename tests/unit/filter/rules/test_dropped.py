"""The list of dropped pairs, by rule, and a pair found by a part of its key."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from populations import view_of

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import DatasetError
from pairwright.components.filter.rules.dropped import counts, dropped
from pairwright.components.filter.rules.expression import Rule
from pairwright.components.filter.rules.selection import write_selection
from pairwright.components.filter.rules.why import why


@pytest.fixture
def view(tmp_path: Path) -> ColumnsView:
    return view_of(
        tmp_path,
        {"size.side": pa.array([10, 200, 20, 300, 30, 400]), "text.words": pa.array([3, 1, 3, 3, 3, 3])},
        shards=2,
        keys=["cat-1", "cat-2", "dog-1", "dog-2", "DOG-3", "cow"],
        captions={"cat-1": "a cat", "cat-2": "cat"},
        errors={"cow": "decode:truncated"},
    )


@pytest.fixture
def folder(view: ColumnsView, tmp_path: Path) -> Path:
    write_selection(view, [Rule("large", "size.side >= 100"), Rule("told", "text.words >= 2")], tmp_path / "made")
    return tmp_path / "made"


def test_pairs_are_listed_by_the_rule_that_dropped_them_with_what_it_saw(view: ColumnsView, folder: Path) -> None:
    assert counts(folder) == {"large": 3, "told": 1, "decode:truncated": 1}
    found = dropped(folder, view.dataset, "large")
    assert [pair["key"] for pair in found] == ["cat-1", "dog-1", "DOG-3"]
    assert found[0]["caption"] == "a cat"
    assert '"size.side":10' in found[0]["value"]
    assert [pair["key"] for pair in dropped(folder, view.dataset, "decode:truncated")] == ["cow"]


def test_a_limit_is_kept_and_without_a_rule_every_lost_pair_is_listed(view: ColumnsView, folder: Path) -> None:
    assert len(dropped(folder, view.dataset, limit=2)) == 2
    assert {pair["key"] for pair in dropped(folder, view.dataset)} == {"cat-1", "cat-2", "dog-1", "DOG-3", "cow"}


def test_a_rule_that_dropped_nothing_is_told_those_that_did(view: ColumnsView, folder: Path) -> None:
    with pytest.raises(DatasetError, match=r'did you mean "large".* large \(3\)'):
        dropped(folder, view.dataset, "larg")


def test_a_pair_is_found_by_a_part_of_its_key(view: ColumnsView, folder: Path) -> None:
    assert why(folder, view, "og-3")[0]["key"] == "DOG-3"
    assert why(folder, view, "cat-1")[0]["key"] == "cat-1", "a whole key comes first"
    with pytest.raises(DatasetError, match='3 keys of planted hold "dog": "DOG-3", "dog-1", "dog-2"; name one'):
        why(folder, view, "dog")
    with pytest.raises(DatasetError, match="keys look like"):
        why(folder, view, "horse")
