"""Verdicts say what the test lets them say: every metric, the worst included, none by too few seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pairwright.components.evaluate.statistics.verdicts import Verdict, headline, holm, verdicts

ITEMS = 300
TRIALS = 100
GROUPS = np.arange(ITEMS) // 2


def arms(effects: dict[str, float], seeds: int = 5, spread: float = 0.05, chance: int = 0) -> dict[str, Any]:
    """`curated` better than `raw` by effects[metric], items and seeds in common."""
    random = np.random.default_rng(chance)
    made: dict[str, Any] = {"raw": {}, "curated": {}}
    for seed in range(seeds):
        base = {name: random.normal(0.4, 0.3, ITEMS) for name in effects}
        made["raw"][seed] = base
        made["curated"][seed] = {
            name: values + effects[name] + random.normal(0, spread, ITEMS) for name, values in base.items()
        }
    return made


def said(effects: dict[str, float], **options: Any) -> list[Verdict]:
    lower = options.pop("lower", frozenset())
    found = arms(effects, **options)
    return verdicts(found, dict.fromkeys(effects, GROUPS), baseline="raw", lower_is_better=lower)


def test_every_declared_metric_is_said_and_the_worst_is_in_the_headline() -> None:
    """The fault: the headline took the first metric, which showed nothing, and left out the one that was worse."""
    found = said({"i2t_r5": 0.0, "t2i_r1": -0.05, "zero_shot": 0.04})
    assert [(one.metric, one.shows) for one in found] == [
        ("i2t_r5", "cannot be told apart"),
        ("t2i_r1", "worse"),
        ("zero_shot", "better"),
    ]
    told = headline(found)
    assert "better in zero_shot (+0.0" in told
    assert "worse in t2i_r1 (-0.0" in told
    assert "cannot be told apart in the other 1" in told
    assert "would have been seen four times in five" in told
    assert all(one.metric in one.words and f"{one.low:+.3f}" in one.words for one in found)


def test_the_worst_is_named_where_nothing_is_significant_too() -> None:
    found = said({"a": 0.002, "b": -0.004}, spread=0.4)
    worst = min(found, key=lambda one: one.difference)
    assert {one.shows for one in found} == {"cannot be told apart"}
    assert f"the worst is {worst.metric}" in headline(found)
    assert "cannot be told apart in any" in headline(found)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_let_no_verdict_be_said(seeds: int) -> None:
    found = said({"a": 0.5}, seeds=seeds)
    assert found[0].shows == "too few seeds"
    assert "no verdict" in found[0].words
    assert "no verdict" in headline(found)
    assert "better" not in found[0].words + headline(found)


def test_a_seed_that_luck_favours_is_no_verdict() -> None:
    """Over items alone, each of these differences is beyond doubt; another seed would turn it."""
    shifts = np.array([0.10, -0.04, 0.06])[:, None] + np.zeros((3, ITEMS))
    items = {
        "raw": {seed: {"m": np.zeros(ITEMS)} for seed in range(3)},
        "curated": {seed: {"m": shifts[seed]} for seed in range(3)},
    }
    (one,) = verdicts(items, {"m": GROUPS}, baseline="raw")
    assert one.difference == pytest.approx(0.04)
    assert one.shows == "cannot be told apart"


def test_what_stands_alone_may_not_stand_among_many() -> None:
    """The same difference: a verdict of one metric, of twelve only "by itself", and both are in the headline."""
    random = np.random.default_rng(0)
    noise = {f"m{i}": random.normal(0, 0.3, (3, ITEMS)) for i in range(12)}
    noise["m0"] -= noise["m0"].mean() + 0.025

    def found(names: list[str]) -> list[Verdict]:
        items = {
            "raw": {s: {name: np.zeros(ITEMS) for name in names} for s in range(3)},
            "curated": {s: {name: noise[name][s] for name in names} for s in range(3)},
        }
        return verdicts(items, {}, baseline="raw")

    alone, among = found(["m0"])[0], found(list(noise))[0]
    assert (alone.shows, among.shows) == ("worse", "worse by itself")
    assert (alone.low, alone.high) == (among.low, among.high)
    assert alone.p < 0.05 < among.p
    assert "worse by itself in m0 (-0.025" in headline(found(list(noise)))
    assert among.words.startswith("curated is worse than raw in m0 by itself: -0.025")
    assert "among 12 comparisons that may be chance" in among.words


def test_holms_correction_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_of_all_verdicts_together_one_is_wrong_in_five_trials_of_a_hundred() -> None:
    """Five metrics of nothing: any verdict at all is an error."""
    wrong = 0
    for chance in range(TRIALS):
        random = np.random.default_rng(chance)
        items = {
            arm: {
                seed: {f"m{i}": random.normal(random.normal(0, 0.02), 0.3, 120) for i in range(5)} for seed in range(3)
            }
            for arm in ("raw", "curated")
        }
        found = verdicts(items, {}, baseline="raw")
        wrong += any(one.shows in ("better", "worse") for one in found)
    assert wrong / TRIALS < 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)


def test_less_is_more_where_the_metric_says_so() -> None:
    (one,) = said({"rank": -0.2}, lower=frozenset({"rank"}))
    assert one.shows == "better"
    assert one.gain > 0 > one.difference
