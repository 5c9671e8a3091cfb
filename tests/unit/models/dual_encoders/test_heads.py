"""Heads on cached features."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from pairwright.components.models.dual_encoders.heads import Heads, Projection
from pairwright.components.training.heads import fit_heads
from pairwright.components.training.parameters import parameter_groups
from pairwright.components.training.schedule import learning_rate


def planted(pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two views of one hidden vector through fixed random maps, with noise."""
    maps = np.random.default_rng(0)
    to_image, to_text = maps.standard_normal((12, 40)), maps.standard_normal((12, 24))
    random = np.random.default_rng(seed)
    hidden = random.standard_normal((pairs, 12))
    noise = [0.3 * random.standard_normal((pairs, width)) for width in (40, 24)]
    return (hidden @ to_image + noise[0]).astype(np.float16), (hidden @ to_text + noise[1]).astype(np.float16)


def first(heads: Heads, image: np.ndarray, text: np.ndarray) -> float:
    scores = heads.image(image) @ heads.text(text).T
    return float((scores.argmax(1) == torch.arange(len(image))).float().mean())


@pytest.mark.slow
def test_heads_learn_a_planted_link_over_three_seeds() -> None:
    image, text = planted(600, 1)
    held_image, held_text = planted(100, 2)
    for seed in range(3):
        heads = fit_heads(image, text, dim=16, steps=150, batch_size=128, lr=3e-3, seed=seed)
        untrained = Heads(40, 24, 16, seed)
        assert first(heads, held_image, held_text) > 0.6 > 0.2 > first(untrained, held_image, held_text)
        assert torch.allclose(heads.image(held_image).norm(dim=-1), torch.ones(100), atol=1e-5)


def test_one_seed_gives_one_result_whatever_was_drawn_before() -> None:
    image, text = planted(64, 1)
    a = fit_heads(image, text, dim=8, steps=5, seed=3)
    torch.rand(100)
    b = fit_heads(image, text, dim=8, steps=5, seed=3)
    c = fit_heads(image, text, dim=8, steps=5, seed=4)
    assert torch.equal(a.image(image), b.image(image))
    assert not torch.equal(a.image(image), c.image(image))


def test_a_pair_of_weight_zero_teaches_nothing() -> None:
    image, text = planted(40, 1)
    weights = np.ones(40)
    weights[:20] = 0
    wrong = text.copy()
    wrong[:20] = wrong[:20][::-1]
    # Weightless pairs still stand in the batch as negatives, so only their own loss is silenced.
    heads = [fit_heads(image, t, dim=8, steps=40, seed=0, weights=weights) for t in (text, wrong)]
    own = [(h.image(image[20:]) * h.text(text[20:])).sum(-1).mean() for h in heads]
    assert abs(own[0] - own[1]) < 0.1


def test_pairs_of_one_group_are_not_pushed_apart() -> None:
    image, text = planted(60, 1)
    text[30:] = text[:30]  # the same captions for other pictures
    groups = np.arange(60) % 30
    grouped, plain = (fit_heads(image, text, dim=8, steps=80, seed=0, groups=g) for g in (groups, None))

    def other(heads: Heads) -> float:
        return float((heads.image(image[:30]) * heads.text(text[30:])).sum(-1).mean())

    assert grouped.image(image).shape == (60, 8)
    assert other(grouped) > other(plain) - 0.02


def test_the_rate_warms_up_peaks_and_ends_at_zero() -> None:
    rates = [learning_rate(step, peak=1.0, warmup_steps=10, steps=110) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0.0, abs=1e-12)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_norms_biases_and_the_temperature_do_not_decay() -> None:
    groups = parameter_groups(Heads(8, 8, 4), 0.1)
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert [p.ndim for p in groups[0]["params"]] == [2, 2]
    assert len(groups[1]["params"]) == 5  # two norms of weight and bias, one temperature


def test_scale_and_shift_folded_into_the_map_give_the_same_vectors_and_gradients() -> None:
    torch.manual_seed(0)
    head = Projection(24, 8)
    with torch.no_grad():
        head.norm.weight.uniform_(0.5, 1.5)
        head.norm.bias.normal_()
    x, pull = torch.randn(10, 24), torch.randn(10, 8)
    found = []
    for features in (x, x.clone().requires_grad_()):  # of a locked tower, and of one in training
        head.zero_grad()
        vectors = head(features)
        (vectors * pull).sum().backward()
        found.append([vectors.detach(), *(p.grad.clone() for p in head.parameters() if p.grad is not None)])
    with torch.no_grad():
        found.append([head(x)])
    assert len(found[0]) == 4
    for folded, plain in zip(found[0], found[1], strict=True):
        assert torch.allclose(folded, plain, atol=1e-5)
    assert torch.equal(found[1][0], found[2][0])
