"""Judgements explained by few facts: the mode under the priors, few judgements move it little, noise not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairwright.components.models.preference_loss import preference_loss
from pairwright.components.pretrain.reward.davidson import (
    LEAST_SCALE,
    Comparisons,
    chosen_spread,
    explained,
    losses,
)

SPREADS = (0.0, 0.1, 0.3, 1.0)


def compared(n: int, theta: tuple[float, ...], seed: int = 0, nu: float = 0.0, smoothing: float = 0.0) -> Comparisons:
    """Judgements drawn from Davidson's model itself."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, len(theta)))
    d = x @ np.array(theta)
    worth = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full(n, nu)], axis=1)
    drawn = (random.random(n)[:, None] > np.cumsum(worth / worth.sum(1, keepdims=True), 1)).sum(1)
    x[drawn == 1] *= -1
    return Comparisons(x, drawn == 2, np.ones(n), np.arange(n), smoothing)


def test_many_judgements_give_back_the_weights_and_the_ties_they_were_drawn_from() -> None:
    theta, log_nu = explained(compared(20_000, (1.5, -0.7, 0.4), nu=0.6), spread=10.0)
    assert theta == pytest.approx([1.5, -0.7, 0.4], abs=0.06)
    assert np.exp(log_nu) == pytest.approx(0.6, abs=0.05)


def test_the_losses_are_those_of_the_preference_loss() -> None:
    said, theta = compared(50, (1.0, 0.5), nu=0.5), np.array([0.8, -0.3])
    better = torch.from_numpy(said.difference @ theta)
    tie = torch.from_numpy(said.tie)
    expected = preference_loss(better, torch.zeros(50), tie, log_nu=torch.tensor(-0.4).double())
    assert losses(said, theta, -0.4) == pytest.approx(expected.numpy())
    plain = Comparisons(said.difference, said.tie, said.weight, said.group, smoothing=0.2, davidson=False)
    smoothed = preference_loss(better, torch.zeros(50).double(), tie, smoothing=0.2)
    assert losses(plain, theta, -np.inf) == pytest.approx(smoothed.numpy())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_found_is_the_least_of_loss_and_priors(smoothing: float) -> None:
    said = compared(80, (1.0, 0.5, 0.0), nu=0.4, smoothing=smoothing)
    theta, log_nu = explained(said, 0.3)

    def asked(theta: np.ndarray, log_nu: float) -> float:
        prior = (theta[0] - 1) ** 2 / 2 + (theta[1:] ** 2).sum() / (2 * 0.3**2) + log_nu**2 / 2
        return float(losses(said, theta, log_nu).sum() + prior)

    least, random = asked(theta, log_nu), np.random.default_rng(0)
    assert all(asked(theta + 0.02 * random.normal(size=3), log_nu + 0.02 * random.normal()) > least for _ in range(50))


def test_without_judgements_to_the_contrary_the_evidence_counts_for_what_it_is() -> None:
    theta, _ = explained(compared(1, (0.0, 0.0)), 0.01)
    assert theta[0] == pytest.approx(1, abs=0.5)
    assert abs(theta[1]) < 0.01
    against = compared(400, (-2.0, 1.0))
    assert (
        explained(against, 1.0)[0][0] == LEAST_SCALE
    )  # whoever judges, what the picture shows is never held against it


def test_noise_moves_nothing_and_a_taste_does() -> None:
    """One standard error: what a fact adds by chance is left out; what 200 judgements agree on is not."""
    noise = [chosen_spread(compared(100, (1.0, 0, 0, 0), seed), np.arange(100) % 5, SPREADS) for seed in range(20)]
    assert np.mean(np.array(noise) == 0) >= 0.8
    taste = [chosen_spread(compared(200, (1.0, 1.0, 0, 0), seed), np.arange(200) % 5, SPREADS) for seed in range(5)]
    assert min(taste) >= 0.3


def test_what_helps_on_taught_kinds_alone_is_left_out_with_whole_kinds() -> None:
    """Each kind has a fact of its own: it explains its kind, and nothing of the others."""
    random, kind = np.random.default_rng(0), np.arange(300) % 5
    x = random.normal(size=(300, 6))
    x[:, 1:] += 2.0 * (np.arange(5) == kind[:, None]) - 0.5
    said = Comparisons(x, np.zeros(300, bool), np.ones(300), np.arange(300))
    assert chosen_spread(said, kind, SPREADS) == 0.0
    assert chosen_spread(said, np.arange(300) // 60, SPREADS) > 0.0


def test_what_harms_one_left_out_kind_is_left_out_however_it_helps_the_others() -> None:
    """Four kinds agree on a fact, the fifth says the contrary."""
    random, kind = np.random.default_rng(0), np.arange(500) % 5
    x = random.normal(size=(500, 2))
    x[:, 1] += np.where(kind == 4, -1.0, 1.0)
    said = Comparisons(x, np.zeros(500, bool), np.ones(500), np.arange(500))
    assert chosen_spread(said, kind, SPREADS) > 0.0
    assert chosen_spread(said, kind, SPREADS, harmless_to_each=True) == 0.0
