"""A challenger becomes champion only by a gain that resampling cannot undo."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.errors import InvalidRecipe
from pairwright.components.tracking.promotion import Comparison, PromotionRule, decide

RULE = PromotionRule(metric="retrieval.R@5")


def compared(challenger: np.ndarray, champion: np.ndarray, seed: int = 0) -> Comparison:
    """A comparison by a paired bootstrap of per-item hits, as the flow makes it."""
    difference = challenger.astype(float) - champion
    rng = np.random.default_rng(seed)
    means = difference[rng.integers(0, len(difference), (2000, len(difference)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Comparison(
        "retrieval.R@5",
        float(challenger.mean()),
        len(difference),
        float(champion.mean()),
        float(difference.mean()),
        float(low),
        float(high),
    )


def hits(share: float, n: int = 400, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < share


def test_a_clear_gain_promotes() -> None:
    decision = decide(compared(hits(0.6), hits(0.4)), RULE)
    assert decision.promote
    assert "gain +0." in decision.reason


def test_a_tie_does_not_promote() -> None:
    same = hits(0.5)
    assert not decide(compared(same, same), RULE).promote


def test_a_loss_does_not_promote() -> None:
    assert not decide(compared(hits(0.4), hits(0.6)), RULE).promote


def test_a_gain_within_the_noise_does_not_promote() -> None:
    champion = hits(0.5)
    challenger = champion.copy()
    challenger[np.flatnonzero(~champion)[0]] = True
    decision = decide(compared(challenger, champion), RULE)
    assert decision.comparison.difference > 0
    assert not decision.promote
    assert "does not exclude zero" in decision.reason


@given(low=st.floats(allow_nan=True), gain=st.floats(-1, 1), value=st.floats(0, 1))
def test_nothing_promotes_unless_the_lower_bound_is_above_zero(low: float, gain: float, value: float) -> None:
    comparison = Comparison("retrieval.R@5", value, 10, value - gain, gain, low, 1.0)
    assert not decide(comparison, RULE).promote or low > 0


def test_the_first_model_promotes_only_from_the_floor_up() -> None:
    rule = PromotionRule(metric="retrieval.R@5", floor=0.2)
    assert decide(Comparison("retrieval.R@5", 0.2, 100), rule).promote
    refused = decide(Comparison("retrieval.R@5", 0.19, 100), rule)
    assert not refused.promote
    assert "below the floor" in refused.reason
    assert decide(Comparison("retrieval.R@5", 0.0, 100), RULE).promote


def test_a_gain_below_the_least_worth_having_does_not_promote() -> None:
    rule = PromotionRule(metric="retrieval.R@5", min_gain=0.3)
    assert not decide(compared(hits(0.6), hits(0.4)), rule).promote


def test_a_model_that_was_not_measured_is_not_promoted() -> None:
    assert not decide(Comparison("retrieval.R@5", float("nan"), 100), RULE).promote


def test_test_split_cannot_promote() -> None:
    with pytest.raises(InvalidRecipe, match="split"):
        PromotionRule.parse({"split": "test"}, "mine.yaml: release.promote")
    with pytest.raises(ValueError, match="split"):
        decide(Comparison("retrieval.R@5", 0.5, 10, split="test"), RULE)


def test_a_decision_is_json_with_every_number() -> None:
    decision = decide(compared(hits(0.6), hits(0.4)), RULE)
    answer = json.loads(json.dumps(decision.as_dict()))
    assert answer["comparison"]["low"] == decision.comparison.low
    assert answer["rule"]["split"] == "dev"
