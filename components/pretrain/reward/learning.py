"""What more labels buy: the reward fitted again on shares of them, on the same evidence, judged by what it did not see.

for point in learning_curve(model, evidence, judged, options, crawl, (0.1, 0.3, 1.0), whole):
    point.labels, accuracy(right(*point.rewards[:, which]), judged.group_of[which])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pairwright.components.models.reward import RewardModel
from pairwright.components.pretrain.reward.evidence import Crawl, Evidence
from pairwright.components.pretrain.reward.judged import Judged
from pairwright.components.pretrain.reward.training import Options, fit_reward


@dataclass(frozen=True)
class Point:
    """A reward of a share of the labels.

    Attributes:
        labels: judgements a judge was fitted on, their mean over the folds.
        rewards, seen: (2, n) rewards and evidence of the better and the worse caption of every judgement, each by
            the judge of its own fold; NaN of those that are in none.
    """

    labels: int
    rewards: np.ndarray
    seen: np.ndarray


def learning_curve(
    model: RewardModel,
    evidence: Evidence,
    judged: Judged,
    options: Options,
    crawl: Crawl | None,
    shares: Sequence[float],
    whole: tuple[Tensor, Tensor],
) -> list[Point]:
    """A point a share, ascending, the last of all labels; one of too few pictures to fit anything is left out.

    Args:
        model: fitted; it is afterwards as it was.
        crawl: what its heads were fitted on, which stay; if None, heads are of judged pairs and fitted again.
        whole: rewards and evidence (2, n) that the fit on all labels returned, which is the point of share 1.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = []
    for share in sorted({*shares, 1.0}) if shares else []:
        if share == 1:
            found.append(_point(judged, [judged] * model.folds, whole))
            continue
        parts = [fewer(judged, share, fold, options.seed) for fold in range(model.folds)]
        if min(len(np.unique(part.picture[_of_others(part, k)])) for k, part in enumerate(parts)) < 2 * model.folds:
            continue
        rewards, seen = torch.full((2, len(judged)), torch.nan), torch.full((2, len(judged)), torch.nan)
        for fold, part in enumerate(parts):
            again = replace(options, kept=options.kept and options.kept.under(f"curve-{share}-{fold}"))
            scores = fit_reward(model, evidence, part, again, crawl, only=fold, heads=crawl is None)
            for all_of, some in zip((rewards, seen), scores, strict=True):
                all_of[:, torch.from_numpy(judged.fold_of == fold)] = some[:, torch.from_numpy(part.fold_of == fold)]
        found.append(_point(judged, parts, (rewards, seen)))
    model.load_state_dict(before)
    return found


def _of_others(part: Judged, fold: int) -> np.ndarray:
    return np.asarray((part.fold_of >= 0) & (part.fold_of != fold))


def _point(judged: Judged, parts: Sequence[Judged], scores: tuple[Tensor, Tensor]) -> Point:
    labels = np.mean([_of_others(part, fold).sum() for fold, part in enumerate(parts)])
    inside = judged.fold_of >= 0
    rewards, seen = (np.where(inside, one.numpy(), np.nan) for one in scores)
    return Point(round(float(labels)), rewards, seen)


def fewer(judged: Judged, share: float, fold: int, seed: int) -> Judged:
    """All of fold `fold`, and of the other folds a share of the judged groups."""
    groups = np.unique(judged.group_of[(judged.fold_of >= 0) & (judged.fold_of != fold)])
    order = np.random.default_rng(seed).permutation(groups)
    chosen = order[: max(1, round(share * len(order)))]
    return judged.take(np.isin(judged.group_of, chosen) | (judged.fold_of == fold))
