"""Fitting the judges of a reward: cross-fitted evidence, then Bradley-Terry on top of it.

    rewards, evidence = fit_reward(model, evidence, judged, options, crawl)

Judge k sees a picture of fold j through heads that saw neither fold j nor fold k: what it learns of the evidence
is what the evidence is worth on pictures it does not know (stacking, Wolpert 1992). Its held-out scores are of
fold k, which no part of it saw.

How far judgements may move the reward from the evidence is itself cross-validated, by leaving out whole kinds of
judgement where there are several: they may move it as long as no kind that was not taught is explained worse. Facts are
standardised by the crawl's captions, so one in which they differ much costs as much as one in which they hardly do.
People's judgements alone move it. Damage planted by a rule says how much the evidence is worth; what its captions look
like beside is the rule's doing, and a reward that learnt it found other damage worse than its evidence did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.judgements import SILVER
from pairwright.components.finite import require_finite
from pairwright.components.models.reward import Judge, RewardModel
from pairwright.components.pretrain.reward.davidson import Comparisons, chosen_spread, explained
from pairwright.components.pretrain.reward.evidence import (
    Crawl,
    Evidence,
    HeadsOptions,
    evidence_for,
    fit_evidence,
    judged_pairs,
)
from pairwright.components.pretrain.reward.judged import Judged
from pairwright.components.training.here import Kept

FEWEST_KINDS = 3  # of judgements, for whole kinds to be left out


@dataclass(frozen=True)
class Options:
    """How a reward is fitted; see `pairwright.components.pretrain.reward.settings.RewardSettings`."""

    heads: HeadsOptions = field(default_factory=HeadsOptions)
    spreads: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0)
    smoothing: float = 0.0
    davidson: bool = True
    silver_weight: float = 1.0
    seed: int = 0
    kept: Kept | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, so that the same judgements give the same bytes on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fit_reward(
    model: RewardModel,
    evidence: Evidence,
    judged: Judged,
    options: Options,
    crawl: Crawl | None = None,
    *,
    only: int | None = None,
    heads: bool = True,
) -> tuple[Tensor, Tensor]:
    """Fit the heads and judges of `model` in place; held-out rewards and evidence of both captions.

    Args:
        crawl: what the heads are fitted on; the best captions of the judged pictures if None.
        only: the one judge that is fitted, with the heads it needs; all of them if None.
        heads: whether they are to be fitted; else they are as they stand.

    Returns:
        (2, n) rewards and (2, n) evidence of the better and the worse caption, by what saw neither the picture
        nor its group. Of judgements kept for evaluation, the mean over the folds.
    """
    for what in ("image", "text", "statistics"):
        require_finite(getattr(evidence, what), f"the {what} evidence of the reward")
    crawl = judged_pairs(judged, evidence) if crawl is None else crawl
    with one_thread(), torch.no_grad():
        if heads:
            with torch.enable_grad():
                fit_evidence(model, crawl, options.heads, options.kept, only)
        rewards, seen = torch.zeros((model.folds, 2, len(judged))), torch.zeros((model.folds, 2, len(judged)))
        for fold in range(model.folds) if only is None else [only]:
            seen[fold] = evidence_for(model, evidence, judged, fold)
            fit_judge(model, evidence, judged, fold, seen[fold], options, crawl)
            rewards[fold] = judge_rewards(model, evidence, judged, fold, seen[fold])
    return held_out(rewards, judged), held_out(seen, judged)


def held_out(each: Tensor, judged: Judged) -> Tensor:
    """(folds, 2, n) by every fold -> (2, n) by the pair's own fold, or their mean where it is in none."""
    fold = torch.as_tensor(judged.fold_of)
    own = each.gather(0, fold.clamp(min=0).expand(1, 2, len(judged))).squeeze(0)
    return torch.where(fold < 0, each.mean(0), own)


def fit_judge(
    model: RewardModel,
    evidence: Evidence,
    judged: Judged,
    fold: int,
    seen: Tensor,
    options: Options,
    crawl: Crawl,
) -> None:
    """Fit judge `fold` on the judgements of every other fold; `seen` is its evidence of them, (2, n)."""
    judge = model.judges[fold]
    assert isinstance(judge, Judge)
    silver = judged.origin == SILVER
    weight = np.where(silver, options.silver_weight, 1.0)
    use = np.flatnonzero((judged.fold_of >= 0) & (judged.fold_of != fold) & (weight > 0))
    standardise(judge, crawl, crawl.without(fold))
    sides = [
        torch.cat([one[use][:, None], judge.facts(evidence.statistics[text], evidence.text[text])], dim=1)
        for one, text in zip(seen, (judged.better[use], judged.worse[use]), strict=True)
    ]
    difference = (sides[0] - sides[1]).double().numpy()
    difference[silver[use], 1:] = 0.0
    said = Comparisons(
        difference,
        judged.tie[use],
        weight[use],
        judged.group_of[use],
        options.smoothing,
        options.davidson,
    )
    spread, people = 0.0, ~silver[use]
    if people.any():
        units, are_kinds = left_out_units(judged.take(use[people]))
        spread = chosen_spread(said.take(people), units, options.spreads, harmless_to_each=are_kinds)
    theta, log_nu = explained(said, spread)
    judge.scale.copy_(torch.tensor(theta[0]))
    judge.weight.copy_(torch.from_numpy(theta[1:]))
    judge.log_nu.copy_(torch.tensor(log_nu if np.isfinite(log_nu) else 0.0))
    # Judges of different folds share a zero, so that their scores may stand in one column.
    judge.zero.copy_((sides[0] @ torch.from_numpy(theta).float()).mean())


def standardise(judge: Judge, crawl: Crawl, rows: np.ndarray) -> None:
    """Set by which directions and in which units the judge sees captions: those of the crawl's pairs `rows`."""
    text = F.layer_norm(crawl.text[torch.from_numpy(rows)], crawl.text.shape[-1:]).double()
    centred = text - text.mean(0)
    _, vectors = np.linalg.eigh((centred.T @ centred).numpy())
    rank = len(judge.directions)
    leading = vectors[:, ::-1][:, :rank]
    leading = leading * np.where(leading[np.abs(leading).argmax(0), np.arange(leading.shape[1])] < 0, -1, 1)
    judge.directions[: leading.shape[1]] = torch.from_numpy(leading.T.copy()).float()
    facts = judge.raw(crawl.statistics[torch.from_numpy(rows)], crawl.text[torch.from_numpy(rows)])
    judge.mean.copy_(facts.mean(0))
    judge.deviation.copy_(facts.std(0).clamp(min=1e-2))


def left_out_units(judged: Judged) -> tuple[np.ndarray, bool]:
    """(n,) labels of what cross-validation leaves out together, and whether these are kinds: folds where there are
    too few kinds."""
    kinds, labels = np.unique(judged.kind.astype(str), return_inverse=True)
    enough = len(kinds) >= FEWEST_KINDS
    return np.asarray(labels if enough else judged.fold_of), enough


@torch.no_grad()
def judge_rewards(model: RewardModel, evidence: Evidence, judged: Judged, fold: int, seen: Tensor) -> Tensor:
    """(2, n) rewards by judge `fold`."""
    judge = model.judges[fold]
    sides = zip(seen, (judged.better, judged.worse), strict=True)
    return torch.stack([judge(one, evidence.statistics[text], evidence.text[text]) for one, text in sides])
