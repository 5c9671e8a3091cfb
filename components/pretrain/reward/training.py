"""Fitting the judges of a reward: cross-fitted alignment, then Bradley-Terry on top of it.

    model, held_out = fit_reward(evidence, judged, options)

For folds i < j heads are fitted on the best captions of the pictures in neither (InfoNCE). Judge k then
sees a picture of fold j through heads i-j of fold i = k, which saw neither: what it learns of the cosine
is what the cosine is worth on pictures it does not know. Its held-out scores are of fold k, which no part
of it saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.finite import require_finite
from pairwright.components.models.preference_loss import preference_loss
from pairwright.components.models.reward import ENCODER, Judge, RewardModel
from pairwright.components.pretrain.reward.judged import Judged
from pairwright.components.training.batch import Batch
from pairwright.components.training.heads import fit_heads
from pairwright.components.training.here import Kept, fit_here
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task

WARM_UP_SHARE = 0.1
SCALE_LR = 30.0  # times the learning rate: the cosine's weight is of another size than the network's
NEWTON_STEPS = 30


@dataclass(frozen=True)
class Evidence:
    """Features of the judged pictures (m, wi) and texts (t, wt), and statistics (t, 4) of the texts."""

    image: Tensor
    text: Tensor
    statistics: Tensor


@dataclass(frozen=True)
class Options:
    """How a reward is fitted; see `pairwright.components.pretrain.reward.settings.RewardSettings`."""

    alignment_steps: int = 150
    steps: int = 200
    batch_size: int = 256
    lr: float = 2e-3
    penalty: float = 1e-2
    smoothing: float = 0.0
    davidson: bool = True
    silver_weight: float = 1.0
    seed: int = 0
    kept: Kept | None = None

    def place(self, name: str) -> Kept | None:
        """Where one of a reward's fits goes on after a kill, if anywhere."""
        return None if self.kept is None else self.kept.under(name)


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
    model: RewardModel, evidence: Evidence, judged: Judged, options: Options, only: int | None = None
) -> tuple[Tensor, Tensor]:
    """Fit the heads and judges of `model` in place; held-out rewards and cosines of both captions.

    Args:
        only: the one judge that is fitted, with the heads it needs; all of them if None.

    Returns:
        (2, n) rewards and (2, n) cosines of the better and the worse caption, by what saw neither the picture
        nor its group. Of judgements kept for evaluation, the mean over the folds.
    """
    for what in ("image", "text", "statistics"):
        require_finite(getattr(evidence, what), f"the {what} evidence of the reward")
    with one_thread():
        fit_alignment(model, evidence, judged, options, only)
        rewards, cosines = torch.zeros((model.folds, 2, len(judged))), torch.zeros((model.folds, 2, len(judged)))
        for fold in range(model.folds) if only is None else [only]:
            cosines[fold] = cosines_for(model, evidence, judged, fold)
            fit_judge(model, evidence, judged, fold, cosines[fold], options)
            rewards[fold] = judge_rewards(model, evidence, judged, fold, cosines[fold])
    return held_out(rewards, judged), held_out(cosines, judged)


def held_out(each: Tensor, judged: Judged) -> Tensor:
    """(folds, 2, n) by every fold -> (2, n) by the pair's own fold, or their mean where it is in none."""
    fold = torch.as_tensor(judged.fold_of)
    own = each.gather(0, fold.clamp(min=0).expand(1, 2, len(judged))).squeeze(0)
    return torch.where(fold < 0, each.mean(0), own)


def fit_alignment(
    model: RewardModel, evidence: Evidence, judged: Judged, options: Options, only: int | None = None
) -> None:
    """Fit each pair of heads on the best captions of the pictures in neither of its folds."""
    picture, text = judged.take(judged.fold_of >= 0).best_texts()
    fold = judged.fold[picture]
    for name, heads in model.heads.items():
        without = [int(number) for number in name.split("-")]
        use = ~np.isin(fold, without)
        if use.sum() < 2 or (only is not None and only not in without):
            continue
        fitted = fit_heads(
            evidence.image[picture[use]],
            evidence.text[text[use]],
            dim=model.shape["dim"],
            steps=options.alignment_steps,
            batch_size=options.batch_size,
            seed=options.seed,
            groups=text[use],  # equal captions are positives of each other
            kept=options.place(f"heads-{name}"),
        )
        heads.load_state_dict(fitted.state_dict())


def cosines_for(model: RewardModel, evidence: Evidence, judged: Judged, fold: int) -> Tensor:
    """(2, n) cosines as judge `fold` may know them: of its own fold's pictures by heads that saw no such picture,
    of another fold's by the heads that saw neither of the two."""
    sides = []
    for side in (judged.better, judged.worse):
        with torch.no_grad():
            found = model.cosines(evidence.image[judged.picture], evidence.text[side])
        cosine = model.fold_cosine(found, fold).clone()
        if ENCODER not in found:
            for other in set(range(model.folds)) - {fold}:
                theirs = torch.as_tensor(judged.fold_of == other)
                cosine[theirs] = found["{}-{}".format(*sorted((fold, other)))][theirs]
        sides.append(cosine)
    return torch.stack(sides)


