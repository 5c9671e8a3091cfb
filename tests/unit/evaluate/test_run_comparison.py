"""Runs compared: on the same items only, every declared metric, by tests that keep their level."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.run_comparison import Measured, compare_runs
from pairwright.components.evaluate.statistics.bootstrap import paired_bootstrap_median

GROUPS = np.repeat(np.arange(60), 2)


def declared(higher: bool = True, definition: str = "share of queries") -> dict[str, Any]:
    return {"definition": definition, "higher_is_better": higher}


def measured(name: str, gain: float, seeds: int = 3, split: str = "s" * 32, start: int = 0) -> Measured:
    """Hits and ranks of 120 items in 60 groups; a gain makes more hits and lower ranks."""
    items = {}
    for seed in range(start, start + seeds):
        shared = np.random.default_rng(5).standard_normal(len(GROUPS))
        own = np.random.default_rng([hash(name) % 1000, seed]).standard_normal(len(GROUPS))
        ranks = np.exp(3 + shared + 0.2 * own - gain).round()
        items[str(seed)] = {"r.hit": (ranks <= 20).astype(np.float32), "r.rank": ranks.astype(np.float32)}
    values = {s: {"r.hit": float(i["r.hit"].mean()), "r.rank": float(np.median(i["r.rank"]))} for s, i in items.items()}
    told = {"r.hit": declared(), "r.rank": declared(False, "median rank")}
    return Measured(name, told, values, items, {"r.hit": GROUPS, "r.rank": GROUPS}, split)


def test_a_better_run_is_better_on_every_metric_and_a_worse_one_worse() -> None:
    found = compare_runs([measured("first", 0.0), measured("better", 1.0), measured("worse", -1.0)])
    assert [(row.metric, row.run, row.shows) for row in found.rows] == [
        ("r.hit", "better", "better"),
        ("r.hit", "worse", "worse"),
        ("r.rank", "better", "better"),
        ("r.rank", "worse", "worse"),
    ]
    hit, rank = found.rows[0], found.rows[2]
    assert hit.difference > 0 > rank.difference
    assert hit.verdict is not None
    assert hit.over_seeds == "better"
    assert rank.verdict is None
    assert hit.better is not None
    assert hit.better > (hit.worse or 0)
    assert hit.better + (hit.same or 0) + (hit.worse or 0) == pytest.approx(1)
    assert "The worst is r." in found.headline("worse")


def test_the_worst_metric_is_named_though_others_are_better() -> None:
    first, second = measured("first", 0.0), measured("second", 1.0)
    for seed in second.items:
        second.items[seed]["r.hit"] = first.items[seed]["r.hit"] * (GROUPS > 10)  # type: ignore[index]
        second.values[seed]["r.hit"] = float(second.items[seed]["r.hit"].mean())  # type: ignore[index]
    found = compare_runs([first, second])
    assert found.worst["second"].metric == "r.hit"
    assert "better in r.rank" in found.headline("second")
    assert "worse in r.hit" in found.headline("second")


def test_a_run_is_like_itself() -> None:
    first = measured("first", 0.0)
    found = compare_runs([first, replace(first, name="again")])
    assert all(row.difference == 0 and row.p == 1 and row.shows == "cannot be told apart" for row in found.rows)
    assert found.rows[0].same == 1


def test_equal_models_are_called_different_at_most_as_often_as_is_said() -> None:
    """Over 200 pairs of models that differ by chance alone, all metrics of a comparison counted together."""
    told = 0
    for trial in range(200):
        draw = np.random.default_rng(trial)
        bar = np.repeat(draw.standard_normal(60), 2)
        runs = []
        for name in ("a", "b"):
            hits = {f"r.{m}": (bar + draw.standard_normal(120) > 0.3 * m).astype(float) for m in range(4)}
            said = {metric: declared() for metric in hits}
            values = {"0": {metric: float(one.mean()) for metric, one in hits.items()}}
            runs.append(Measured(name, said, values, {"0": hits}, dict.fromkeys(hits, GROUPS), "s"))
        told += any(row.shows != "cannot be told apart" for row in compare_runs(runs).rows)
    assert told / 200 < 0.09


def test_other_splits_other_items_and_the_same_twice_are_refused_in_a_line() -> None:
    first = measured("first", 0.0)
    with pytest.raises(DatasetError, match="ssssssssssss and second on tttttttttttt"):
        compare_runs([first, measured("second", 0.0, split="t" * 32)])
    with pytest.raises(DatasetError, match="other items"):
        compare_runs([first, replace(measured("second", 0.0), groups={"r.hit": GROUPS[::-1], "r.rank": GROUPS})])
    with pytest.raises(DatasetError, match="two different runs"):
        compare_runs([first, first])
    with pytest.raises(DatasetError, match="two different runs"):
        compare_runs([first])


def test_what_cannot_be_compared_is_listed_with_its_reason() -> None:
    first, second = measured("first", 0.0), measured("second", 0.5)
    second = replace(second, declared=second.declared | {"r.rank": declared(False, "mean rank"), "r.new": declared()})
    found = compare_runs([first, second])
    assert {row.metric for row in found.rows} == {"r.hit"}
    assert "another definition" in found.untested["r.rank"]
    assert "first was not measured" in found.untested["r.new"]
    for seed in second.values:
        second.values[seed]["r.hit"] += 0.01  # type: ignore[index]  # a figure that its items do not give
    with pytest.raises(DatasetError, match="no metric with items"):
        compare_runs([first, second])


def test_fewer_than_three_shared_seeds_give_no_verdict() -> None:
    found = compare_runs([measured("first", 0.0), measured("second", 1.0, seeds=3, start=1)])
    assert {row.seeds for row in found.rows} == {2}
    assert all(row.verdict is None for row in found.rows)
    assert found.rows[0].shows == "better"


def test_seeds_that_agree_to_the_digit_decide_nothing_that_these_models_do_not_show() -> None:
    first, second = measured("first", 0.0), measured("second", 0.0)
    hits = first.items["0"]["r.hit"].copy()
    hits[0] = 1 - hits[0]  # one item of 120, in every seed
    for seed in first.items:
        first.items[seed]["r.hit"], second.items[seed]["r.hit"] = first.items["0"]["r.hit"], hits  # type: ignore[index]
        for run in (first, second):
            run.values[seed]["r.hit"] = float(run.items[seed]["r.hit"].mean())  # type: ignore[index]
    row = compare_runs([first, second]).rows[0]
    assert row.over_seeds == row.shows == "cannot be told apart"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=6, max_size=40), st.integers(-3, 3))
def test_medians_differ_by_what_was_added(ranks: list[int], added: int) -> None:
    groups = np.arange(len(ranks)) // 2
    found = paired_bootstrap_median(np.array(ranks) + added, ranks, groups)
    assert found.difference == found.low == found.high == added
    assert (found.p == 1) == (added == 0)
