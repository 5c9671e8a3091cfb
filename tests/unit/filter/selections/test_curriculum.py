"""Stages are nested, better and smaller; budgets are met; nothing of an evaluation split leaks in."""

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
from pairwright.components.filter.selections.curriculum import Curriculum, CurriculumSettings, stage_sizes


def population(root: Path, rows: int = 2000, seed: int = 0, **options: Any) -> Any:
    random = np.random.default_rng(seed)
    columns = {
        "align.score": pa.array(options.pop("score", random.normal(size=rows)), pa.float32()),
        "caption_text.words": pa.array(random.integers(1, 30, rows), pa.int32()),
        **options.pop("columns", {}),
    }
    return view_of(root, columns, **options)


def select(view: Any, **options: Any) -> dict[str, np.ndarray]:
    made = Curriculum(CurriculumSettings(quality="align.score", **options)).select(view)
    return {name: array.to_numpy(zero_copy_only=False) for name, array in made.items()}


@pytest.mark.parametrize("seed", range(3))
def test_each_stage_is_better_smaller_inside_the_last_and_within_its_budget(tmp_path: Path, seed: int) -> None:
    view = population(tmp_path, seed=seed, shards=3)
    shares = [0.9, 0.4, 0.15, 0.05]
    found = select(view, shares=shares)
    quality, all_tokens = view.numpy("align.score"), found["tokens"].sum()
    means = []
    for number, share in enumerate(shares, start=1):
        inside = found["stage"] >= number
        assert abs(found["tokens"][inside].sum() / all_tokens - share) <= 0.01 * share
        assert quality[inside].min() >= quality[~inside].max()
        means.append(quality[inside].mean())
    assert means == sorted(means)
    assert means[-1] > means[0]
    assert (found["stage"] == 0).sum() > 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=400), st.floats(0.05, 1))
def test_a_budget_is_met_within_one_percent_or_no_stage_can_meet_it(tokens: list[int], share: float) -> None:
    budget = share * sum(tokens)
    off = np.abs(np.cumsum(tokens) - budget)
    try:
        (size,) = stage_sizes(np.array(tokens), [budget])
    except InvalidRecipe:
        assert off.min() > 0.01 * budget
    else:
        assert off[size - 1] == off.min() <= 0.01 * budget


def test_a_budget_that_cannot_be_met_is_an_error_and_not_a_smaller_stage(tmp_path: Path) -> None:
    view = population(tmp_path, rows=20)
    with pytest.raises(InvalidRecipe, match="stage 1 has a budget of 1,000,000 tokens, 20 usable pairs"):
        select(view, tokens=[1_000_000])
    with pytest.raises(InvalidRecipe, match="change the budget"):
        select(view, tokens=[30])


def test_no_pair_held_out_for_evaluation_is_in_a_stage(tmp_path: Path) -> None:
    apart = np.zeros(2000, bool)
    apart[[7, 9, 1000, 1001]] = True
    view = population(tmp_path, columns={"evaluation_overlap.drop": pa.array(apart)})
    assert np.array_equal(select(view)["stage"] == 0, apart)  # the bulk is everything else


def test_a_pair_without_quality_or_outside_the_rules_is_in_no_stage(tmp_path: Path) -> None:
    score = np.arange(500.0)
    score[3] = np.nan
    view = population(tmp_path, 500, score=score, columns={"image.width": pa.array([1] * 5 + [100] * 495)})
    found = select(view, among={"large": "image.width > 64"})
    assert np.flatnonzero(found["stage"] == 0).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("said", [{"shares": [0.1, 0.4]}, {"shares": [1.2, 0.1]}, {"tokens": []}, {"tokens": [5, 5]}])
def test_budgets_that_do_not_fall_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecipe, match="budgets must"):
        CurriculumSettings.parse({"quality": "a.b", **said}, "recipe")
