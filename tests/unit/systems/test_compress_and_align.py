"""Compress & Align: the reward sees the picture, whatever was judged; judgements add what people like.

Planted: pictures and captions have a meaning, captions have a quality, four in ten captions of the crawl are
exchanged, and nobody ever judges an exchanged one. SEED row 1's own tests (200 preferences, the gradient at r+ = r-,
nested selections, CLIP against quality) are in pretrain/test_reward_training.py, models/test_preference_loss.py
and filter/selections/test_top_share.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from preferences import FOLDS, HASTY, QUICK, crawl_scores, fresh_model, judged_of, planted_crawl

from pairwright.components.models.reward import RewardModel
from pairwright.components.pretrain.reward.evidence import Crawl, Evidence
from pairwright.components.pretrain.reward.measures import right
from pairwright.components.pretrain.reward.training import Options, fit_reward

SEEN_AT_ALL, BLIND = 0.75, 0.6


def area(score: np.ndarray, bad: np.ndarray) -> float:
    """Chance that a whole pair scores above an exchanged one."""
    return float(right(score[~bad][:, None], score[bad][None, :]).mean())


def fitted(options: Options = QUICK, **planted: object) -> tuple[RewardModel, Crawl, np.ndarray]:
    crawl, bad, judged, evidence = planted_crawl(**planted)  # type: ignore[arg-type]
    model = fresh_model()
    fit_reward(model, evidence, judged, options, crawl)
    return model, crawl, bad


@pytest.mark.slow
def test_informative_evidence_survives_judgements_that_are_noise() -> None:
    """Of exchanged captions nobody judged, the reward finds as many as the evidence it stands on; over three seeds."""
    areas = []
    for seed in range(3):
        model, crawl, bad = fitted(seed=seed, taste=False)
        areas.append([area(score, bad) for score in crawl_scores(model, crawl)])
    reward, evidence = np.mean(areas, axis=0)
    assert evidence >= SEEN_AT_ALL
    assert reward >= evidence - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exchanged_captions_are_found_though_only_taste_was_taught(seed: int) -> None:
    model, crawl, bad = fitted(seed=seed)
    reward, _ = crawl_scores(model, crawl)
    assert area(reward, bad) >= BLIND + 0.05
    for judge in model.judges:  # what ignores the picture would fail this test
        judge.scale.data.zero_()
    assert area(crawl_scores(model, crawl)[0], bad) < BLIND


@pytest.mark.slow
def test_heads_that_saw_the_judged_pairs_alone_see_less_than_those_of_the_crawl() -> None:
    """What was so before: a few judged pictures are too few to learn what fits a picture."""
    crawl, bad, judged, evidence = planted_crawl(judged=16)
    areas = []
    for seen in (crawl, None):
        model = fresh_model()
        fit_reward(model, evidence, judged, QUICK, seen)
        areas.append(area(crawl_scores(model, crawl)[1], bad))
    assert areas[0] > areas[1] + 0.05


def test_without_anything_of_the_judgements_it_is_the_evidence_in_its_order() -> None:
    model, crawl, _ = fitted(replace(HASTY, spreads=(0.0,)))
    reward, evidence = crawl_scores(model, crawl)
    for k, judge in enumerate(model.judges):
        mine = crawl.fold == k
        expected = judge.scale * torch.from_numpy(evidence[mine]) - judge.zero
        assert torch.equal(torch.from_numpy(reward[mine]), expected.detach())


@pytest.mark.slow
def test_the_more_is_judged_the_more_held_out_judgements_are_explained() -> None:
    """Mean over seeds, one in five judgements a coin's; the same 100 pictures held out."""
    hits = []
    for labels in (4, 40, 400):
        found = []
        for seed in range(4):
            crawl, _, judged, evidence = planted_crawl(seed=seed, judged=400, noise=0.2, exchanged=0.0)
            part = judged.take((judged.fold_of == 0) | (np.arange(400) < labels))
            rewards, _ = fit_reward(fresh_model(), evidence, part, HASTY, crawl, only=0)
            mine = part.fold_of == 0
            found.append(right(*rewards[:, mine].numpy()).mean())
        hits.append(np.mean(found))
    assert hits[0] < hits[1] - 0.05
    assert hits[1] < hits[2] + 0.01
    assert hits[2] > 0.85


def test_no_part_of_a_judge_or_of_its_evidence_saw_its_fold() -> None:
    """One crawled pair of fold 1 is made another: no other pair of its fold scores otherwise by a bit."""
    crawl, _, judged, evidence = planted_crawl(judged=40)
    before, model = fresh_model(), fresh_model()
    fit_reward(before, evidence, judged, HASTY, crawl)
    image, text = crawl.image.clone(), crawl.text.clone()
    image[201], text[201] = 3.0, -2.0
    fit_reward(model, evidence, judged, HASTY, replace(crawl, image=image, text=text))
    one, other = crawl_scores(before, crawl), crawl_scores(model, crawl)
    own = crawl.fold == 1
    for mine, theirs in zip(one, other, strict=True):
        assert (mine[own] == theirs[own]).all()
        assert (mine[~own] != theirs[~own]).mean() > 0.9


def test_heads_see_no_caption_of_their_folds_under_any_picture() -> None:
    """Caption 7 stands under a picture of every fold, 1 was preferred in fold 2 and stands in fold 0."""
    caption = np.array([7, 1, 2, 3, 7, 4, 5, 7, 7, 6])
    fold = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
    empty = torch.zeros((10, 2))
    crawl = Crawl(empty, empty, empty, caption, fold, {2: np.array([1])})
    assert caption[crawl.without(1, 3)].tolist() == [1, 2, 5]
    assert caption[crawl.without(1, 2)].tolist() == [2, 6]
    assert caption[crawl.without(1)].tolist() == [1, 2, 5, 6]


def test_one_taught_fold_of_four_is_as_many_heads_as_pairs_of_folds() -> None:
    model = fresh_model()
    assert sorted(model.heads) == ["0-1", "0-2", "0-3", "1-2", "1-3", "2-3"]
    assert len(model.judges) == FOLDS
    assert sum(p.numel() for judge in model.judges for p in judge.parameters()) == FOLDS * (4 + 8 + 2)  # few


@pytest.mark.slow
def test_a_judgement_of_an_exchanged_caption_is_explained_without_teaching_any() -> None:
    """Judged are true captions alone; asked is which of two captions of like quality is the picture's."""
    crawl, bad, judged, evidence = planted_crawl(judged=80)
    model = fresh_model()
    fit_reward(model, evidence, judged, QUICK, crawl)
    whole = np.flatnonzero(~bad)[80:160]
    asked = judged_of(np.arange(80), np.roll(np.arange(80), FOLDS), 80, fold=crawl.fold[whole])
    features = Evidence(crawl.image[whole], crawl.text[whole], torch.zeros((80, 4)))
    sides = []
    for text in (asked.better, asked.worse):
        each = model.rewards(features.image, features.text[text], features.statistics)
        sides.append(each[np.arange(80), crawl.fold[whole]].numpy())
    assert right(*sides).mean() >= 0.75
