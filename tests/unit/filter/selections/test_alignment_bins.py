"""Bins are uniform in cosine or equal in pairs, rise with the score, and say their edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.alignment_bins import AlignmentBins, AlignmentBinsSettings

ANY_PLACE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bins_of(root: Path, score: Any, keys: Any = None, **options: Any) -> dict[str, np.ndarray]:
    view = view_of(root, {"align.score": pa.array(score, pa.float32())}, shards=2, keys=keys)
    made = AlignmentBins(AlignmentBinsSettings(**options)).select(view)
    return {name: array.to_numpy(zero_copy_only=False) for name, array in made.items()}


@pytest.mark.slow
@ANY_PLACE
@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=60), st.integers(2, 12))
def test_bins_rise_with_the_score_and_each_score_is_between_its_edges(
    tmp_path_factory: Any, score: Any, bins: int
) -> None:
    for mode in ("uniform", "equal"):
        found = bins_of(tmp_path_factory.mktemp("b"), score, bins=bins, mode=mode)
        order = np.argsort(score, kind="stable")
        if mode == "uniform":  # equal bins part equal scores by key, which the next test heeds
            assert (np.diff(found["bin"][order]) >= 0).all()
        values = np.asarray(score, np.float32)
        assert (values >= found["low"] - 1e-6).all()
        assert (values <= found["high"] + 1e-6).all()
        assert found["bin"].min() >= 1
        assert found["bin"].max() <= bins


@pytest.mark.slow
@ANY_PLACE
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=8, max_size=80), st.integers(2, 8), st.randoms())
def test_equal_bins_differ_by_one_pair_whatever_the_ties_and_the_order(
    tmp_path_factory: Any, score: Any, bins: int, shuffler: Any
) -> None:
    keys = [f"k{i:03d}" for i in range(len(score))]
    order = list(range(len(score)))
    shuffler.shuffle(order)
    one = bins_of(tmp_path_factory.mktemp("a"), score, keys, bins=bins, mode="equal")["bin"]
    two = bins_of(
        tmp_path_factory.mktemp("b"), [score[i] for i in order], [keys[i] for i in order], bins=bins, mode="equal"
    )["bin"]
    counts = np.bincount(one, minlength=bins + 1)[1:]
    assert counts.max() - counts.min() <= 1
    assert [one[i] for i in order] == two.tolist()
    ordered = one[np.lexsort((keys, score))]
    assert (np.diff(ordered) >= 0).all()


def test_uniform_bins_have_one_width_and_the_top_score_is_in_the_last(tmp_path: Path) -> None:
    score = np.random.default_rng(0).beta(8, 2, 4000) * 0.5 - 0.1
    found = bins_of(tmp_path, score)
    edges = np.unique(np.concatenate([found["low"], found["high"]]))
    assert len(edges) == 9
    assert np.allclose(np.diff(edges), (score.max() - score.min()) / 8, atol=1e-5)
    assert found["bin"][score.argmax()] == 8
    assert found["bin"][score.argmin()] == 1
    counts = np.bincount(found["bin"])[1:]
    assert counts.max() > 3 * counts.min()  # not equal populations


def test_given_edges_hold_and_outliers_are_in_the_outermost_bins(tmp_path: Path) -> None:
    found = bins_of(tmp_path, [-0.9, 0.0, 0.26, 0.99, None], lowest=0.0, highest=0.5, bins=2)
    assert found["bin"][:4].tolist() == [1, 1, 2, 2]
    assert np.isnan(found["bin"][4])
    with pytest.raises(InvalidRecipe, match="lowest must be below"):
        AlignmentBinsSettings.parse({"lowest": 0.5, "highest": 0.1}, "r")


def test_one_score_only_is_one_bin(tmp_path: Path) -> None:
    assert len(set(bins_of(tmp_path, [0.3] * 5)["bin"].tolist())) == 1
