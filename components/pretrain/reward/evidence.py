"""The evidence a reward stands on: heads fitted on the crawl, and what they say of the judged captions.

For folds i < j heads are fitted (InfoNCE) on the pairs of the crawl whose picture is in neither, and whose caption
stands in neither. So whatever of a pair lies in fold i or j is new to them, without one frequent caption joining
all pictures to one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.splits import normalise
from pairwright.components.models.reward import ENCODER, RewardModel
from pairwright.components.pretrain.reward.judged import Judged
from pairwright.components.training.heads import fit_heads
from pairwright.components.training.here import Kept


@dataclass(frozen=True)
class Evidence:
    """Features of the judged pictures (m, wi) and texts (t, wt), statistics (t, 4) of the texts and, where it is
    known, the folds (t,) in which each stands, a bit a fold."""

    image: Tensor
    text: Tensor
    statistics: Tensor
    text_folds: Tensor | None = None

    def folds_of(self, texts: np.ndarray) -> Tensor:
        """(n,) bits of these texts; 0 where nothing is known."""
        if self.text_folds is None:
            return torch.zeros(len(texts), dtype=torch.int64)
        return self.text_folds[texts]


@dataclass(frozen=True)
class Crawl:
    """What heads are fitted on, a row a pair.

    Attributes:
        image, text: (n, wi), (n, wt) features; statistics: (n, 4) of the captions.
        caption: (n,) labels, equal for equal captions.
        fold: (n,) 0..folds-1; a pair for evaluation alone is not here.
        apart: fold -> labels of further captions that stand there, in nobody's pair.
    """

    image: Tensor
    text: Tensor
    statistics: Tensor
    caption: np.ndarray
    fold: np.ndarray
    apart: dict[int, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.fold)

    def without(self, *folds: int) -> np.ndarray:
        """(n,) bool: the pairs of which nothing, neither picture nor caption, is in these folds."""
        inside = np.isin(self.fold, folds)
        known = np.concatenate([self.caption[inside], *(self.apart.get(k, np.zeros(0, np.int64)) for k in folds)])
        return ~inside & ~np.isin(self.caption, known)


@dataclass(frozen=True)
class HeadsOptions:
    steps: int = 100
    batch_size: int = 256
    seed: int = 0


def captions_of(view: ColumnsView, source: str) -> list[str | None]:
    """Each row's caption of a sidecar's source, or of a captioner step."""
    if source in view.steps:
        return list(view.column(f"{source}.text").to_pylist())
    rows = (row for _, table in view.dataset.iter_sidecars(["captions"]) for row in table["captions"].to_pylist())
    return [caption_of(row, source) for row in rows]


def judged_pairs(judged: Judged, evidence: Evidence) -> Crawl:
    """Where no crawl is given: the best captions of the judged pictures."""
    picture, text = judged.take(judged.fold_of >= 0).best_texts()
    return Crawl(evidence.image[picture], evidence.text[text], evidence.statistics[text], text, judged.fold[picture])


def caption_labels(*texts: Sequence[str]) -> list[np.ndarray]:
    """Integer labels of each sequence, equal for equal captions once normalised."""
    known: dict[str, int] = {}
    return [
        np.array([known.setdefault(normalise(text) or text, len(known)) for text in some], np.int64) for some in texts
    ]


def preferred(judged: Judged, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Fold -> labels of the captions that were preferred there, or tied."""
    found = {}
    for fold in np.unique(judged.fold_of[judged.fold_of >= 0]):
        mine = judged.fold_of == fold
        found[int(fold)] = labels[np.concatenate([judged.better[mine], judged.worse[mine & judged.tie]])]
    return found


def fit_evidence(
    model: RewardModel, crawl: Crawl, options: HeadsOptions, kept: Kept | None = None, only: int | None = None
) -> None:
    """Fit each pair of heads on what it may see, and take its bank from there.

    Args:
        only: the fold whose heads are fitted; all if None.
    """
    random = np.random.default_rng(options.seed)
    order = random.permutation(len(crawl))
    if model.encoder is not None:
        model.set_bank(ENCODER, crawl.image[order])
    for name, heads in model.heads.items():
        folds = [int(number) for number in name.split("-")]
        rows = order[crawl.without(*folds)[order]]
        if len(rows) < 2 or (only is not None and only not in folds):
            continue
        fitted = fit_heads(
            crawl.image[rows],
            crawl.text[rows],
            dim=model.shape["dim"],
            steps=options.steps,
            batch_size=options.batch_size,
            seed=options.seed,
            groups=crawl.caption[rows],  # equal captions are positives of each other
            kept=None if kept is None else kept.under(f"heads-{name}"),
        )
        heads.load_state_dict(fitted.state_dict())
        model.set_bank(name, crawl.image[rows])


def evidence_for(model: RewardModel, evidence: Evidence, judged: Judged, fold: int) -> Tensor:
    """(2, n) evidence of the better and the worse captions as judge `fold` may know it: of its own fold's pictures
    (and of none's) by heads that saw neither them nor the caption, of another's by the heads that saw neither fold."""
    sides = []
    for side in (judged.better, judged.worse):
        found = model.evidence_by(evidence.image[judged.picture], evidence.text[side])
        mine = model.evidence(found, fold, evidence.folds_of(side)).clone()
        if ENCODER not in found:
            for other in set(range(model.folds)) - {fold}:
                theirs = torch.as_tensor(judged.fold_of == other)
                mine[theirs] = found["{}-{}".format(*sorted((fold, other)))][theirs]
        sides.append(mine)
    return torch.stack(sides)
