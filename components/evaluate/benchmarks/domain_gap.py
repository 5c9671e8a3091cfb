"""Domain gap: how well a linear probe tells the pictures, and the captions, of two datasets apart.

    evaluate:
      benchmarks: {gap: {uses: domain_gap, with: {against: data/dev, against_source: alt}}}

Let's Go Shopping (Bao et al., 2024) asks how far shop pictures are from web pictures by how separable
their features are. A ridge probe on the towers' features is fitted and read on different groups (k-fold);
the area under its ROC curve is 0.5 where the two cannot be told apart and 1 where every item gives its
dataset away (a classifier two-sample test: Lopez-Paz & Oquab, 2017). The interval draws groups anew within
each dataset and keeps the probe, so it says how far the items, not the fit, decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.evaluate.split import SplitFeatures
    from pairwright.components.models.protocols import DualEncoder

REPLICATES = 1000
RIDGE = 0.1  # of the kernel's mean diagonal


class DomainGapSettings(Settings):
    undigested = frozenset(("against",))  # its bytes are digested, by `datasets`

    against: str = Field(description="the other dataset's path, e.g. data/dev")
    source: str = Field("alt", description="the split's captions")
    against_source: str = Field("alt", description="the other dataset's captions")
    folds: int = Field(5, ge=2, le=20)
    seed: int = Field(0, ge=0, description="of the folds and the bootstrap")


@dataclass(frozen=True)
class Gap:
    """What a probe finds.

    Attributes:
        auc: chance that an item of the second dataset scores above one of the first. low, high: its 95% interval.
        correct: bool (n,), whether each item, the first dataset's first, was told right, out of fold.
    """

    auc: float
    low: float
    high: float
    correct: np.ndarray


@benchmark("domain_gap")
class DomainGap(Benchmark[DomainGapSettings]):
    """Metrics `image_auc`, `text_auc` with intervals by group; n counts the items of both datasets."""

    def datasets(self) -> tuple[str, ...]:
        return (self.settings.against,)

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        """Items are those of both datasets: whether the probe was right, as 0 or 1, and its group."""
        ours, theirs = self._splits(model, dataset)
        metrics: list[Metric] = []
        items: dict[str, np.ndarray] = {}
        for kind, what in (("image", "pictures"), ("text", "captions")):
            groups = _groups_of(kind, ours), _groups_of(kind, theirs)
            gap = self._gap(kind, ours, theirs, groups)
            text = (
                f"Area under the ROC curve of a ridge probe on tower features of {what} that tells this split from "
                f"{self.settings.against}, {self.settings.folds}-fold by group: 0.5 no gap, 1 told apart by every one. "
                "Interval: percentile bootstrap by group within each dataset."
            )
            metrics.append(Metric(f"{kind}_auc", gap.auc, len(gap.correct), gap.low, gap.high, text, False))
            items[f"{kind}_told_apart"] = gap.correct.astype(np.float32)
            named = np.array([*groups[0], *(f"against {name}" for name in groups[1])])
            if len(named) != len(items.setdefault("groups", named)):  # a picture has several captions
                items[f"{kind}_told_apart.groups"] = named
        return Measured(metrics, items)

    def _splits(self, model: DualEncoder, dataset: Dataset) -> tuple[SplitFeatures, SplitFeatures]:
        from pairwright.components.dataset.dataset import open_dataset
        from pairwright.components.evaluate.split import features_of

        wish = self.settings
        return features_of(model, dataset, wish.source), features_of(
            model, open_dataset(wish.against), wish.against_source
        )

    def _gap(self, kind: str, ours: SplitFeatures, theirs: SplitFeatures, groups: tuple[list[str], list[str]]) -> Gap:
        first, second = (getattr(split, kind).float().cpu().numpy() for split in (ours, theirs))
        return domain_gap(first, second, *groups, folds=self.settings.folds, seed=self.settings.seed)


def _groups_of(kind: str, split: SplitFeatures) -> list[str]:
    return split.groups if kind == "image" else split.caption_groups


def domain_gap(
    first: np.ndarray,
    second: np.ndarray,
    first_groups: Sequence[Any] | None = None,
    second_groups: Sequence[Any] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Gap:
    """The gap between two sets of features, (n, d) and (m, d); each item its own group if groups are None."""
    codes = [_codes(groups, len(x)) for groups, x in ((first_groups, first), (second_groups, second))]
    features = np.concatenate([first, second]).astype(np.float64)
    label = np.repeat([0, 1], [len(first), len(second)])
    fold = np.concatenate([_folds(one, folds, seed + number) for number, one in enumerate(codes)])
    score = np.zeros(len(features))
    for held in range(folds):
        train, test = fold != held, fold == held
        if test.any() and len(set(label[train])) == 2:
            score[test] = probe_scores(features[train], label[train], features[test])
    low, high = _interval(score, label, codes, seed)
    return Gap(auc(score[label == 1], score[label == 0]), low, high, (score > 0) == (label == 1))


def probe_scores(train: np.ndarray, label: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Scores of a ridge probe, above 0 for label 1; both labels weigh alike, however many items they have.

    Solved in the dual, (K + RIDGE I / w) a = y, where features outnumber items as they do here.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 1e-12, deviation, 1) * np.sqrt(train.shape[1])
    train, test = (train - mean) / scale, (test - mean) / scale
    weight = np.where(label == 1, 0.5 / (label == 1).mean(), 0.5 / (label == 0).mean())
    target = np.where(label == 1, 1.0, -1.0)
    kernel = train @ train.T + 1  # the 1 is the intercept
    dual = np.linalg.solve(kernel + np.diag(RIDGE / weight), target)
    scores: np.ndarray = (test @ train.T + 1) @ dual
    return scores


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties half: the area under the ROC curve."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    up_to = np.searchsorted(ordered, positive, "right")
    return float((below + up_to).mean() / (2 * len(negative)))


def _interval(score: np.ndarray, label: np.ndarray, codes: Sequence[np.ndarray], seed: int) -> tuple[float, float]:
    """95% percentile interval of the AUC, groups drawn anew within each dataset."""
    random = np.random.default_rng(seed)
    sides = [(score[label == side], codes[side]) for side in (0, 1)]
    found = []
    for _ in range(REPLICATES):
        drawn = []
        for values, groups in sides:
            count = int(groups.max()) + 1
            times = np.bincount(random.integers(0, count, count), minlength=count)
            drawn.append(np.repeat(values, times[groups]))
        found.append(auc(drawn[1], drawn[0]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _folds(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) fold of each item; groups whole, in an order drawn from the seed."""
    count = int(groups.max()) + 1
    place: np.ndarray = np.random.default_rng(seed).permutation(count) % folds
    return place[groups]


def _codes(groups: Sequence[Any] | None, items: int) -> np.ndarray:
    """Groups numbered from 0; int64 (items,)."""
    if groups is None:
        return np.arange(items)
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
