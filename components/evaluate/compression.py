"""Compression: how small a kept share still trains a model that is not worse than the whole.

    evaluate:
      compression: {order: best.rank, best: low, shares: [0.5, 0.25, 0.1, 0.05], seeds: [0, 1, 2], margin: 0.03}

Compress & Align's claim (130M pairs to 15.5M at no loss) as a curve anybody can draw: projection
heads on locked towers are trained on the best share of the pairs, on a random subset of the same size
and on all of them, at equal optimizer steps and equal seeds. "Not worse" is a test of non-inferiority:
the lower 95% bound of the difference to the whole lies above -margin, a margin declared beforehand.
The bound comes from the pigeonhole bootstrap (Owen, 2007): seeds and groups of queries are drawn anew
together, since both are samples. Shares are tested from the largest down and the first failure ends
it (fixed-sequence testing), so many shares cost no confidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.evaluate.retrieval import KS, first_ranks

REPLICATES = 2000
ONE_SIDED = 0.95
METRIC = "mean_recall"
DEFINITION = (
    f"Mean over queries of the six hits R@{', R@'.join(map(str, KS))}, picture to caption and caption to picture, "
    "each split its own gallery."
)


@dataclass(frozen=True)
class TrainingPairs:
    """What heads are fitted on.

    Attributes:
        image, text: (n, width) features of the locked towers, row for row.
        captions: (n,) integer ids; pairs with the same caption are positives of each other.
    """

    image: Tensor
    text: Tensor
    captions: np.ndarray

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Queries:
    """An evaluation split: features (n, width), which captions belong to which pictures (n, n), groups (n,)."""

    image: Tensor
    text: Tensor
    positive: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class HeadSettings:
    """How every point is trained; the same for all."""

    steps: int = 300
    batch_size: int = 256
    lr: float = 1e-3
    dim: int = 256


@dataclass(frozen=True)
class Judged:
    """One point of the curve against the whole.

    Attributes:
        mean: of the metric over seeds and queries.
        difference: to the whole. low, high: its two-sided 90% bootstrap interval, so that `low` is the
            one-sided 95% bound the test reads.
        not_worse: `low` > -margin.
        power: chance that an equally good model would have passed, given the interval's width.
    """

    mean: float
    difference: float
    low: float
    high: float
    not_worse: bool
    power: float


def best_rows(order: np.ndarray, count: int) -> np.ndarray:
    """Row numbers, ascending, of the `count` highest values; NaN never counts, equal values by row number.

    Nested: the rows of a smaller count are among those of a larger.
    """
    ranked = np.argsort(-order, kind="stable")[: int(np.isfinite(order).sum())]
    return np.sort(ranked[:count])


def random_rows(rows: int, count: int, seed: int) -> np.ndarray:
    """`count` of `rows` row numbers, ascending, drawn without replacement; nested for one seed."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def train_and_query(
    pairs: TrainingPairs, rows: np.ndarray, splits: Sequence[Queries], settings: HeadSettings, seed: int
) -> np.ndarray:
    """Heads fitted on `rows`; each query's mean over the six hits: (queries of all splits,) in [0, 1]."""
    from components.models.heads import fit_heads

    index = torch.as_tensor(rows)
    heads = fit_heads(
        pairs.image[index],
        pairs.text[index],
        dim=settings.dim,
        steps=settings.steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        seed=seed,
        groups=pairs.captions[rows],
    )
    return np.concatenate([_hits(heads.image(s.image).numpy(), heads.text(s.text).numpy(), s.positive) for s in splits])


def _hits(image: np.ndarray, text: np.ndarray, positive: np.ndarray) -> np.ndarray:
    scores = image @ text.T
    ranks = np.stack([first_ranks(scores, positive), first_ranks(scores.T, positive.T)])
    hits: np.ndarray = np.mean([ranks <= k for k in KS], axis=0).mean(axis=0)
    return hits.astype(np.float32)


