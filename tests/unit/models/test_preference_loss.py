"""Preference losses: Bradley-Terry's gradient, Davidson's ties, smoothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.models.preference_loss import preference_loss, preference_probability

REWARDS = st.floats(-20, 20)


@settings(deadline=None)
@given(equal=REWARDS, nu=st.one_of(st.none(), st.floats(0.01, 20)))
def test_at_equal_rewards_the_gradient_on_the_better_is_minus_one_half(equal: float, nu: float | None) -> None:
    """d loss / d r+ = -0.5 at r+ = r-, with and without ties in the model (SEED row 1)."""
    better = torch.tensor([equal], dtype=torch.float64, requires_grad=True)
    worse = torch.tensor([equal], dtype=torch.float64, requires_grad=True)
    log_nu = None if nu is None else torch.tensor(math.log(nu), dtype=torch.float64)
    preference_loss(better, worse, log_nu=log_nu).sum().backward()
    assert better.grad is not None
    assert worse.grad is not None
    assert better.grad.item() == pytest.approx(-0.5, abs=1e-9)
    assert worse.grad.item() == pytest.approx(0.5, abs=1e-9)


@settings(deadline=None)
@given(better=REWARDS, worse=REWARDS, nu=st.floats(0.01, 20))
def test_davidsons_three_outcomes_sum_to_one_and_keep_bradley_terrys_odds(
    better: float, worse: float, nu: float
) -> None:
    i, j = torch.tensor([better], dtype=torch.float64), torch.tensor([worse], dtype=torch.float64)
    log_nu = torch.tensor(math.log(nu), dtype=torch.float64)
    wins, loses = preference_loss(i, j, log_nu=log_nu), preference_loss(j, i, log_nu=log_nu)
    tie = preference_loss(i, j, torch.tensor([True]), log_nu=log_nu)
    assert (torch.exp(-wins) + torch.exp(-loses) + torch.exp(-tie)).item() == pytest.approx(1)
    assert (loses - wins).item() == pytest.approx(better - worse, abs=1e-8)
    assert tie.item() == pytest.approx(preference_loss(j, i, torch.tensor([True]), log_nu=log_nu).item())


def test_without_ties_davidsons_model_is_bradley_terrys() -> None:
    i, j = torch.tensor([0.3, -2.0, 5.0]), torch.tensor([1.0, 1.0, 1.0])
    none = preference_loss(i, j, log_nu=torch.tensor(-60.0))
    assert torch.allclose(none, -torch.log(preference_probability(i, j)), atol=1e-5)
    assert torch.allclose(none, preference_loss(i, j), atol=1e-5)


def test_a_tie_pulls_the_rewards_together() -> None:
    for log_nu in (None, torch.tensor(0.0)):
        i, j = torch.tensor([2.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)
        preference_loss(i, j, torch.tensor([True]), log_nu=log_nu).sum().backward()
        assert i.grad is not None
        assert j.grad is not None
        assert i.grad.item() > 0
        assert j.grad.item() < 0


def test_smoothing_of_zero_changes_no_bit_and_more_of_it_doubts_the_labels() -> None:
    i, j = torch.tensor([3.0, -1.0]), torch.tensor([0.0, 0.0])
    assert (preference_loss(i, j, smoothing=0.0) == preference_loss(i, j)).all()
    expected = 0.9 * preference_loss(i, j) + 0.1 * preference_loss(j, i)
    assert torch.allclose(preference_loss(i, j, smoothing=0.1), expected)
