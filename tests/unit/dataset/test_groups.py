"""Labels are the same for equal values and for no others, however the column is cut into chunks."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset import groups
from pairwright.components.dataset.groups import ALONE, equal_labels, labels_of

texts = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab", "ä"])), max_size=30)


@pytest.mark.parametrize("long", [1 << 30, 0])
@settings(max_examples=60, deadline=None)
@given(values=texts, cuts=st.lists(st.integers(0, 30), max_size=4), binary=st.booleans())
def test_equal_values_share_a_label(long: int, values: list[str | None], cuts: list[int], binary: bool) -> None:
    kind = pa.binary() if binary else pa.string()
    bounds = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    array = pa.array([v.encode() if v is not None and binary else v for v in values], kind)
    column = pa.chunked_array([array.slice(a, b - a) for a, b in pairwise(bounds)], kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "LONG", long)  # 0: offsets of 64 bits
        labels, (every, distinct) = labels_of(column), equal_labels(column)
    assert labels.tolist() == labels_of(values).tolist()
    for i, one in enumerate(values):
        assert (labels[i] == ALONE) == (not one)
        assert (every[i] == ALONE) == (one is None)
        assert one is None or distinct[int(every[i])].as_py() == array[i].as_py()
        for j, other in enumerate(values):
            if one and other:
                assert (labels[i] == labels[j]) == (one == other)


def test_bytes_of_one_width_are_never_empty() -> None:
    column = pa.array([bytes(4), None, b"abcd", bytes(4)], pa.binary(4))
    assert labels_of(column).tolist() == [0, ALONE, 1, 0]