def judge(
    items: np.ndarray,
    whole: np.ndarray,
    groups: np.ndarray,
    margin: float,
    seed: int = 0,
    confidence: float = ONE_SIDED,
) -> Judged:
    """A share's model against the whole's.

    Args:
        items, whole: (seeds, queries), the same seeds in the same order.
        groups: (queries,) what is drawn together.
        confidence: of each of the two one-sided bounds.
    """
    difference = np.asarray(items, np.float64) - np.asarray(whole, np.float64)
    means = pigeonhole_means(difference, groups, seed)
    low, high = np.quantile(means, [1 - confidence, confidence])
    return Judged(
        mean=float(np.mean(items)),
        difference=float(difference.mean()),
        low=float(low),
        high=float(high),
        not_worse=bool(low > -margin),
        power=power_of(float(means.std()), margin),
    )


def pigeonhole_means(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> np.ndarray:
    """Bootstrap means of (seeds, queries), drawing seeds and groups of queries anew: (replicates,)."""
    codes = np.unique(groups, return_inverse=True)[1].reshape(-1)
    count = int(codes.max()) + 1
    sums = np.stack([np.bincount(codes, row, minlength=count) for row in values])  # (seeds, groups)
    sizes = np.bincount(codes, minlength=count)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=REPLICATES)
    seeds = random.multinomial(len(values), np.full(len(values), 1 / len(values)), size=REPLICATES) / len(values)
    means: np.ndarray = np.einsum("rs,sg,rg->r", seeds, sums, drawn, optimize=True) / (drawn @ sizes)
    return means


def power_of(standard_error: float, margin: float) -> float:
    """Chance that a model equal to the whole passes: Phi(margin / se - z), z of the one-sided 95%."""
    normal = NormalDist()
    if standard_error <= 0:
        return 1.0
    return normal.cdf(margin / standard_error - normal.inv_cdf(ONE_SIDED))


def smallest_not_worse(judged: Mapping[float, Judged]) -> float | None:
    """The smallest share that passes, where every larger one passes too; None if the largest fails."""
    found = None
    for share in sorted(judged, reverse=True):
        if not judged[share].not_worse:
            break
        found = share
    return found


def against_chance(
    items: Mapping[float, np.ndarray], random: Mapping[float, np.ndarray], groups: np.ndarray, margin: float
) -> dict[float, Judged]:
    """Each share's model against that of as many random pairs.

    Bounds are Bonferroni's over the shares, so that "better than chance" is wrong at any of them in 5% at most.
    """
    confidence = 1 - (1 - ONE_SIDED) / len(items)
    return {share: judge(found, random[share], groups, margin, confidence=confidence) for share, found in items.items()}


def in_words(
    order: str,
    judged: Mapping[float, Judged],
    random: Mapping[float, Judged],
    chance: Mapping[float, Judged],
    margin: float,
    baseline: str = "random pairs",
) -> str:
    """What the curve shows: the order and the baseline against the whole, then the one against the other.

    Args:
        random: the baseline's shares against the whole. chance: the order's against the baseline's.
        baseline: what chance draws.
    """
    ours, theirs = smallest_not_worse(judged), smallest_not_worse(random)
    points = f"{100 * margin:g} points of mean recall"
    if ours is None:
        said = f"No share kept by {order} is shown to be within {points} of training on everything"
    else:
        said = f"The best {ours:.0%} by {order} train a model that is not worse than everything by {points}"
    said += f"; {baseline} do at {'no share tested' if theirs is None else format(theirs, '.0%')}"
    better = [f"{share:.0%}" for share in sorted(chance, reverse=True) if chance[share].low > 0]
    worse = [f"{share:.0%}" for share in sorted(chance, reverse=True) if chance[share].high < 0]
    said += f". At equal size it beats them {'at ' + ', '.join(better) if better else 'nowhere'}"
    return said + (f" and is worse at {', '.join(worse)}." if worse else ".")


def curve_rows(points: Mapping[str, Mapping[float, Judged]], kept: Mapping[float, int]) -> list[Any]:
    """The curve as rows of a table, each order's shares from the largest down."""
    return [
        {"order": order, "share": share, "kept": kept[share]}
        | {name: _plain(value) for name, value in vars(judged[share]).items()}
        for order, judged in points.items()
        for share in sorted(judged, reverse=True)
    ]


def _plain(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value
