"""The compression curve: nested shares, an honest bound, and a planted order that beats chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.evaluate.compression import (
    HeadSettings,
    Queries,
    TrainingPairs,
    best_rows,
    random_rows,
    train_and_query,
)
from pairwright.components.evaluate.compression_curve import (
    Judged,
    against_chance,
    in_words,
    judge,
    power_of,
    smallest_not_worse,
)
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.statistics.crossed import Crossed


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=40), st.data())
def test_a_smaller_share_is_part_of_a_larger(values, data):
    order = np.array([np.nan if value is None else value for value in values], float)
    large = data.draw(st.integers(0, len(values)))
    small = data.draw(st.integers(0, large))
    kept = best_rows(order, large)
    assert set(best_rows(order, small)) <= set(kept)
    assert np.isfinite(order[kept]).all()
    left = np.setdiff1d(np.flatnonzero(np.isfinite(order)), kept)
    assert not len(kept) or not len(left) or order[kept].min() >= order[left].max()
    assert set(random_rows(len(values), small, 3)) <= set(random_rows(len(values), large, 3))


def judged(not_worse: bool) -> Judged:
    return Judged(0.5, 0.0, -0.01, 0.01, not_worse, 0.8)


def test_the_first_share_that_fails_ends_the_sequence():
    assert smallest_not_worse({1.0: judged(True), 0.5: judged(True), 0.25: judged(False), 0.1: judged(True)}) == 0.5
    assert smallest_not_worse({0.5: judged(False), 0.25: judged(True)}) is None


def against(low: float, high: float) -> Judged:
    return Judged(0.5, (low + high) / 2, low, high, True, 0.8)


def test_words_hide_nothing_of_what_chance_does():
    good, bad = {0.5: judged(True), 0.1: judged(True)}, {0.5: judged(True), 0.1: judged(False)}
    none = {0.5: judged(False), 0.1: judged(False)}
    better = {0.5: against(-0.1, 0.1), 0.1: against(0.01, 0.1)}
    worse = {0.5: against(-0.1, -0.01), 0.1: against(-0.1, 0.1)}
    assert in_words("reward", good, bad, better, 0.03) == (
        "The best 10% by reward train a model that is not worse than everything by 3 points of mean recall; "
        "random pairs do at 50%. At equal size it beats them at 10%."
    )
    assert in_words("reward", none, good, worse, 0.03, "random stamps") == (
        "No share kept by reward is shown to be within 3 points of mean recall of training on everything; "
        "random stamps do at 10%. At equal size it beats them nowhere and is worse at 50%. "
        "An equally good model would have passed at 50% in 80% of trials."
    )
    assert "random pairs do at no share tested. " in in_words("reward", none, none, worse, 0.03)
    assert "random pairs do at no share tested. " in in_words("reward", good, none, better, 0.03)


def test_more_shares_ask_more_of_each_before_it_beats_chance():
    """At each of 10 shares the same difference, clear alone; Bonferroni's bound is wider."""
    groups = np.arange(200)
    random = np.random.default_rng(3)
    items = {share / 100: 0.11 + random.normal(0, 1, (4, 200)) for share in range(1, 11)}
    chance = {share: np.zeros((4, 200)) for share in items}
    together = against_chance(items, chance, groups, 0.03)
    for share, one in items.items():
        (alone,) = against_chance({share: one}, {share: chance[share]}, groups, 0.03).values()
        assert together[share].low < alone.low < alone.difference


def test_two_seeds_let_no_share_pass_however_good_it_is():
    better = judge(np.ones((2, 50)), np.zeros((2, 50)), np.arange(50), 0.03)
    assert not better.decides
    assert (better.not_worse, better.better, better.worse) == (False, False, False)
    assert better.power == 0.0
    assert in_words("reward", {0.5: better}, {0.5: better}, {0.5: better}, 0.03) == (
        "reward: no verdict, a curve needs 3 seeds."
    )


def test_power_grows_with_the_margin():
    def spread(error):
        return Crossed(0.0, 5, 1000, 1000, 0.0, error**2)

    assert power_of(spread(0.02), 0.0) == pytest.approx(0.05, abs=1e-3)
    assert power_of(spread(0.02), 0.03) < power_of(spread(0.02), 0.06) < power_of(spread(0.0), 0.06) == 1.0


def planted(rows: int, damaged: float, seed: int) -> tuple[TrainingPairs, np.ndarray]:
    """Pictures and captions of 40 topics, `damaged` of the captions drawn from another topic's."""
    random = torch.Generator().manual_seed(seed)
    topics = torch.randn(40, 24, generator=random)
    which = torch.randint(40, (rows,), generator=random)
    wrong = torch.rand(rows, generator=random) < damaged
    said = torch.where(wrong, (which + torch.randint(1, 40, (rows,), generator=random)) % 40, which)
    image = topics[which] + 0.3 * torch.randn(rows, 24, generator=random)
    text = topics[said] @ torch.randn(24, 24, generator=torch.Generator().manual_seed(9))
    return TrainingPairs(image, text, said.numpy()), wrong.numpy()


@pytest.mark.slow
def test_a_clean_half_beats_a_random_half_and_the_whole():
    pairs, wrong = planted(600, 0.6, seed=1)
    clean, _ = planted(80, 0.0, seed=1)
    split = Queries(clean.image, clean.text, Positives(np.arange(80), clean.captions, np.arange(80)), np.arange(80))
    settings = HeadSettings(steps=60, batch_size=64, lr=3e-3, dim=16)
    kept = best_rows(-wrong.astype(float), 240)

    def items(rows):
        return np.stack([train_and_query(pairs, rows, [split], settings, seed) for seed in range(3)])

    whole, ours, chance = items(np.arange(600)), items(kept), items(random_rows(600, 240, 5))
    assert judge(ours, whole, split.groups, 0.0).low > 0
    assert judge(ours, chance, split.groups, 0.0).low > 0


def test_the_same_seed_trains_the_same_model():
    pairs, _ = planted(100, 0.2, seed=2)
    split = Queries(pairs.image, pairs.text, Positives(*[np.arange(100)] * 3), np.arange(100))
    settings = HeadSettings(steps=5, batch_size=32, dim=8)
    once, again = (train_and_query(pairs, np.arange(100), [split], settings, 4) for _ in range(2))
    assert np.array_equal(once, again)
