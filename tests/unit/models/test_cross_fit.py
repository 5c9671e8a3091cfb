"""The fold table: nothing that stands in a half is ever given that half's model."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.models.cross_fit import SEEN_BY_BOTH, FoldTable

NAMES = st.sampled_from([None, "", "a", "b", "c", "d", "e"])
ROWS = st.lists(st.tuples(NAMES, NAMES, NAMES, st.integers(0, 1)), max_size=12)


def table_of(rows: list[tuple]) -> FoldTable:
    keys, groups, texts, folds = zip(*rows, strict=True) if rows else ((), (), (), ())
    return FoldTable.of(keys, groups, texts, np.array(folds, np.int8))


@given(ROWS, ROWS)
def test_a_pair_is_never_given_a_half_that_any_of_its_names_stands_in(seen: list[tuple], asked: list[tuple]) -> None:
    table = table_of(seen)
    keys, groups, texts, _ = zip(*asked, strict=True) if asked else ((), (), (), ())
    for (key, group, text, _), fold in zip(asked, table.unseen(keys, groups, texts), strict=True):
        stands_in = {
            f for k, g, t, f in seen if (k and k == key) or (g and g == group) or (t and t == text)
        }  # fmt: skip
        if fold == SEEN_BY_BOTH:
            assert stands_in == {0, 1}
        else:
            assert fold not in stands_in


def test_the_choice_is_a_pure_function_of_the_pair() -> None:
    table = table_of([("a", "g", "red bus", 0), ("b", None, "blue bus", 1)])
    both = table.unseen(["x", "a", "x"], [None, None, "g"], ["new", "new", "new"])
    alone = [int(table.unseen([k], [g], ["new"])[0]) for k, g in (("x", None), ("a", None), ("x", "g"))]
    assert both.tolist() == alone
    assert alone[1:] == [1, 1]
    again = FoldTable.from_tensors(table.tensors())
    assert again.unseen(["x"], [None], ["blue bus"]).tolist() == [0]
