"""The learning curve of a reward: more labels explain more judgements of pictures that no label was of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from preferences import FOLDS, HASTY, QUICK, fresh_model, planted

from pairwright.components.pretrain.reward.evidence import judged_pairs
from pairwright.components.pretrain.reward.learning import fewer, learning_curve
from pairwright.components.pretrain.reward.measures import right
from pairwright.components.pretrain.reward.report import labels_curve
from pairwright.components.pretrain.reward.training import fit_reward


def test_fewer_keeps_the_held_out_fold_and_a_share_of_the_others() -> None:
    judged, _ = planted(80)
    part = fewer(judged, 0.25, 0, seed=0)
    assert (part.fold_of == 0).sum() == 20
    assert (part.fold_of != 0).sum() == 15
    assert len(set(judged.fold_of)) == FOLDS


@pytest.mark.slow
def test_a_taste_is_explained_the_better_the_more_labels_there_are() -> None:
    judged, evidence = planted(400)
    crawl, model = judged_pairs(judged, evidence), fresh_model()
    whole = fit_reward(model, evidence, judged, QUICK, crawl)
    points = learning_curve(model, evidence, judged, QUICK, crawl, (0.05, 0.2, 1.0), whole)
    curve, metrics = labels_curve(judged, points, ~judged.tie)
    assert [labels for labels, _, _ in curve] == [15, 60, 300]
    assert curve[0][1].value < curve[1][1].value + 0.02 < curve[2][1].value + 0.04
    assert metrics["labels_gain_low"] > 0
    assert metrics["labels_gain"] == pytest.approx(metrics["accuracy_at.300"] - metrics["accuracy_at.15"])
    # The evidence is of the crawl, and the same however many labels there are.
    assert all(np.array_equal(points[0].seen, point.seen) for point in points)


def test_no_point_knows_its_own_fold_and_the_model_is_as_it_was() -> None:
    judged, evidence = planted(80)
    crawl, model = judged_pairs(judged, evidence), fresh_model()
    whole = fit_reward(model, evidence, judged, HASTY, crawl)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    points = learning_curve(model, evidence, judged, HASTY, crawl, (0.5,), whole)
    assert [point.labels for point in points] == [30, 60]  # all of them have a point anyway
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert np.array_equal(points[1].rewards, whole[0].numpy())

    own = judged.fold_of == judged.fold_of[5]
    flipped = replace(
        judged, better=np.where(own, judged.worse, judged.better), worse=np.where(own, judged.better, judged.worse)
    )
    again = learning_curve(model, evidence, flipped, HASTY, crawl, (0.5,), whole)
    assert np.array_equal(again[0].rewards[::-1][:, own], points[0].rewards[:, own])  # the sides changed places alone
    assert not np.array_equal(again[0].rewards[:, ~own], points[0].rewards[:, ~own])


def test_too_few_labels_have_no_point_and_pairs_of_no_fold_no_score() -> None:
    judged, evidence = planted(80)
    model = fresh_model()
    apart = replace(judged, fold=np.where(np.arange(80) == 3, -1, judged.fold))
    whole = fit_reward(model, evidence, apart, HASTY)
    points = learning_curve(model, evidence, apart, HASTY, None, (0.01, 0.5, 1.0), whole)
    assert len(points) == 2
    assert learning_curve(model, evidence, apart, HASTY, None, (), whole) == []
    assert all(np.isnan(point.rewards[:, 3]).all() for point in points)
    assert all(np.isfinite(right(*point.rewards[:, np.arange(80) != 3])).all() for point in points)
