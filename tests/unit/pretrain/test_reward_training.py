"""Fitting a reward: it learns a planted taste on unseen pictures, nothing from noise, and no judge sees its fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preferences import HASTY, MEANING, QUICK, World, fresh_model, judged_of, judges_of, planted

from pairwright.components.filter.selections.top_share import best
from pairwright.components.pretrain.reward.evidence import Evidence
from pairwright.components.pretrain.reward.measures import accuracy, calibration, log_loss, right
from pairwright.components.pretrain.reward.training import fit_reward
from pairwright.components.training.heads import FitHeads
from pairwright.components.training.here import Kept


def held_out_accuracy(judged: object, evidence: Evidence, **changes: object) -> tuple[float, float]:
    """(reward's, evidence's)"""
    rewards, seen = fit_reward(fresh_model(), evidence, judged, replace(QUICK, **changes))  # type: ignore[arg-type]
    return tuple(float(right(*scores.numpy()).mean()) for scores in (rewards, seen))  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_hundred_planted_preferences_are_learnt(seed: int) -> None:
    """SEED row 1: held-out pair accuracy >= 0.9, and more than the evidence's on the same pairs."""
    judged, evidence = planted(200, seed)
    reward, alone = held_out_accuracy(judged, evidence)
    assert reward >= 0.9
    assert reward > alone + 0.04


@pytest.mark.slow
def test_shuffled_labels_teach_nothing() -> None:
    judged, evidence = planted(200)
    flip = np.random.default_rng(0).random(200) < 0.5
    better, worse = np.where(flip, judged.worse, judged.better), np.where(flip, judged.better, judged.worse)
    reward, _ = held_out_accuracy(replace(judged, better=better, worse=worse), evidence)
    assert abs(reward - 0.5) < 0.12  # three standard errors of 200 coin flips


@pytest.mark.slow
def test_silver_says_what_the_evidence_is_worth_and_nothing_of_taste() -> None:
    judged, evidence = planted(200)
    silver = replace(judged, origin=np.array(["silver"] * 200, object))
    model = fresh_model()
    rewards, seen = fit_reward(model, evidence, silver, QUICK)
    assert all((judge.weight == 0).all() for judge in judges_of(model))
    assert right(*rewards.numpy()).tolist() == right(*seen.numpy()).tolist()
    coins = np.random.default_rng(0).random(200) < 0.5
    better, worse = np.where(coins, judged.worse, judged.better), np.where(coins, judged.better, judged.worse)
    unsure = fresh_model()
    fit_reward(unsure, evidence, replace(silver, better=better, worse=worse), QUICK)
    for sure, other in zip(judges_of(model), judges_of(unsure), strict=True):
        assert 0 < other.scale < sure.scale / 2

    half = replace(judged, origin=np.where(np.arange(200) < 100, judged.origin, silver.origin))
    rewards, seen = fit_reward(model, evidence, half, QUICK)
    assert all((judge.weight != 0).any() for judge in judges_of(model))
    assert right(*rewards.numpy()).mean() > right(*seen.numpy()).mean() + 0.04


def test_no_part_of_a_judge_saw_its_fold() -> None:
    """Change one picture's features and texts: in its own fold no other held-out score moves by a bit."""
    judged, evidence = planted(80)
    before, seen_before = fit_reward(fresh_model(), evidence, judged, HASTY)
    image, text = evidence.image.clone(), evidence.text.clone()
    image[5], text[5], text[85] = 3.0, -3.0, 2.0
    after, seen_after = fit_reward(fresh_model(), Evidence(image, text, evidence.statistics), judged, HASTY)
    fold = judged.fold_of
    own = torch.tensor((fold == fold[5]) & (np.arange(80) != 5))
    assert (before[:, own] == after[:, own]).all()
    assert (seen_before[:, own] == seen_after[:, own]).all()
    assert (before[:, fold != fold[5]] != after[:, fold != fold[5]]).float().mean() > 0.9


class Killed(Exception):
    pass