def calibrated(difference: np.ndarray) -> float:
    """The scale a >= 0 that explains preferences by a * (cosine+ - cosine-) best: (n,) -> one logistic weight."""
    scale = 0.0
    for _ in range(NEWTON_STEPS):
        surprise = 1 / (1 + np.exp(scale * difference))
        slope = float((surprise * difference).mean()) - 1e-4 * scale
        curve = float((surprise * (1 - surprise) * difference**2).mean()) + 1e-4
        scale = float(np.clip(scale + slope / curve, 0.0, 100.0))
    return scale


class JudgeSettings(TrainerSettings):
    penalty: float = 0.0
    smoothing: float = 0.0


class FitJudge(Task[JudgeSettings]):
    """Bradley-Terry (with Davidson's ties) on what the judge knows of the better and the worse caption."""

    name = "judge"

    def __init__(
        self,
        model: RewardModel,
        judge: Judge,
        evidence: Evidence,
        judged: Judged,
        cosines: Tensor,
        options: Options,
        fold: int,
    ) -> None:
        settings = JudgeSettings(
            steps=options.steps,
            batch_size=options.batch_size,
            lr=options.lr,
            rates={"^scale$": SCALE_LR},
            weight_decay=0.0,
            clip_norm=float("inf"),
            warmup_steps=max(1, int(WARM_UP_SHARE * options.steps)),
            seed=options.seed * 1000 + fold,
            penalty=options.penalty,
            smoothing=options.smoothing,
        )
        super().__init__(settings)
        self.reward, self.judge, self.evidence, self.judged, self.cosines = model, judge, evidence, judged, cosines
        ties = options.davidson and bool(judged.tie[(judged.fold_of >= 0) & (judged.fold_of != fold)].any())
        self.log_nu = judge.log_nu if ties else None

    def reads(self) -> Reads:
        return Reads(columns=("judgement", "weight"))

    def build(self) -> nn.Module:
        return self.judge.train()

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        return {name: torch.from_numpy(examples.column(name)) for name in ("judgement", "weight")}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        some = batch["judgement"].numpy()
        better, worse = _both(
            self.reward, self.judge, self.evidence, self.judged.take(some), self.cosines[:, batch["judgement"]]
        )
        return {"better": better, "worse": worse}

    def weight(self, batch: Batch) -> float:
        return float(batch["weight"].sum())

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        tie = torch.as_tensor(self.judged.tie[batch["judgement"].numpy()])
        each = preference_loss(
            outputs["better"], outputs["worse"], tie, log_nu=self.log_nu, smoothing=self.settings.smoothing
        )
        shares = batch["weight"] / batch["weight"].sum()
        penalty = sum((p**2).sum() for p in self.judge.parameters() if p.ndim > 1)
        return {"loss": (shares * each).sum() + self.settings.penalty * penalty}


def fit_judge(
    model: RewardModel, evidence: Evidence, judged: Judged, fold: int, cosines: Tensor, options: Options
) -> None:
    """Fit judge `fold` on the judgements of every other fold."""
    judge = model.judges[fold]
    assert isinstance(judge, Judge)
    weight = np.where(judged.origin == "silver", options.silver_weight, 1.0)
    use = np.flatnonzero((judged.fold_of >= 0) & (judged.fold_of != fold) & (weight > 0))
    preferred = use[~judged.tie[use]]
    with torch.no_grad():
        judge.scale.fill_(calibrated((cosines[0] - cosines[1])[preferred].numpy()) if len(preferred) else 1.0)
        said = evidence.statistics[np.concatenate([judged.better[use], judged.worse[use]])]
        judge.mean.copy_(said.mean(0))
        judge.deviation.copy_(said.std(0) + 1e-3)
    task = FitJudge(model, judge, evidence, judged, cosines, options, fold)
    columns = {"judgement": use.astype(np.int64), "weight": weight[use].astype(np.float32)}
    keys = [str(row) for row in judged.rows[judged.picture[use]]]
    fit_here(task, ArrayPopulation(columns, keys=keys), kept=options.place(f"judge-{fold}"))
    judge.eval()
    with torch.no_grad():
        # Judges of different folds share a zero, so that their scores may stand in one column.
        judge.zero.copy_(_both(model, judge, evidence, judged.take(use), cosines[:, use])[0].mean())


def _both(
    model: RewardModel, judge: Judge, evidence: Evidence, judged: Judged, cosines: Tensor
) -> tuple[Tensor, Tensor]:
    """One judge's rewards of the better and of the worse captions: (n,), (n,)."""
    image = evidence.image[judged.picture]
    sides = []
    for cosine, text in zip(cosines, (judged.better, judged.worse), strict=True):
        with torch.no_grad():
            cross = model.cross(image, evidence.text[text])
        sides.append(judge(cosine, evidence.statistics[text], evidence.text[text], cross))
    return sides[0], sides[1]


@torch.no_grad()
def judge_rewards(model: RewardModel, evidence: Evidence, judged: Judged, fold: int, cosines: Tensor) -> Tensor:
    """(2, n) rewards by judge `fold`."""
    judge = model.judges[fold]
    assert isinstance(judge, Judge)
    return torch.stack(_both(model, judge, evidence, judged, cosines))


def fewer(judged: Judged, share: float, fold: int, seed: int) -> Judged:
    """All of fold `fold`, and of the other folds a share of the judged groups, for a learning curve."""
    groups = np.unique(judged.group_of[(judged.fold_of >= 0) & (judged.fold_of != fold)])
    order = np.random.default_rng(seed).permutation(groups)
    chosen = order[: max(1, round(share * len(order)))]
    return judged.take(np.isin(judged.group_of, chosen) | (judged.fold_of == fold))