def test_killed_between_and_within_its_fits_it_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, evidence = planted(60)
    whole = fresh_model()
    said = fit_reward(whole, evidence, judged, HASTY)
    encode, steps, stop = FitHeads.encode, [0], [0]

    def dying(self: Any, batch: Any) -> Any:
        steps[0] += 1
        if steps[0] == stop[0]:
            raise Killed
        return encode(self, batch)

    monkeypatch.setattr(FitHeads, "encode", dying)
    kept = replace(HASTY, kept=Kept(tmp_path, "a run"))
    for stop[0] in (15, 25):  # in the second pair of heads; after the first, which is not fitted again
        with pytest.raises(Killed):
            fit_reward(fresh_model(), evidence, judged, kept)
    stop[0] = -1
    model = fresh_model()
    again = fit_reward(model, evidence, judged, kept)
    assert steps[0] < 10 * 6 + 2 * 10  # six pairs of heads
    assert all(torch.equal(a, b) for a, b in zip(said, again, strict=True))
    one, other = model.state_dict(), whole.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_same_judgements_give_the_same_weights() -> None:
    judged, evidence = planted(60)
    models = [fresh_model(), fresh_model()]
    for model in models:
        fit_reward(model, evidence, judged, HASTY)
    one, other = (model.state_dict() for model in models)
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.slow
def test_ties_are_modelled_and_pull_rewards_together() -> None:
    """Captions of equal quality tie: Davidson's nu is learnt, and they end nearer than those that differ."""
    judged, evidence = planted(200)
    random = np.random.default_rng(1)
    tie = (np.arange(200) % 2 == 0) & (random.random(200) < 0.8)
    same = evidence.text.clone()
    same[200:][tie] = evidence.text[:200][tie] + 0.05 * torch.tensor(random.normal(size=(tie.sum(), 64))).float()
    judged, model = replace(judged, tie=tie), fresh_model()
    rewards, _ = fit_reward(model, replace(evidence, text=same), judged, QUICK)
    apart = (rewards[0] - rewards[1]).abs().numpy()
    assert apart[tie].mean() < 0.5 * apart[~tie].mean()
    assert all(judge.log_nu.item() != 0.0 for judge in judges_of(model))
    assert right(*rewards[:, ~tie].numpy()).mean() > 0.85


@pytest.mark.slow
def test_where_clip_is_anticorrelated_with_quality_the_reward_keeps_better_pairs() -> None:
    """SEED row 1: good captions say it in words the aligned space does not know, so the evidence likes poor ones."""
    random, world = np.random.default_rng(3), World()

    def captions(meaning: np.ndarray, quality: np.ndarray) -> torch.Tensor:
        other = random.normal(size=meaning.shape)
        return world.text((1 - quality[:, None]) * meaning + quality[:, None] * other, quality)

    meaning, pairs = random.normal(size=(200, MEANING)), np.arange(200)
    high, low = random.uniform(0.4, 1, 200), random.uniform(0, 0.4, 200)
    evidence = Evidence(
        world.image(meaning), torch.cat([captions(meaning, high), captions(meaning, low)]), torch.zeros((400, 4))
    )
    model = fresh_model()
    fit_reward(model, evidence, judged_of(pairs, 200 + pairs, 200), QUICK)

    crawl, quality = random.normal(size=(400, MEANING)), random.uniform(0, 1, 400)
    image, text = world.image(crawl), captions(crawl, quality)
    clip = torch.stack(list(model.evidence_by(image, text).values())).mean(0).numpy()
    reward = model.rewards(image, text, torch.zeros((400, 4))).mean(1).numpy()
    assert np.corrcoef(clip, quality)[0, 1] < -0.3
    keys = list(map(str, range(400)))
    kept = {
        name: best(np.zeros(400, int), score, keys, 0.25)[1] for name, score in (("clip", clip), ("reward", reward))
    }
    assert quality[kept["reward"]].mean() > quality.mean() + 0.2 > quality[kept["clip"]].mean() + 0.2


def test_measures_on_numbers_done_by_hand() -> None:
    assert right(np.array([1.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0])).tolist() == [1, 0, 0.5]
    assert log_loss(np.zeros(3)) == pytest.approx(np.log(2))
    found = accuracy(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]))
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 4)  # two groups: it could be all or none
    bins, error = calibration(np.array([2.0, 2.0, -2.0, 2.0]))
    assert len(bins) == 1
    assert error == pytest.approx(abs(0.75 - 1 / (1 + np.exp(-2))))


def test_a_calibrated_world_has_little_calibration_error() -> None:
    random = np.random.default_rng(0)
    difference = random.normal(0, 2, 40_000)
    happened = np.where(random.random(40_000) < 1 / (1 + np.exp(-difference)), difference, -difference)
    assert calibration(happened)[1] < 0.02
    assert calibration(5 * happened)[1] > 0.1
